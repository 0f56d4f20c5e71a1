"""Clicks of What's the Point (Bearman et al., ECCV 2016): JSON ``{image: [{"x", "y", "cls", "rank"}, …]}``.

x is the column and y the row of a click in pixels, a fraction lies within its pixel; cls is the label, from 1 for the
classes of VOC in their order, and rank counts the clicks on one class. Whoever clicked on some classes has not ruled
out the others, so what is read is not ``tags_complete``.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator

from wsss.annotations.annotation import Annotation
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
    annotations = {image: Annotation(points=_points(entry, len(known))) for image, entry in images}
    if not annotations:
        raise DataError(f"{source.name} holds clicks into no image, there must be some; fetch it again")
    return finished(number_classes({}, known), annotations, {}, source.name)


def write(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Write the clicks, in whole pixels."""
    yield "", json.dumps({image: _clicks(label.points) for image, label in carriers(manifest, "points")}) + "\n"


def _points(entry: Entry, classes: int) -> Points:
    clicks = [one.members(("x", "y", "cls", "rank")) for one in entry.entries()]
    seen: set[tuple[int, int]] = set()
    points = []
    for click in clicks:
        label, rank = click["cls"].whole(0, classes), click["rank"].whole(1)
        if (label, rank) in seen:
            raise click["rank"].wrong(f"must stand once for each class, class {label} has it twice", "delete one click")
        seen.add((label, rank))
        row, column = (int(click[name].number(0, LARGEST)) for name in ("y", "x"))
        points.append(Point(label, row, column))
    return Points(tuple(points))


def _clicks(points: Points | None) -> list[dict[str, int]]:
    ranks: Counter[int] = Counter()
    clicks = []
    for point in points.points if points else ():
        ranks[point.label] += 1
        clicks.append({"y": point.row, "x": point.column, "rank": ranks[point.label], "cls": point.label})
    return clicks


def recognises(content: bytes) -> bool:
    """Whether it is an object in which something is called cls, x and y."""
    return content.lstrip()[:1] == b"{" and all(key in content for key in (b'"cls"', b'"rank"', b'"x"', b'"y"'))


WHATS_THE_POINT = Format(kinds=("points",), read=read, write=write, recognises=recognises, suffix=".json")
