"""Clicks of What's the Point (Bearman et al., ECCV 2016): JSON ``{image: [{"x", "y", "cls", "rank"}, …]}``.

x is the column and y the row of a click in pixels, a fraction lies within its pixel; cls is the label, from 1 for the
classes of VOC in their order, and rank counts the clicks on one class. Whoever clicked on some classes has not ruled
out the others, so what is read is not ``tags_complete``.

Clicks on the background are published beside them (Obukhov et al., 2019, for gated CRF) in a file of its own. No person
made them: they are drawn from the strokes of ScribbleSup, have no rank, and run out of the image as those do; where its
size is known they are brought back to its edge.
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
    """Read the clicks of all images; an image with an empty list was clicked at nowhere.

    Raises:
        DataError: If it is no such file.
    """
    source = only_source(sources, "What's the Point")
    known = classes or VOC_CLASSES
    images = parse_json(source.content, source.name).table()
    annotations = {
        image: Annotation(points=_points(entry, len(known), source.sizes.get(image))) for image, entry in images
    }
    if not annotations:
        raise DataError(f"{source.name} holds clicks into no image, there must be some; fetch it again")
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
    """Clicks that people made, each with its rank."""
    seen: set[tuple[int, int]] = set()
    points = []
    for held in (click.members(("x", "y", "cls", "rank")) for click in clicks):
        label, rank = held["cls"].whole(0, classes), held["rank"].whole(1)
        if (label, rank) in seen:
            raise held["rank"].wrong(f"must stand once for each class, class {label} has it twice", "delete one click")
        seen.add((label, rank))
        row, column = (int(held[axis].number(0, LARGEST)) for axis in ("y", "x"))
        points.append(Point(label, row, column))
    return points


def _drawn(click: Entry, classes: int, size: Size | None) -> Point:
    """A click from a stroke; one that lies outside of the image, though by less than its side, is put at the edge."""
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
    """Whether it is an object in which something is called cls, x and y."""
    return content.lstrip()[:1] == b"{" and all(key in content for key in (b'"cls"', b'"x"', b'"y"'))


WHATS_THE_POINT = Format(kinds=("points",), read=read, write=write, recognises=recognises, suffix=".json")
