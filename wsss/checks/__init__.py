"""Whether the data and the machine are fit for a run."""
