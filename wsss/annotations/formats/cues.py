"""Cues of SEC (Kolesnikov and Lampert, ECCV 2016) and DSRG (Huang et al., CVPR 2018) as points.

A cue labels one point of a coarse grid (41 × 41) that is stretched over the image, its corner points on the image's
corner pixels. What is read is a click on the pixel of that point, of a pen as small as points are drawn: what a cue
would say about the pixels around, up to half a cell, is left to the radius of points. Cues are no human clicks, and a
network found them: they name classes as lower bounds, and what the file says about tags is not read.

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
    """Put each cue on the pixel of its grid point.

    Args:
        cues: A label, a row and a column of the grid each.
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
    """Make points of the cues of images, whose content is the cues and the side of their grid.

    Raises:
        DataError: If the size of an image is unknown, or a cue is of no class.
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
    """Whether it begins as pickles do, of old protocols too."""
    return content[:1] == b"\x80" or content[:2] in (b"(d", b"}q", b"(l", b"]q")


CUES = Format(kinds=("points",), read=read, write=None, recognises=recognises, suffix=".pickle")
