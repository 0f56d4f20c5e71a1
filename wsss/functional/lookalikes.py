"""Pictures that look the same though their bytes differ: written again, compressed, resized."""

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from wsss.types import Image

SIDE = 8
"""Height and width of a signature."""

TOLERANCE = 12
"""Signatures that differ nowhere by more look the same; a step is a 255th.

Photographs written again as JPEG of quality 20 move by up to 8, resized by a quarter to two by up to 2; of 579
photographs of VOC and COCO the two most alike differ by 42.
"""

Signature = UInt8[Tensor, "3 8 8"]


def signature(image: Image) -> Signature:
    """Average an image over a grid of 8 × 8 cells, whatever its size.

    Args:
        image: RGB bytes (3, H, W).

    Returns:
        RGB bytes (3, 8, 8).
    """
    # overlapping cells, weighted towards their middles: whole pixels in cells of their own would jump when resized
    small = interpolate(image[None].float(), (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
    return small[0].round().clamp(0, 255).to(torch.uint8)


def find_lookalikes(
    ones: UInt8[Tensor, "N 3 8 8"], others: UInt8[Tensor, "M 3 8 8"], tolerance: int = TOLERANCE
) -> list[tuple[int, int]]:
    """Find the pairs of signatures that differ by at most the tolerance in every cell.

    Cropped, mirrored and turned pictures are not found.

    Args:
        ones: Signatures of N images.
        others: Signatures of M images.
        tolerance: Largest difference of two cells.

    Returns:
        Pairs of a place among the first and a place among the others, in rising order.
    """
    flat, flat_others = (part.flatten(1).to(torch.int16) for part in (ones, others))
    # cells that differ by t at most have means that do, so few of the others need to be looked at
    means, others_means = flat.float().mean(1), flat_others.float().mean(1)
    order = others_means.argsort(stable=True)
    sorted_others, sorted_means = flat_others[order], others_means[order].contiguous()
    # half a step more than the tolerance: means are rounded
    starts = torch.searchsorted(sorted_means, means - tolerance - 0.5).tolist()
    ends = torch.searchsorted(sorted_means, means + tolerance + 0.5).tolist()
    pairs: list[tuple[int, int]] = []
    for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
        alike = (sorted_others[start:end] - flat[place]).abs().amax(1) <= tolerance
        pairs += [(place, other) for other in order[start:end][alike].tolist()]
    return sorted(pairs)
