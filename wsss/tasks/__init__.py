"""Training tasks: LightningModules, their training loop, and prediction with the trained networks."""
