"""What learns: LightningModules, how they are trained, and how what they learnt predicts."""
