"""Objects of an image, as far as a mask without instances can separate them, and their middles."""

from dataclasses import dataclass
from functools import cached_property

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from wsss.types import BACKGROUND, IGNORE

LEAST_PIXELS = 24
LEAST_SHARE = 0.0005
"""Components smaller than ``LEAST_PIXELS`` or this share of the image are not treated as objects."""

COARSE_SIDE = 96
"""Larger objects are processed in blocks of pixels: finer distances and skeletons are not worth their cost."""

DEEP = 0.8
"""Blocks with this share of the maximum depth may be the middle; a bus is equally deep along its whole length."""


@dataclass(frozen=True, eq=False)
class Thing:
    """A connected component of one label.

    Attributes:
        label: Its class, or the background.
        number: Its index among all objects of the image.
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
        """Side of the blocks in which it is processed; smaller than its size suggests if it is thin."""
        stride = -(-max(self.mask.shape) // COARSE_SIDE)
        while stride > 1 and 2 * np.count_nonzero(_blocks(self.mask, stride)) * stride**2 < self.area:
            stride //= 2
        return stride

    @cached_property
    def coarse(self) -> NDArray[np.bool_]:
        """The blocks that lie completely within it."""
        return _blocks(self.mask, self.stride)

    @cached_property
    def depth(self) -> NDArray[np.float64]:
        """Distance of each block to the nearest one outside, in blocks; outside of the image counts as outside."""
        return distance_transform_edt(np.pad(self.coarse, 1))[1:-1, 1:-1]

    @property
    def thickness(self) -> float:
        """Diameter of the largest disc that fits into it, in pixels."""
        return (2 * float(self.depth.max()) - 1) * self.stride

    @cached_property
    def middle(self) -> tuple[int, int]:
        """The one of its deepest blocks that is closest to its centre of mass."""
        deep = np.argwhere(self.depth >= DEEP * self.depth.max())
        away = ((deep - np.argwhere(self.coarse).mean(axis=0)) ** 2).sum(axis=1)
        row, column = deep[away.argmin()]
        return int(row), int(column)

    def pixels(self, blocks: NDArray[np.integer]) -> NDArray[np.int64]:
        """Centres of blocks as pixels within its box, rows of (row, column)."""
        return np.asarray(blocks, dtype=np.int64) * self.stride + self.stride // 2

    def depth_at(self, rows: NDArray[np.integer], columns: NDArray[np.integer]) -> NDArray[np.float64]:
        """Depth of the blocks that contain pixels, relative to its box; cut-off blocks take the last full one's."""
        height, width = self.depth.shape
        return self.depth[(rows // self.stride).clip(0, height - 1), (columns // self.stride).clip(0, width - 1)]

    def holds(self, rows: NDArray[np.integer], columns: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Return which pixels, given relative to its box, belong to it."""
        height, width = self.mask.shape
        within = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        return within & self.mask[rows.clip(0, height - 1), columns.clip(0, width - 1)]


def _blocks(mask: NDArray[np.bool_], stride: int) -> NDArray[np.bool_]:
    """Mark the blocks that are completely filled; blocks cut off by the lower and right edge are left out."""
    if stride == 1:
        return mask
    height, width = (side // stride for side in mask.shape)
    cut = mask[: height * stride, : width * stride].reshape(height, stride, width, stride)
    return np.asarray(cut.all(axis=(1, 3)))


def find_things(labels: NDArray[np.uint8]) -> tuple[Thing, ...]:
    """List the objects of an image: the connected components of each class (8-connected).

    Touching objects of one class are merged, and an object that another one cuts in two is split, since masks without
    instances do not separate them. Tiny components are dropped unless they are the largest of their class.

    Args:
        labels: Ground truth, (H, W); the background and ``IGNORE`` are no objects.
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
    """Return the largest object of each class, the first of equal ones."""
    largest: dict[int, Thing] = {}
    for thing in things:
        if thing.label not in largest or thing.area > largest[thing.label].area:
            largest[thing.label] = thing
    return tuple(largest.values())


def find_ground(labels: NDArray[np.uint8]) -> Thing | None:
    """Return the whole background as one object; None if an image has none."""
    mask = labels == BACKGROUND
    return Thing(BACKGROUND, -1, 0, 0, mask) if mask.any() else None
