"""Boundary IoU: how well predicted class contours match those of the ground truth (Cheng et al., CVPR 2021)."""

import math

import torch
from jaxtyping import Bool, Int64, Integer
from torch import Tensor

from wsss.types import IGNORE, LabelMap


def boundary_counts(labels: LabelMap, truth: LabelMap, *, classes: int, dilation: float = 0.02) -> Int64[Tensor, "K 2"]:
    """Count intersection and union of the boundary bands of each class in prediction and ground truth.

    A pixel lies in the band of its class when a different label, or the outside of the image, is within ``dilation`` of
    it in rows and columns. Counts of several images may be added up.

    Args:
        labels: Predicted labels, ``IGNORE`` where there is none.
        truth: Ground truth. Pixels that are ``IGNORE`` here are set to ``IGNORE`` in the prediction too, and do not
            count.
        classes: Number K of labels, background included.
        dilation: Width of the band as a share of the image's diagonal; at least one pixel.

    Returns:
        Intersection and union of the two bands of each class, in pixels.

    Raises:
        ValueError: If the maps differ in shape, or a band holds a label that is neither below K nor ``IGNORE``.
    """
    if labels.shape != truth.shape:
        raise ValueError(f"labels must have the shape of the truth {tuple(truth.shape)}, got {tuple(labels.shape)}")
    judged = torch.where(truth == IGNORE, IGNORE, labels)
    width = max(1, round(dilation * math.hypot(*truth.shape)))
    band, judged_band = _near_outline(truth, width), _near_outline(judged, width)
    both = _count(truth[band & judged_band & (truth == judged)], classes)
    union = _count(truth[band], classes) + _count(judged[judged_band], classes) - both
    return torch.stack([both, union], dim=1)


def boundary_iou(counts: Int64[Tensor, "K 2"]) -> float:
    """Average the boundary IoU over the classes that have a band in ground truth or prediction.

    Args:
        counts: Intersection and union of the bands of each class, summed over the images.

    Returns:
        A share in [0, 1].

    Raises:
        ValueError: If no class has a band.
    """
    seen = counts[counts[:, 1] > 0].double()
    if len(seen) == 0:
        raise ValueError("boundary IoU needs at least one class with a boundary, got none")
    return float((seen[:, 0] / seen[:, 1]).mean())


def _near_outline(labels: LabelMap, width: int) -> Bool[Tensor, "H W"]:
    """Mark pixels whose window of 2 * width + 1 pixels holds several labels or leaves the image."""
    height, breadth = labels.shape
    near = torch.ones(height, breadth, dtype=torch.bool, device=labels.device)
    if min(height, breadth) <= 2 * width:
        return near
    # A window has a single label if each of its rows has, and its middle column too.
    mixed_rows = _any_in_windows(labels[:, 1:] != labels[:, :-1], 2 * width, dim=1)
    mixed_columns = _any_in_windows((labels[1:] != labels[:-1])[:, width:-width], 2 * width, dim=0)
    near[width:-width, width:-width] = _any_in_windows(mixed_rows, 2 * width + 1, dim=0) | mixed_columns
    return near


def _any_in_windows(marks: Bool[Tensor, "R C"], length: int, *, dim: int) -> Bool[Tensor, "S D"]:
    """Return whether any mark lies in each window of ``length`` rows (``dim`` 0) or columns (``dim`` 1)."""
    reach = 1
    while reach < length:
        step = min(reach, length - reach)
        windows = marks.shape[dim] - step
        marks = marks.narrow(dim, 0, windows) | marks.narrow(dim, step, windows)
        reach += step
    return marks


def _count(labels: Integer[Tensor, " N"], classes: int) -> Int64[Tensor, " K"]:
    counts = torch.bincount(labels, minlength=IGNORE + 1)
    wrong = counts[classes:IGNORE].nonzero().flatten() + classes
    if len(wrong):
        raise ValueError(f"labels must be below {classes} or {IGNORE}, got {int(wrong[0])}")
    return counts[:classes]
