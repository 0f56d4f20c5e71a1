"""Histograms of half-precision activations, and exact quantiles of any number of maps from them."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

LEVELS = 15361
"""Half-precision numbers in [0, 1]; in increasing order their bit patterns are 0, 1, 2 …"""

_ROUNDING = 1e-6
"""Tolerance when rounding share × pixels."""


def count_levels(maps: Float[Tensor, "C H W"], tags: Bool[Tensor, " C"] | None) -> Int64[Tensor, "C 15361"]:
    """Count the pixels of each half-precision value; counts of several images may be added up.

    Args:
        maps: Values in [0, 1], rounded to half precision; NaN is not counted.
        tags: Presence of the classes; maps of absent ones are not counted. None: all maps count.
    """
    # adding zero turns negative zeros into positive ones
    bits = (maps.clamp(0, 1) + 0).half().view(torch.int16).flatten(1)
    counts = torch.zeros(len(maps), LEVELS, dtype=torch.int64)
    present = range(len(maps)) if tags is None else tags.nonzero().flatten().tolist()
    for index in present:
        pixels = bits[index]
        counts[index] = torch.bincount(pixels[(pixels >= 0) & (pixels < LEVELS)].long(), minlength=LEVELS)
    return counts


def level_quantiles(counts: Int64[Tensor, "C 15361"], share: float) -> Float[Tensor, " C"]:
    """For each map, return the smallest value v such that at least ``share`` of its pixels are ≤ v.

    It is always a value that occurs in the map, never interpolated, so pixels of equal value stay together: at most
    1 - ``share`` of the pixels exceed it, even if many share the value.

    Args:
        counts: Number of pixels of each value; see :func:`count_levels`.
        share: In [0, 1]; 0 gives the minimum, 1 the maximum.

    Returns:
        One value per map; NaN where no pixel was counted.
    """
    reached = counts.cumsum(dim=1)
    total = reached[:, -1:]
    wanted = (total.double() * share - _ROUNDING).ceil().clamp(min=1).long()
    levels = torch.searchsorted(reached, wanted).clamp(max=LEVELS - 1).to(torch.int16)
    return torch.where(total > 0, levels.view(torch.float16).float(), torch.nan)[:, 0]
