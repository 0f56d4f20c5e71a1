"""The manifest: labels of all kinds and many images as one JSON text, see docs/MANIFEST.md.

It contains annotations only; how they are used (radius of a click, GrabCut in boxes) is a matter of settings.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from wsss.annotations.annotation import Annotation
from wsss.annotations.base import Size
from wsss.annotations.boxes import Box, Boxes
from wsss.annotations.entries import LARGEST, Entry, parse_json
from wsss.annotations.manifest import Classes, Manifest, check_classes
from wsss.annotations.masks import Mask
from wsss.annotations.points import Point, Points
from wsss.annotations.scribbles import Scribbles, Stroke
from wsss.annotations.tags import ImageTags
from wsss.errors import DataError, nearest
from wsss.types import BACKGROUND, BACKGROUND_NAME, IGNORE

FORMAT = "wsss-labels"
VERSION = 1

WIDEST = 1000
"""Maximum width of a pen in pixels."""

Fields = dict[str, Any]
Members = Mapping[str, Entry]
Numbers = Mapping[str, int | None]
"""Label of each class in the file; None for classes that are not among the requested ones."""


def encode(annotations: Mapping[str, Annotation], classes: Classes, sizes: Mapping[str, Size] | None = None) -> str:
    """Write annotations as a manifest; equal annotations give equal text.

    Args:
        annotations: Annotation of each image, by its name.
        classes: Names of the foreground classes; label k is ``classes[k - 1]``.
        sizes: Height and width of images, where known.

    Raises:
        DataError: If an annotation has an unknown class or does not fit its image.
    """
    manifest = Manifest(classes=classes, annotations=annotations, sizes=sizes or {})
    manifest.check("the labels to be written")
    names: dict[int, str | None] = {BACKGROUND: BACKGROUND_NAME, IGNORE: None} | dict(enumerate(classes, 1))
    images = ",\n".join(
        f"  {json.dumps(image)}: {json.dumps(_fields(annotations[image], manifest.sizes.get(image), names))}"
        for image in sorted(annotations)
    )
    head = {"format": FORMAT, "version": VERSION, "classes": list(classes)}
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    lines.append(f' "images": {{\n{images}\n }}' if images else ' "images": {}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def decode(text: str, classes: Classes | None = None, *, name: str = "the manifest") -> Manifest:
    """Read a manifest.

    Args:
        text: A manifest, written by ``encode`` or by hand.
        classes: Class names that define the label numbers, such as those of a data set; the manifest's own if None.
            Classes are matched by name, so their order in the manifest does not matter.
        name: Name of the text in error messages, such as its file in quotes.

    Raises:
        DataError: If it is not a manifest, has a later version, is inconsistent, or uses a class that is not requested.
    """
    whole = parse_json(text, name)
    _check_version(whole)
    head = whole.members(("format", "version", "classes", "images"))
    own = tuple(entry.text() for entry in head["classes"].entries())
    check_classes(own, f"{name}, entry classes,")
    wanted = own if classes is None else classes
    labels = {label: number for number, label in enumerate(wanted, 1)}
    numbers: Numbers = {BACKGROUND_NAME: BACKGROUND} | {label: labels.get(label) for label in own}
    annotations, sizes = {}, {}
    for image, entry in head["images"].table():
        members = entry.members((), KEYS)
        annotations[image] = _annotation(members, numbers)
        if "size" in members:
            sizes[image] = _size(members["size"])
    manifest = Manifest(classes=wanted, annotations=annotations, sizes=sizes)
    manifest.check(name)
    return manifest


def _check_version(whole: Entry) -> None:
    told = whole.members(("format", "version"), others=True)
    if told["format"].value != FORMAT:
        raise told["format"].wrong(f"must be '{FORMAT}'", "give a manifest, or import the file with `wsss data import`")
    if told["version"].whole(1) > VERSION:
        raise told["version"].wrong(f"must be at most {VERSION}, a later wsss wrote the file", "update wsss")


def _fields(annotation: Annotation, size: Size | None, names: Mapping[int, str | None]) -> Fields:
    """Write one image; kinds that were not given are left out."""
    fields: Fields = {} if size is None else {"size": list(size)}
    for kind, part in PARTS.items():
        value = getattr(annotation, kind)
        if value is not None:
            fields |= part.write(value, names)
    return fields | ({"tags_complete": True} if annotation.tags_complete else {})


def _annotation(members: Members, numbers: Numbers) -> Annotation:
    """Read one image."""
    for part in PARTS.values():
        there = [key for key in part.keys if key in members]
        missing = [key for key in part.keys if key not in members]
        if there and missing:
            raise DataError(f"{members[there[0]].where} comes without '{missing[0]}', they need each other; add it")
    given = {kind: part.read(members, numbers) for kind, part in PARTS.items() if part.keys[0] in members}
    complete = members["tags_complete"].flag() if "tags_complete" in members else False
    return Annotation(**given, tags_complete=complete)


def _size(entry: Entry) -> Size:
    height, width = entry.pair()
    return height.whole(1), width.whole(1)


def _label(entry: Entry, numbers: Numbers) -> int:
    name = entry.text()
    if name not in numbers:
        raise entry.wrong("must be a class that the file lists", nearest(name, tuple(numbers)))
    number = numbers[name]
    if number is None:
        raise entry.wrong("must be a class of the data", "add it to the class list of the data or rename it here")
    return number


def _write_tags(tags: ImageTags, names: Mapping[int, str | None]) -> Fields:
    return {"tags": [names[label] for label in tags.present]}


def _read_tags(members: Members, numbers: Numbers) -> ImageTags:
    entries = members["tags"].entries()
    labels = [_label(entry, numbers) for entry in entries]
    for place, entry in enumerate(entries):
        if labels[place] in labels[:place]:
            raise entry.wrong("must be named once", "delete one of the two")
    return ImageTags(tuple(sorted(labels)))


def _write_points(points: Points, names: Mapping[int, str | None]) -> Fields:
    rows = [{"label": names[point.label], "row": point.row, "column": point.column} for point in points.points]
    return {"points": rows}


def _read_points(members: Members, numbers: Numbers) -> Points:
    held = [entry.members(("label", "row", "column")) for entry in members["points"].entries()]
    return Points(
        tuple(Point(_label(one["label"], numbers), one["row"].whole(), one["column"].whole()) for one in held)
    )


def _write_scribbles(scribbles: Scribbles, names: Mapping[int, str | None]) -> Fields:
    strokes = [
        {"label": names[stroke.label], "width": stroke.width, "path": [list(corner) for corner in stroke.path]}
        for stroke in scribbles.strokes
    ]
    return {"scribbles": strokes}


def _read_scribbles(members: Members, numbers: Numbers) -> Scribbles:
    return Scribbles(tuple(_read_stroke(entry, numbers) for entry in members["scribbles"].entries()))


def _read_stroke(entry: Entry, numbers: Numbers) -> Stroke:
    held = entry.members(("label", "width", "path"))
    corners = [corner.pair() for corner in held["path"].entries()]
    if not corners:
        raise held["path"].wrong("must have a corner [row, column]")
    path = tuple((row.whole(), column.whole()) for row, column in corners)
    return Stroke(_label(held["label"], numbers), path, held["width"].whole(1, WIDEST))


def _write_boxes(boxes: Boxes, names: Mapping[int, str | None]) -> Fields:
    rows = [{"label": names[box.label]} | {side: getattr(box, side) for side in SIDES} for box in boxes.boxes]
    return {"boxes": rows, "boxes_complete": boxes.complete}


def _read_boxes(members: Members, numbers: Numbers) -> Boxes:
    held = [entry.members(("label", *SIDES)) for entry in members["boxes"].entries()]
    boxes = tuple(Box(_label(one["label"], numbers), *(one[side].whole() for side in SIDES)) for one in held)
    return Boxes(boxes, complete=members["boxes_complete"].flag())


def _write_mask(mask: Mask, names: Mapping[int, str | None]) -> Fields:
    return {"mask": {"size": list(mask.size), "runs": [[names[label], length] for label, length in mask.runs]}}


def _read_mask(members: Members, numbers: Numbers) -> Mask:
    held = members["mask"].members(("size", "runs"))
    runs = [run.pair() for run in held["runs"].entries()]
    pairs = [
        (IGNORE if name.value is None else _label(name, numbers), size.whole(1, LARGEST**2)) for name, size in runs
    ]
    return Mask(_size(held["size"]), tuple(pairs))


class Part(NamedTuple):
    """Representation of one kind of labels in a manifest: its keys, its writer and its reader."""

    keys: tuple[str, ...]
    write: Callable[[Any, Mapping[int, str | None]], Fields]
    read: Callable[[Members, Numbers], Any]


SIDES = ("top", "left", "bottom", "right")

PARTS = {
    "tags": Part(("tags",), _write_tags, _read_tags),
    "points": Part(("points",), _write_points, _read_points),
    "scribbles": Part(("scribbles",), _write_scribbles, _read_scribbles),
    "boxes": Part(("boxes", "boxes_complete"), _write_boxes, _read_boxes),
    "masks": Part(("mask",), _write_mask, _read_mask),
}
"""All kinds of labels; to add one, add a line here and a module beside this one."""

KEYS = ("size", "tags_complete", *(key for part in PARTS.values() for key in part.keys))
