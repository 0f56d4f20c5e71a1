"""Labels of every kind, drawn by hypothesis."""

from itertools import pairwise
from typing import Any

from hypothesis import strategies as some

from wsss.annotations import Annotation, Box, Boxes, ImageTags, Mask, Point, Points, Scribbles, Stroke
from wsss.annotations.manifest import Classes, Manifest
from wsss.types import IGNORE

RANDOM_CHECKS = "ignore:Do not use the `random` module inside strategies"
"""The checks of types draw which item of a tuple they look at, also while hypothesis draws labels."""

SIZE = (7, 9)
CLASSES = ("cat", "traffic light", "Hündin 犬")

rows, columns = some.integers(0, SIZE[0] - 1), some.integers(0, SIZE[1] - 1)
foreground = some.integers(1, len(CLASSES))
labels = some.integers(0, len(CLASSES))
names = some.text('ab 1_/é犬"\\', min_size=1, max_size=6).filter(lambda name: bool(name.strip()))


def tuples(of: some.SearchStrategy[Any], least: int = 0) -> some.SearchStrategy[Any]:
    return some.lists(of, min_size=least, max_size=4).map(tuple)


tags = some.sets(foreground).map(lambda present: ImageTags(tuple(sorted(present))))
points = tuples(some.builds(Point, labels, rows, columns)).map(Points)
widths = some.integers(1, 12)


def scribbles(width: some.SearchStrategy[int] = widths) -> some.SearchStrategy[Scribbles]:
    return tuples(some.builds(Stroke, labels, tuples(some.tuples(rows, columns), 1), width)).map(Scribbles)


@some.composite
def box(draw: some.DrawFn) -> Box:
    top, left = draw(rows), draw(columns)
    bottom, right = draw(some.integers(top + 1, SIZE[0])), draw(some.integers(left + 1, SIZE[1]))
    return Box(draw(foreground), top, left, bottom, right)


def boxes(complete: some.SearchStrategy[bool]) -> some.SearchStrategy[Boxes]:
    return some.builds(Boxes, tuples(box()), complete)


@some.composite
def mask(draw: some.DrawFn) -> Mask:
    cuts = draw(some.sets(some.integers(1, SIZE[0] * SIZE[1] - 1), max_size=5))
    ends = [0, *sorted(cuts), SIZE[0] * SIZE[1]]
    values = labels | some.just(IGNORE)
    return Mask(SIZE, tuple((draw(values), end - start) for start, end in pairwise(ends)))


def annotations() -> some.SearchStrategy[Annotation]:
    """Any mix of kinds."""
    return some.builds(
        Annotation,
        tags=some.none() | tags,
        boxes=some.none() | boxes(some.booleans()),
        points=some.none() | points,
        scribbles=some.none() | scribbles(),
        masks=some.none() | mask(),
        tags_complete=some.booleans(),
    )


@some.composite
def manifests(
    draw: some.DrawFn,
    of: some.SearchStrategy[Annotation],
    classes: Classes = CLASSES,
    images: some.SearchStrategy[str] = names,
    sized: bool = False,
) -> Manifest:
    """Some images, all of one size, which is told of all or of some."""
    drawn = draw(some.dictionaries(images, of, max_size=4))
    told = set(drawn) if sized else draw(some.sets(some.sampled_from(sorted(drawn)))) if drawn else set()
    return Manifest(classes=classes, annotations=drawn, sizes=dict.fromkeys(sorted(told), SIZE))
