"""Checks whether the data and the machine are ready for a run."""
