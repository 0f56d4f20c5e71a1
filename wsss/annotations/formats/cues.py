"""Localisation cues of SEC (Kolesnikov and Lampert, ECCV 2016) and DSRG (Huang et al., CVPR 2018), read as points.

A cue labels one point of a coarse grid (41 × 41) that spans the image, its corner points on the image's corner pixels.
Each cue becomes a click on the pixel at its grid point; how far its label extends around it, up to half a cell, is set
by the radius of points. Cues come from a network, not from human clicks: the classes they name are a lower bound, and
tags in the file are not read.

They are read from pickles, which wsss does not write.
"""

from collections.abc import Iterable

from jaxtyping import Integer
from torch import Tensor

from wsss.annotations.annotation import Annotation
from wsss.annotations.base import Size
from wsss.annotations.formats.base import VOC_CLASSES, Format, Source, finished, number_classes
from wsss.annotations.manifest import Classes, Manifest
from wsss.annotations.points import Point, Points
from wsss.errors import DataError

GRID = 41
"""Points along a side of the published grids."""


def points_of_cues(cues: Integer[Tensor, "3 N"], side: int, size: Size) -> Points:
    """Convert cues to points at the pixels of their grid points.

    Args:
        cues: Label, grid row and grid column of each cue.
        side: Points along a side of the grid, at least 2.
        size: Height and width of the image.
    """
    rows, columns = (
        (2 * places * (pixels - 1) + side - 1) // (2 * (side - 1))
        for places, pixels in zip(cues[1:], size, strict=True)
    )
    triples = zip(cues[0].tolist(), rows.tolist(), columns.tolist(), strict=True)
    return Points(tuple(Point(label, row, column) for label, row, column in triples))


def read(sources: Iterable[Source], classes: Classes | None) -> Manifest:
    """Read points from the cues of images; the content of a source is its cues and the side of their grid.

    Raises:
        DataError: If the size of an image is unknown, or a cue has an unknown class.
    """
    annotations: dict[str, Annotation] = {}
    sizes: dict[str, Size] = {}
    name = "the cues"
    for source in sources:
        name = source.name
        if source.size is None:
            raise DataError(
                f"{name}, image '{source.image}', has no size and cues lie on a grid; add --images and their folder"
            )
        sizes[source.image] = source.size
        cues, side = source.content
        annotations[source.image] = Annotation(points=points_of_cues(cues, side, source.size))
    return finished(number_classes({}, classes or VOC_CLASSES), annotations, sizes, name)


def recognises(content: bytes) -> bool:
    """Whether it begins like a pickle, old protocols included."""
    return content[:1] == b"\x80" or content[:2] in (b"(d", b"}q", b"(l", b"]q")


CUES = Format(kinds=("points",), read=read, write=None, recognises=recognises, suffix=".pickle")
