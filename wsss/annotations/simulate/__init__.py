"""Labels as a person would have given them, drawn from true labels and a seed."""

from wsss.annotations.simulate.annotator import simulate

__all__ = ["simulate"]
