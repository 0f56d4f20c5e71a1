"""Pure functions on tensors: no files, no weights, no Lightning."""
