"""Loss of boxes that are not filled to their sides (Lempitsky et al., ICCV 2009; Hsu et al., NeurIPS 2019)."""

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from wsss.functional.losses import SumAndCount, at_least_single


def box_tightness_loss(
    probabilities: Float[Tensor, "B K h w"],
    boxes: Integer[Tensor, "N 4"],
    classes: Integer[Tensor, " N"],
    owners: Integer[Tensor, " N"],
) -> SumAndCount:
    """Judge whether each line across a box meets its class.

    A tight box touches what it holds on all four sides, so a connected object is met by every row and column of the
    box. As in the paper of Hsu et al. such a line is a bag, of which the best pixel must be of the class. That no pixel
    outside all boxes is, is for other losses to say.

    Args:
        probabilities: Of each pixel, greater than 0, see :func:`wsss.functional.losses.recoverable_softmax`.
        boxes: Half-open (top, left, bottom, right) in pixels of the probabilities. One may reach beyond them, as it
            does in a view cut out of an image: only lines that lie inside from end to end are judged, for of the others
            the object may be met where nobody sees it.
        classes: Label of what each box holds.
        owners: Which image of the batch each box lies in.

    Returns:
        Sum over the boxes of the mean over their lines of -log of the greatest probability on the line, and the number
        of boxes with a line that is judged. An empty box has none.
    """
    size = probabilities.shape[2:]
    if not len(boxes):
        return probabilities.sum() * 0, at_least_single(probabilities).new_zeros(())
    rows, columns = (_between(boxes[:, axis], boxes[:, axis + 2], size[axis]) for axis in (0, 1))
    inside = rows[:, :, None] & columns[:, None, :]
    chosen = at_least_single(probabilities[owners.long(), classes.long()]).where(inside, 0)
    # a row is whole where no column of the box is cut off, and the other way round
    whole = [(boxes[:, axis] >= 0) & (boxes[:, axis + 2] <= size[axis]) for axis in (0, 1)]
    lines = torch.cat([rows & whole[1][:, None], columns & whole[0][:, None]], dim=1)
    lines &= inside.flatten(1).any(dim=1, keepdim=True)
    best = torch.cat([chosen.amax(dim=2), chosen.amax(dim=1)], dim=1)
    costs = -best.where(lines, 1).log()
    count = lines.sum(dim=1)
    return (costs.sum(dim=1) / count.clamp(min=1)).sum(), (count > 0).sum().to(costs.dtype)


def _between(first: Integer[Tensor, " N"], last: Integer[Tensor, " N"], length: int) -> Bool[Tensor, "N length"]:
    """Mark the places from the first to before the last."""
    places = torch.arange(length, device=first.device)
    return (places >= first[:, None]) & (places < last[:, None])
