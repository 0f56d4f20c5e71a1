"""Box tightness: objects touch all sides of their box (Lempitsky et al., ICCV 2009; Hsu et al., NeurIPS 2019)."""

import torch
from jaxtyping import Bool, Float, Int64, Integer
from torch import Tensor

from wsss.functional.losses import SumAndCount, at_least_single
from wsss.types import BACKGROUND, IGNORE, LabelMap


def box_tightness_loss(
    probabilities: Float[Tensor, "B K h w"],
    boxes: Integer[Tensor, "N 4"],
    classes: Integer[Tensor, " N"],
    owners: Integer[Tensor, " N"],
) -> SumAndCount:
    """Compute the multiple-instance loss of the rows and columns of each box.

    A tight box touches its object on all four sides, so every row and column of the box crosses a connected object.
    Following Hsu et al., each such line is a positive bag: its most probable pixel must belong to the class. The
    negative bags of the paper (lines outside of all boxes) are left to other losses.

    Args:
        probabilities: Of each pixel, greater than 0, see :func:`wsss.functional.losses.recoverable_softmax`.
        boxes: Half-open (top, left, bottom, right) in pixels of the probabilities. A box may extend beyond them, as in
            a view cropped from an image: only lines that lie entirely inside count, since the object may cross the
            other lines outside of the view.
        classes: Class of the object in each box.
        owners: Index of the image in the batch that each box belongs to.

    Returns:
        Sum over the boxes of the mean over their lines of -log of the largest probability on the line, and the number
        of boxes with at least one line that counts. An empty box has none.
    """
    size = probabilities.shape[2:]
    if not len(boxes):
        return probabilities.sum() * 0, at_least_single(probabilities).new_zeros(())
    rows, columns = (_between(boxes[:, axis], boxes[:, axis + 2], size[axis]) for axis in (0, 1))
    inside = rows[:, :, None] & columns[:, None, :]
    chosen = at_least_single(probabilities[owners.long(), classes.long()]).where(inside, 0)
    # a row lies entirely inside if no column of the box is cut off, and vice versa
    whole = [(boxes[:, axis] >= 0) & (boxes[:, axis + 2] <= size[axis]) for axis in (0, 1)]
    lines = torch.cat([rows & whole[1][:, None], columns & whole[0][:, None]], dim=1)
    lines &= inside.flatten(1).any(dim=1, keepdim=True)
    best = torch.cat([chosen.amax(dim=2), chosen.amax(dim=1)], dim=1)
    costs = -best.where(lines, 1).log()
    count = lines.sum(dim=1)
    return (costs.sum(dim=1) / count.clamp(min=1)).sum(), (count > 0).sum().to(costs.dtype)


def ignore_missed_lines(labels: LabelMap, boxes: Int64[Tensor, "N 5"]) -> LabelMap:
    """Ignore the background in the rows and columns of a box that contain no pixel of its class.

    A tight box leaves no such line, so part of the object was missed there; it is not known which.

    Args:
        labels: Labels of a segmenter or a CRF, ``IGNORE`` where unknown.
        boxes: Label, top, left, bottom, right of each, half-open.

    Returns:
        New labels; those of other classes stay.
    """
    kept = labels.clone()
    for label, top, left, bottom, right in boxes.tolist():
        found = labels[top:bottom, left:right] == label
        missed = ~found.any(dim=1)[:, None] | ~found.any(dim=0)
        inside = kept[top:bottom, left:right]
        inside[missed & (inside == BACKGROUND)] = IGNORE
    return kept


def _between(first: Integer[Tensor, " N"], last: Integer[Tensor, " N"], length: int) -> Bool[Tensor, "N length"]:
    """Mark the positions from ``first`` up to, but excluding, ``last``."""
    places = torch.arange(length, device=first.device)
    return (places >= first[:, None]) & (places < last[:, None])
