"""Points: a click on an object, and its class (Bearman et al., ECCV 2016)."""

from dataclasses import dataclass, replace

import torch

from wsss.annotations.base import Size, WeakLabel, moved, nothing_known
from wsss.errors import DataError
from wsss.types import BACKGROUND, Image, LabelMap, Segments


@dataclass(frozen=True)
class Point:
    """One click.

    Attributes:
        label: Class at the click; 0 for the background.
        row: Pixel row, from 0.
        column: Pixel column, from 0.
    """

    label: int
    row: int
    column: int


@dataclass(frozen=True)
class Points(WeakLabel):
    """All clicks in one image.

    Attributes:
        points: The clicks; where discs overlap, the later one counts.
        radius: Radius in pixels of the disc around a click that gets its label.
    """

    points: tuple[Point, ...]
    radius: int = 0

    kind = "points"
    losses = ("partial_cross_entropy", "tree_energy", "gated_crf")

    def labels(self) -> frozenset[int]:
        """Labels of the clicks."""
        return frozenset(point.label for point in self.points)

    def seeds(self, image: Image) -> LabelMap | None:
        """A disc around each click."""
        drawn = nothing_known((image.shape[1], image.shape[2]))
        for point in self.points:
            _disc(drawn, point, self.radius, point.label)
        return drawn if self.points else None

    def ties(self, size: Size) -> Segments | None:
        """Each disc is one region."""
        drawn = torch.zeros(size, dtype=torch.int64)
        for number, point in enumerate(self.points, start=1):
            _disc(drawn, point, self.radius, number)
        return drawn if self.points else None

    def without_background(self) -> "Points":
        """The clicks on objects."""
        return replace(self, points=tuple(point for point in self.points if point.label != BACKGROUND))

    def resized(self, old: Size, new: Size) -> "Points":
        """The same clicks for a resized image."""
        places = [(moved(one.row, old[0], new[0]), moved(one.column, old[1], new[1])) for one in self.points]
        points = (Point(one.label, *place) for one, place in zip(self.points, places, strict=True))
        return replace(self, points=tuple(points))

    def check(self, size: Size, classes: int) -> None:
        """Also check that all clicks lie in the image."""
        super().check(size, classes)
        for number, point in enumerate(self.points):
            if not (0 <= point.row < size[0] and 0 <= point.column < size[1]):
                raise DataError(
                    f"points[{number}] lies at row {point.row}, column {point.column}, the image has {size[0]} rows "
                    f"and {size[1]} columns counted from 0; fix the manifest"
                )


def _disc(drawn: torch.Tensor, point: Point, radius: int, value: int) -> None:
    top, left = max(0, point.row - radius), max(0, point.column - radius)
    part = drawn[top : point.row + radius + 1, left : point.column + radius + 1]
    rows = torch.arange(top, top + part.shape[0])[:, None] - point.row
    columns = torch.arange(left, left + part.shape[1])[None] - point.column
    part[rows**2 + columns**2 <= radius**2] = value
