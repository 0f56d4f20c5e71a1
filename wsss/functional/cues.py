"""Localisation cues: sparse labels on a coarse grid, as they are published (Kolesnikov and Lampert, ECCV 2016)."""

from collections.abc import Sequence

import torch
from jaxtyping import Integer, UInt8
from torch import Tensor

from wsss.types import IGNORE, MOST_CLASSES


def draw_cues(cues: Integer[Tensor, "3 N"], side: int, *, labels: Sequence[int]) -> UInt8[Tensor, "side side"]:
    """Draw the cues of one image into a label grid.

    Args:
        cues: Label, row and column of each cue, in any order.
        side: Number of grid points along each side.
        labels: The possible labels; cues of other labels are dropped.

    Returns:
        The label of each point with cues of exactly one possible label, ``IGNORE`` elsewhere; if there is only one
        possible label, that label everywhere.
    """
    if len(labels) == 1:
        return torch.full((side, side), labels[0], dtype=torch.uint8)
    claims = torch.zeros(MOST_CLASSES + 1, side, side, dtype=torch.bool)
    claims[tuple(cues.long())] = True
    names = torch.tensor(labels, dtype=torch.uint8)[:, None, None]
    claims = claims[list(labels)]
    # where only one label has a cue, the sum over the labels is that label
    return torch.where(claims.sum(dim=0) == 1, (claims * names).sum(dim=0), IGNORE).to(torch.uint8)


def spread_cues(grid: UInt8[Tensor, "side side"], size: tuple[int, int]) -> UInt8[Tensor, "H W"]:
    """Give each pixel the label of the nearest grid point.

    The corner points lie on the image's corner pixels, as for a network that pads every convolution: 41 points lie on
    every eighth pixel of an image of side 321, and scale with any other size.

    Args:
        grid: Labels of the points.
        size: Height and width of the image.
    """
    rows, columns = (_nearest(pixels, len(grid)) for pixels in size)
    return grid[rows][:, columns]


def _nearest(pixels: int, points: int) -> Tensor:
    """Index of the grid point nearest to each pixel of a side; the later one if two are equally near."""
    gaps = max(pixels - 1, 1)
    return (2 * torch.arange(pixels) * (points - 1) + gaps) // (2 * gaps)
