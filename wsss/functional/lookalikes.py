"""Pictures that look the same though their bytes differ: written again, compressed, resized.

Signatures find quickly what may be the same picture; outlines tell it from pictures that are merely of the same kind.
"""

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from wsss.types import Image

SIDE = 8
"""Height and width of a signature."""

TOLERANCE = 12
"""Signatures that differ nowhere by more may be of the same picture; a step is a 255th.

Photographs written again as JPEG of quality 20 move by up to 8, resized by a quarter to two by up to 2; of 579
photographs of VOC and COCO the two most alike differ by 42.
"""

OUTLINE_SIDE = 64
"""Height and width of an outline."""

LIKENESS = 0.7
"""Outlines that are at least so much alike are of the same picture; see ``likeness``.

Of 150 photographs of VOC and COCO, each in sizes of 128 to 640 pixels, those written again as JPEG of quality 20 keep
0.74 and those resized by a quarter to two 0.90, unless every fourth pixel alone was kept; two different ones have 0.47
at most. So have drawn surfaces, pages and scans that signatures take for one; a machine part with scratches elsewhere
has up to 0.75, and less than 0.7 in 478 of 480 pairs.
"""

GRIDS = (64, 32, 16, 8)
"""Cells along a side of the grids that outlines are compared on."""

CELL_PIXELS = 2
"""Pixels along a side that a cell has at least: smaller pictures are compared on a coarser grid."""

BLOCK = 4
"""Cells along a side of the blocks in which outlines are compared."""

FAINT = 32.0
"""Mean square up to which what two blocks have besides a plane is noise."""

ROUNDING = 0.1
"""Mean square up to which what two pictures have besides planes may come of bytes, and says nothing."""

Signature = UInt8[Tensor, "3 8 8"]
Outline = UInt8[Tensor, "64 64"]


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
) -> list[Int64[Tensor, " K"]]:
    """Find for each signature those of others that differ from it by at most the tolerance in every cell.

    Cropped, mirrored and turned pictures are not found.

    Args:
        ones: Signatures of N images.
        others: Signatures of M images.
        tolerance: Largest difference of two cells.

    Returns:
        For each of the first, places among the others in rising order.
    """
    flat, flat_others = (part.flatten(1).to(torch.int16) for part in (ones, others))
    # cells that differ by t at most have means that do, so few of the others need to be looked at
    means, others_means = flat.float().mean(1), flat_others.float().mean(1)
    order = others_means.argsort(stable=True)
    sorted_others, sorted_means = flat_others[order], others_means[order].contiguous()
    # half a step more than the tolerance: means are rounded
    starts = torch.searchsorted(sorted_means, means - tolerance - 0.5).tolist()
    ends = torch.searchsorted(sorted_means, means + tolerance + 0.5).tolist()
    found = []
    for one, start, end in zip(flat, starts, ends, strict=True):
        alike = (sorted_others[start:end] - one).abs().amax(1) <= tolerance
        found.append(order[start:end][alike].sort().values)
    return found


def outline(image: Image) -> Outline:
    """Average the brightness of an image over a grid of 64 × 64 cells, whatever its size."""
    # as JPEG weighs the colours, whose hues it keeps less well
    grey = torch.tensordot(torch.tensor([0.299, 0.587, 0.114]), image.float(), 1)[None, None]
    small = interpolate(grey, (OUTLINE_SIDE, OUTLINE_SIDE), mode="bilinear", antialias=True, align_corners=False)
    return small[0, 0].round().clamp(0, 255).to(torch.uint8)


def grid_side(height: int, width: int) -> int:
    """Choose the finest grid that a picture has pixels enough for, or else the coarsest."""
    return next((side for side in GRIDS if min(height, width) >= CELL_PIXELS * side), GRIDS[-1])


def likeness(
    ones: UInt8[Tensor, "N 64 64"],
    others: UInt8[Tensor, "M 64 64"],
    ones_sides: Int64[Tensor, " N"],
    others_sides: Int64[Tensor, " M"],
) -> Float[Tensor, "N M"]:
    """Tell how much outlines are alike in what planes through blocks of 4 × 4 cells do not explain.

    Two parts a, b are alike by 2ab / (aa + bb). The least of the whole and of all blocks counts, so one scratch tells
    two pictures of the same thing apart, and no common light makes them the same. What is fainter than ``FAINT`` tells
    no blocks apart; pictures without any structure are not alike.

    Args:
        ones: Outlines of N images.
        others: Outlines of M images.
        ones_sides: Their finest grids, see ``grid_side``; a pair is compared on the coarser of its two.
        others_sides: Those of the others.

    Returns:
        Values up to 1, which means the same.
    """
    sides = torch.minimum(ones_sides[:, None], others_sides)
    found = torch.zeros(sides.shape)
    for side in torch.unique(sides).tolist():
        alike = _likeness_of_details(_details(ones, side), _details(others, side))
        found = torch.where(sides == side, alike, found)
    return found


def _details(outlines: Tensor, side: int) -> Tensor:
    """Blocks of outlines on a grid, less the plane that fits each of them best; (blocks, N, cells)."""
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
