"""Scribbles: pen strokes on objects, and their classes (Lin et al., CVPR 2016)."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from wsss.annotations.base import Size, WeakLabel, moved, nothing_known
from wsss.errors import DataError
from wsss.types import BACKGROUND, Image, LabelMap, Segments


@dataclass(frozen=True)
class Stroke:
    """One stroke of the pen.

    Attributes:
        label: Class under the stroke; 0 for the background.
        path: Corners of the stroke as (row, column), in pixels from 0.
        width: Width of the pen in pixels, at least 1. The path runs through pixel centres; for even widths it is
            shifted by half a pixel down and to the right, so that the stroke has exactly that width.
    """

    label: int
    path: tuple[tuple[int, int], ...]
    width: int = 3

    def covers(self, size: Size) -> NDArray[np.bool_]:
        """Mark the pixels that the stroke covers, (H, W)."""
        # slow to import, and most runs have no strokes
        from scipy.ndimage import distance_transform_edt
        from skimage.draw import line

        ink = np.zeros(size, dtype=bool)
        for start, end in zip(self.path, self.path[1:] or self.path, strict=False):
            ink[line(*start, *end)] = True
        if self.width <= 1 or not ink.any():
            return ink
        if self.width % 2:
            return distance_transform_edt(~ink) <= (self.width - 1) / 2
        # in units of half pixels: pixel centres have even coordinates, corners between them odd ones
        corners = np.zeros((2 * size[0], 2 * size[1]), dtype=bool)
        corners[1::2, 1::2] = ink
        return distance_transform_edt(~corners)[::2, ::2] <= np.sqrt((self.width - 1) ** 2 + 1)


@dataclass(frozen=True)
class Scribbles(WeakLabel):
    """All strokes in one image.

    Attributes:
        strokes: The strokes; where two cross, the later one counts.
    """

    strokes: tuple[Stroke, ...]

    kind = "scribbles"
    losses = ("partial_cross_entropy", "tree_energy", "gated_crf")

    def labels(self) -> frozenset[int]:
        """Labels of the strokes."""
        return frozenset(stroke.label for stroke in self.strokes)

    def seeds(self, image: Image) -> LabelMap | None:
        """The pixels that the strokes cover."""
        size = (image.shape[1], image.shape[2])
        drawn = nothing_known(size)
        for stroke in self.strokes:
            drawn[torch.from_numpy(stroke.covers(size))] = stroke.label
        return drawn if self.strokes else None

    def ties(self, size: Size) -> Segments | None:
        """Each stroke is one region."""
        drawn = torch.zeros(size, dtype=torch.int64)
        for number, stroke in enumerate(self.strokes, start=1):
            drawn[torch.from_numpy(stroke.covers(size))] = number
        return drawn if self.strokes else None

    def without_background(self) -> "Scribbles":
        """The strokes on objects."""
        return Scribbles(tuple(stroke for stroke in self.strokes if stroke.label != BACKGROUND))

    def resized(self, old: Size, new: Size) -> "Scribbles":
        """The same strokes for a resized image; pens stay at least one pixel wide."""
        scale = max(new) / max(old)
        strokes = []
        for stroke in self.strokes:
            path = tuple((moved(row, old[0], new[0]), moved(column, old[1], new[1])) for row, column in stroke.path)
            strokes.append(replace(stroke, path=path, width=max(1, round(scale * stroke.width))))
        return Scribbles(tuple(strokes))

    def check(self, size: Size, classes: int) -> None:
        """Also check that all strokes lie in the image."""
        super().check(size, classes)
        for number, stroke in enumerate(self.strokes):
            for row, column in stroke.path:
                if not (0 <= row < size[0] and 0 <= column < size[1]):
                    raise DataError(
                        f"scribbles[{number}] passes row {row}, column {column}, the image has {size[0]} rows and "
                        f"{size[1]} columns counted from 0; fix the manifest"
                    )
