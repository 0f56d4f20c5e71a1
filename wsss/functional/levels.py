"""Counts of the values that activations have, and quantiles of any number of maps from them."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

LEVELS = 15361
"""Numbers of half precision in [0, 1]; in rising order their bit patterns are 0, 1, 2 …"""

_ROUNDING = 1e-6
"""A share times a number of pixels is a whole number up to this."""


def count_levels(maps: Float[Tensor, "C H W"], tags: Bool[Tensor, " C"] | None) -> Int64[Tensor, "C 15361"]:
    """Count how many pixels have each value of half precision; counts of several images add up.

    Args:
        maps: Values in [0, 1], exact if they have half precision; what is not a number doesn't count.
        tags: Presence of the classes; maps of absent ones aren't counted. None rules nothing out.
    """
    # adding zero makes a positive zero of a negative one
    bits = (maps.clamp(0, 1) + 0).half().view(torch.int16).flatten(1)
    counts = torch.zeros(len(maps), LEVELS, dtype=torch.int64)
    present = range(len(maps)) if tags is None else tags.nonzero().flatten().tolist()
    for index in present:
        pixels = bits[index]
        counts[index] = torch.bincount(pixels[(pixels >= 0) & (pixels < LEVELS)].long(), minlength=LEVELS)
    return counts


def level_quantiles(counts: Int64[Tensor, "C 15361"], share: float) -> Float[Tensor, " C"]:
    """Find the lowest value of each map that no less than a share of its pixels doesn't exceed.

    It is a value that the map has, never one in between, so pixels of one value stay together: at most 1 - ``share`` of
    the pixels lie above it, however many share it.

    Args:
        counts: Pixels of each value; see :func:`count_levels`.
        share: In [0, 1]; 0 gives the least value, 1 the greatest.

    Returns:
        One value a map; NaN where no pixel was counted.
    """
    reached = counts.cumsum(dim=1)
    total = reached[:, -1:]
    wanted = (total.double() * share - _ROUNDING).ceil().clamp(min=1).long()
    levels = torch.searchsorted(reached, wanted).clamp(max=LEVELS - 1).to(torch.int16)
    return torch.where(total > 0, levels.view(torch.float16).float(), torch.nan)[:, 0]
