"""The things of an image as far as a mask without instances tells them, and where their middle is."""

from dataclasses import dataclass
from functools import cached_property

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from wsss.types import BACKGROUND, IGNORE

LEAST_PIXELS = 24
LEAST_SHARE = 0.0005
"""A piece smaller than ``LEAST_PIXELS`` or this share of the image is a sliver, which nobody takes for a thing."""

COARSE_SIDE = 96
"""Larger things are looked at in blocks of pixels: distances and skeletons cost more than they tell beyond it."""

DEEP = 0.8
"""What is this near to being the deepest may be the middle; a bus is equally deep along its whole length."""


@dataclass(frozen=True, eq=False)
class Thing:
    """A piece of an image that has one label.

    Attributes:
        label: Its class, or the background.
        number: Its place among all things of the image.
        top: First row of its box.
        left: First column of its box.
        mask: Its pixels within its box, (h, w).
    """

    label: int
    number: int
    top: int
    left: int
    mask: NDArray[np.bool_]

    @cached_property
    def area(self) -> int:
        """Number of its pixels."""
        return int(np.count_nonzero(self.mask))

    @cached_property
    def stride(self) -> int:
        """Side of the blocks in which it is looked at; less than its size asks for where it is thin."""
        stride = -(-max(self.mask.shape) // COARSE_SIDE)
        while stride > 1 and 2 * np.count_nonzero(_blocks(self.mask, stride)) * stride**2 < self.area:
            stride //= 2
        return stride

    @cached_property
    def coarse(self) -> NDArray[np.bool_]:
        """The blocks that lie wholly within it."""
        return _blocks(self.mask, self.stride)

    @cached_property
    def depth(self) -> NDArray[np.float64]:
        """Distance of each block to the next one outside, in blocks; what is beyond the image is outside."""
        return distance_transform_edt(np.pad(self.coarse, 1))[1:-1, 1:-1]

    @property
    def thickness(self) -> float:
        """Diameter of the largest disc that fits into it, in pixels."""
        return (2 * float(self.depth.max()) - 1) * self.stride

    @cached_property
    def middle(self) -> tuple[int, int]:
        """Of its deepest blocks the one nearest to its centre of mass."""
        deep = np.argwhere(self.depth >= DEEP * self.depth.max())
        away = ((deep - np.argwhere(self.coarse).mean(axis=0)) ** 2).sum(axis=1)
        row, column = deep[away.argmin()]
        return int(row), int(column)

    def pixels(self, blocks: NDArray[np.integer]) -> NDArray[np.int64]:
        """Middles of blocks within its box, rows of (row, column)."""
        return np.asarray(blocks, dtype=np.int64) * self.stride + self.stride // 2

    def depth_at(self, rows: NDArray[np.integer], columns: NDArray[np.integer]) -> NDArray[np.float64]:
        """Depth of the blocks that pixels, counted within its box, lie in; of the last ones for cut blocks."""
        height, width = self.depth.shape
        return self.depth[(rows // self.stride).clip(0, height - 1), (columns // self.stride).clip(0, width - 1)]

    def holds(self, rows: NDArray[np.integer], columns: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Tell which pixels, counted within its box, are its own."""
        height, width = self.mask.shape
        within = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        return within & self.mask[rows.clip(0, height - 1), columns.clip(0, width - 1)]


def _blocks(mask: NDArray[np.bool_], stride: int) -> NDArray[np.bool_]:
    """Mark the blocks that are filled; those that the lower and right edge cut are not."""
    if stride == 1:
        return mask
    height, width = (side // stride for side in mask.shape)
    cut = mask[: height * stride, : width * stride].reshape(height, stride, width, stride)
    return np.asarray(cut.all(axis=(1, 3)))


def find_things(labels: NDArray[np.uint8]) -> tuple[Thing, ...]:
    """List the things of an image: the connected pieces of each class, corners included.

    Two things of a class that touch are one, and a thing that another one cuts in two is two, for masks without
    instances tell no better. Slivers are left out, unless nothing larger of their class is there.

    Args:
        labels: True labels, (H, W); the background and ``IGNORE`` are no things.
    """
    classes = np.where(labels == IGNORE, BACKGROUND, labels)
    pieces = cc3d.connected_components(classes, connectivity=8)
    found = cc3d.statistics(pieces)
    things: list[Thing] = []
    for number in range(1, len(found["voxel_counts"])):
        rows, columns = found["bounding_boxes"][number][:2]
        mask = pieces[rows, columns] == number
        label = int(classes[rows, columns][mask][0])
        things.append(Thing(label, number - 1, rows.start, columns.start, mask))
    least = max(LEAST_PIXELS, LEAST_SHARE * labels.size)
    largest = {thing.number for thing in largest_of_each(tuple(things))}
    return tuple(thing for thing in things if thing.area >= least or thing.number in largest)


def largest_of_each(things: tuple[Thing, ...]) -> tuple[Thing, ...]:
    """Choose the largest thing of each class, the first of equal ones."""
    largest: dict[int, Thing] = {}
    for thing in things:
        if thing.label not in largest or thing.area > largest[thing.label].area:
            largest[thing.label] = thing
    return tuple(largest.values())


def find_ground(labels: NDArray[np.uint8]) -> Thing | None:
    """Take the whole background for one thing; None where an image has none."""
    mask = labels == BACKGROUND
    return Thing(BACKGROUND, -1, 0, 0, mask) if mask.any() else None
