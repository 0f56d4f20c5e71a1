"""Clicks of What's the Point (Bearman et al., ECCV 2016): JSON ``{image: [{"x", "y", "cls", "rank"}, …]}``.

x is the column and y the row of a click in pixels, fractions lie within their pixel; cls is the label, from 1 for the
classes of VOC in their order, and rank counts the clicks on one class. Clicks on some classes do not exclude others, so
the annotations are not ``tags_complete``.

Clicks on the background are published in a separate file (Obukhov et al., 2019, for gated CRF). They are not human
clicks but sampled from the strokes of ScribbleSup, have no rank, and may lie outside of the image; where its size is
known they are clipped to its edge.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from math import floor

from wsss.annotations.annotation import Annotation
from wsss.annotations.base import Size
from wsss.annotations.entries import LARGEST, Entry, parse_json
from wsss.annotations.formats.base import VOC_CLASSES, Format, Source, carriers, finished, number_classes, only_source
from wsss.annotations.manifest import Classes, Manifest
from wsss.annotations.points import Point, Points
from wsss.errors import DataError


def read(sources: Iterable[Source], classes: Classes | None) -> Manifest:
    """Read the clicks of all images; an image with an empty list has no clicks.

    Raises:
        DataError: If it is not such a file.
    """
    source = only_source(sources, "What's the Point")
    known = classes or VOC_CLASSES
    images = parse_json(source.content, source.name).table()
    annotations = {
        image: Annotation(points=_points(entry, len(known), source.sizes.get(image))) for image, entry in images
    }
    if not annotations:
        raise DataError(f"{source.name} holds no clicks, there must be some; fetch it again")
    return finished(number_classes({}, known), annotations, {}, source.name)


def write(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Write the clicks, in whole pixels."""
    yield "", json.dumps({image: _clicks(label.points) for image, label in carriers(manifest, "points")}) + "\n"


def _points(entry: Entry, classes: int, size: Size | None) -> Points:
    clicks = entry.entries()
    ranked = any(type(click.value) is dict and "rank" in click.value for click in clicks)
    points = _made(clicks, classes) if ranked else [_drawn(click, classes, size) for click in clicks]
    return Points(tuple(points))


def _made(clicks: list[Entry], classes: int) -> list[Point]:
    """Return human clicks, each with its rank."""
    seen: set[tuple[int, int]] = set()
    points = []
    for held in (click.members(("x", "y", "cls", "rank")) for click in clicks):
        label, rank = held["cls"].whole(0, classes), held["rank"].whole(1)
        if (label, rank) in seen:
            raise held["rank"].wrong(f"must occur once for each class, class {label} has it twice", "delete one click")
        seen.add((label, rank))
        row, column = (int(held[axis].number(0, LARGEST)) for axis in ("y", "x"))
        points.append(Point(label, row, column))
    return points


def _drawn(click: Entry, classes: int, size: Size | None) -> Point:
    """Return a click sampled from a stroke; positions outside of the image, by less than its side, are clipped."""
    held = click.members(("x", "y", "cls"))
    row, column = (_place(held[axis], side) for axis, side in zip(("y", "x"), size or (None, None), strict=True))
    return Point(held["cls"].whole(0, classes), row, column)


def _place(entry: Entry, side: int | None) -> int:
    if side is None:
        return int(entry.number(0, LARGEST))
    return min(max(floor(entry.number(-side, 2 * side)), 0), side - 1)


def _clicks(points: Points | None) -> list[dict[str, int]]:
    ranks: Counter[int] = Counter()
    clicks = []
    for point in points.points if points else ():
        ranks[point.label] += 1
        clicks.append({"y": point.row, "x": point.column, "rank": ranks[point.label], "cls": point.label})
    return clicks


def recognises(content: bytes) -> bool:
    """Whether it is an object that contains the keys cls, x and y."""
    return content.lstrip()[:1] == b"{" and all(key in content for key in (b'"cls"', b'"x"', b'"y"'))


WHATS_THE_POINT = Format(kinds=("points",), read=read, write=write, recognises=recognises, suffix=".json")
