"""Fixed units of work: like-sized images that are computed together."""

from collections.abc import Sequence
from dataclasses import dataclass

GRID = 32
"""Sizes are rounded to multiples of this many pixels, the coarsest stride of the networks."""

MOST_PIXELS = 1 << 22
"""A unit is cut smaller than its batch size before it exceeds this many pixels, which bounds the memory."""


@dataclass(frozen=True)
class Unit:
    """Images that are computed in one batch, whatever the number of processes.

    Attributes:
        index: Place among the units.
        ids: Names of the images.
        size: Height and width, multiples of 32, to which a network's input is resized so that it batches.
    """

    index: int
    ids: tuple[str, ...]
    size: tuple[int, int]


def plan_units(
    ids: Sequence[str], sizes: Sequence[tuple[int, int]], batch_size: int, most_pixels: int = MOST_PIXELS
) -> tuple[Unit, ...]:
    """Cut a list of images into units of like size.

    The plan depends on the whole list alone, so neither a restart nor the number of processes changes what is computed
    together.

    Args:
        ids: Names of the images.
        sizes: Height and width of each.
        batch_size: Most images in a unit.
        most_pixels: Most pixels in a unit; an image larger than that is a unit by itself.

    Returns:
        Units in the order of their sizes; within a size the images keep their order.

    Raises:
        ValueError: If the lists differ in length or a unit may hold no image.
    """
    if len(ids) != len(sizes):
        raise ValueError(f"sizes must be as many as the {len(ids)} ids, got {len(sizes)}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    alike: dict[tuple[int, int], list[str]] = {}
    for id, (height, width) in zip(ids, sizes, strict=True):
        alike.setdefault((fit_grid(height), fit_grid(width)), []).append(id)
    units: list[Unit] = []
    for size in sorted(alike):
        count = min(batch_size, max(1, most_pixels // (size[0] * size[1])))
        members = alike[size]
        for start in range(0, len(members), count):
            units.append(Unit(len(units), tuple(members[start : start + count]), size))
    return tuple(units)


def fit_grid(length: int) -> int:
    """The multiple of ``GRID`` nearest to a length, the larger of two; at least one."""
    return max(GRID, (length + GRID // 2) // GRID * GRID)
