"""Near-duplicate images: the same picture re-encoded, compressed or resized.

Colour signatures quickly find candidates; outlines (coarse brightness patterns) separate true duplicates from images
that are merely similar.
"""

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from wsss.types import Image

SIDE = 8
"""Height and width of a signature in cells."""

TOLERANCE = 12
"""Signatures may be of the same picture if no value differs by more than this, on a scale of 0 to 255.

Photographs re-encoded as JPEG of quality 20 differ by up to 8, rescaled by factors of 0.25 to 2 by up to 2; among 579
photographs of VOC and COCO the two most similar ones differ by 42.
"""

OUTLINE_SIDE = 64
"""Height and width of an outline in cells."""

LIKENESS = 0.7
"""Outlines with at least this similarity are of the same picture; see ``likeness``.

Among 150 photographs of VOC and COCO, each in sizes of 128 to 640 pixels, those re-encoded as JPEG of quality 20 have
at least 0.74, those rescaled by 0.25 to 2 at least 0.90 (unless by taking every fourth pixel), and two different ones
at most 0.47. So do different synthetic textures, pages and scans with matching signatures; pictures of a machine part
with scratches at different places reach 0.75, but stay below 0.7 in 478 of 480 pairs.
"""

GRIDS = (64, 32, 16, 8)
"""Cells along a side of the grids on which outlines are compared."""

CELL_PIXELS = 2
"""Minimum number of pixels along the side of a cell: smaller pictures are compared on a coarser grid."""

BLOCK = 4
"""Cells along a side of the blocks that outlines are divided into."""

FAINT = 32.0
"""Noise level of one block: mean square residual, after subtracting a plane, that is ignored."""

ROUNDING = 0.1
"""Noise level of a whole picture: mean square residual that rounding to bytes may cause."""

Signature = UInt8[Tensor, "3 8 8"]
Outline = UInt8[Tensor, "64 64"]


def signature(image: Image) -> Signature:
    """Average an image over a grid of 8 × 8 cells, whatever its size.

    Args:
        image: RGB bytes (3, H, W).

    Returns:
        RGB bytes (3, 8, 8).
    """
    # overlapping cells, weighted towards their centres: disjoint cells of whole pixels would change when resized
    small = interpolate(image[None].float(), (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
    return small[0].round().clamp(0, 255).to(torch.uint8)


def find_lookalikes(
    ones: UInt8[Tensor, "N 3 8 8"], others: UInt8[Tensor, "M 3 8 8"], tolerance: int = TOLERANCE
) -> list[Int64[Tensor, " K"]]:
    """For each signature, find those of others that differ from it by at most the tolerance in every cell.

    Cropped, mirrored and rotated pictures are not found.

    Args:
        ones: Signatures of N images.
        others: Signatures of M images.
        tolerance: Maximum difference of any value.

    Returns:
        For each of the first, indices of the matching others in increasing order.
    """
    flat, flat_others = (part.flatten(1).to(torch.int16) for part in (ones, others))
    # signatures whose values differ by at most t have means that do too, so few of the others need to be compared
    means, others_means = flat.float().mean(1), flat_others.float().mean(1)
    order = others_means.argsort(stable=True)
    sorted_others, sorted_means = flat_others[order], others_means[order].contiguous()
    # half a level more than the tolerance, for rounding errors of the means
    starts = torch.searchsorted(sorted_means, means - tolerance - 0.5).tolist()
    ends = torch.searchsorted(sorted_means, means + tolerance + 0.5).tolist()
    found = []
    for one, start, end in zip(flat, starts, ends, strict=True):
        alike = (sorted_others[start:end] - one).abs().amax(1) <= tolerance
        found.append(order[start:end][alike].sort().values)
    return found


def outline(image: Image) -> Outline:
    """Average the luminance of an image over a grid of 64 × 64 cells, whatever its size."""
    # luminance as in JPEG, which compresses chrominance more strongly
    grey = torch.tensordot(torch.tensor([0.299, 0.587, 0.114]), image.float(), 1)[None, None]
    small = interpolate(grey, (OUTLINE_SIDE, OUTLINE_SIDE), mode="bilinear", antialias=True, align_corners=False)
    return small[0, 0].round().clamp(0, 255).to(torch.uint8)


def grid_side(height: int, width: int) -> int:
    """Return the finest grid whose cells hold enough pixels of the picture, or else the coarsest."""
    return next((side for side in GRIDS if min(height, width) >= CELL_PIXELS * side), GRIDS[-1])


def likeness(
    ones: UInt8[Tensor, "N 64 64"],
    others: UInt8[Tensor, "M 64 64"],
    ones_sides: Int64[Tensor, " N"],
    others_sides: Int64[Tensor, " M"],
) -> Float[Tensor, "N M"]:
    """Measure the similarity of outlines after subtracting the best-fitting plane from each block of 4 × 4 cells.

    The similarity of two residuals a, b is 2ab / (aa + bb). The minimum over the whole image and all blocks is taken,
    so one scratch suffices to tell two pictures of the same object apart, and shared lighting does not make them equal.
    Residuals below ``FAINT`` do not distinguish blocks; images without any structure have similarity 0.

    Args:
        ones: Outlines of N images.
        others: Outlines of M images.
        ones_sides: Finest grids of the first, see ``grid_side``; a pair is compared on the coarser of its two.
        others_sides: Finest grids of the others.

    Returns:
        Values up to 1; 1 means identical.
    """
    sides = torch.minimum(ones_sides[:, None], others_sides)
    found = torch.zeros(sides.shape)
    for side in torch.unique(sides).tolist():
        alike = _likeness_of_details(_details(ones, side), _details(others, side))
        found = torch.where(sides == side, alike, found)
    return found


def _details(outlines: Tensor, side: int) -> Tensor:
    """Blocks of outlines on a grid minus their best-fitting planes; (blocks, N, cells)."""
    cells = avg_pool2d(outlines[:, None].float(), OUTLINE_SIDE // side)[:, 0]
    count = side // BLOCK
    blocks = cells.reshape(-1, count, BLOCK, count, BLOCK).permute(1, 3, 0, 2, 4).flatten(3).flatten(0, 1)
    along = torch.arange(BLOCK) - (BLOCK - 1) / 2
    planes = torch.stack([torch.ones(BLOCK, BLOCK), along[:, None].expand(-1, BLOCK), along.expand(BLOCK, -1)])
    planes = planes.flatten(1) / planes.flatten(1).norm(dim=1, keepdim=True)
    return blocks - blocks @ planes.T @ planes


def _likeness_of_details(ones: Tensor, others: Tensor) -> Tensor:
    common = (2 / BLOCK**2 * ones) @ others.mT
    power = (ones**2).mean(2)[:, :, None] + (others**2).mean(2)[:, None]
    whole = common.mean(0) / (power.mean(0) + ROUNDING)
    return torch.minimum(whole, ((common + FAINT) / (power + FAINT)).amin(0))
