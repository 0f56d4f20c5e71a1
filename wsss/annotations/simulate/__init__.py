"""Simulated human annotations, drawn from ground truth and a seed."""

from wsss.annotations.simulate.annotator import simulate

__all__ = ["simulate"]
