"""Fixed units of work: images that are processed together, of similar size if a network sees them."""

from collections.abc import Sequence
from dataclasses import dataclass

GRID = 32
"""Sizes are rounded to multiples of this many pixels, the coarsest stride of the networks."""

MOST_PIXELS = 1 << 22
"""Maximum number of pixels in a unit, which bounds the memory; units get smaller than the batch size if needed."""


@dataclass(frozen=True)
class Portion:
    """A unit of work: images that are processed together, independent of the number of processes.

    Attributes:
        name: Name of the unit, unique in its stage.
        ids: Its images.
        size: Height and width, multiples of 32, to which all its images are resized for a network; (0, 0) if no network
            is used.
    """

    name: str
    ids: tuple[str, ...]
    size: tuple[int, int] = (0, 0)


def portions(ids: Sequence[str], size: int = 8) -> list[Portion]:
    """Split a list of images into units of equal number, independent of the number of processes."""
    return [Portion(f"{start:07d}", tuple(ids[start : start + size])) for start in range(0, len(ids), size)]


def plan_units(
    ids: Sequence[str], sizes: Sequence[tuple[int, int]], batch_size: int, most_pixels: int = MOST_PIXELS
) -> list[Portion]:
    """Split a list of images into units of similar size.

    The plan depends only on the whole list, so neither a restart nor the number of processes changes which images are
    computed together.

    Args:
        ids: Names of the images.
        sizes: Height and width of each.
        batch_size: Maximum number of images in a unit.
        most_pixels: Maximum number of pixels in a unit; a larger image is a unit by itself.

    Returns:
        Units sorted by size; images of equal size keep their order.

    Raises:
        ValueError: If the lists differ in length or the batch size is not positive.
    """
    if len(ids) != len(sizes):
        raise ValueError(f"sizes must be as many as the {len(ids)} ids, got {len(sizes)}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    alike: dict[tuple[int, int], list[str]] = {}
    for id, (height, width) in zip(ids, sizes, strict=True):
        alike.setdefault((fit_grid(height), fit_grid(width)), []).append(id)
    units: list[Portion] = []
    for size in sorted(alike):
        count = min(batch_size, max(1, most_pixels // (size[0] * size[1])))
        members = alike[size]
        for start in range(0, len(members), count):
            units.append(Portion(f"{len(units):07d}", tuple(members[start : start + count]), size))
    return units


def fit_grid(length: int) -> int:
    """The multiple of ``GRID`` closest to a length, the larger one on ties; at least ``GRID``."""
    return max(GRID, (length + GRID // 2) // GRID * GRID)
