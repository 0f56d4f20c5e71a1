"""Boxes of COCO (Lin et al., ECCV 2014): one JSON file of instances.

A box is x, y, width, height from the image's top left corner, with fractions; all pixels that it touches are read.
Category ids have gaps, so categories are matched by name. COCO has a box for every object of its categories, so boxes
and tags are complete. Crowd boxes contain several unseparated objects and are left out: the image's boxes are then not
complete, and neither are its tags if no other box has the crowd's class. Segmentations are not read.
"""

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from wsss.annotations.annotation import Annotation
from wsss.annotations.base import Size
from wsss.annotations.boxes import Box, Boxes
from wsss.annotations.entries import MEND, Entry, parse_json
from wsss.annotations.formats.base import Format, Source, finished, number_classes, only_source
from wsss.annotations.formats.voc import complete_boxes
from wsss.annotations.manifest import Classes, Manifest
from wsss.errors import DataError

LAST_ID = 2**63 - 1
SLACK = 1e-6
"""Tolerance in pixels when rounding sums of fractions."""


def read(sources: Iterable[Source], classes: Classes | None) -> Manifest:
    """Read the boxes of all images; an image without annotations has no objects.

    Raises:
        DataError: If it is not such a file, or an annotation refers to an image or category that is not listed.
    """
    source = only_source(sources, "COCO")
    whole = parse_json(source.content, source.name, without=("segmentation",))
    lists = whole.members(("images", "annotations", "categories"), others=True)
    categories = _categories(lists["categories"])
    images, sizes = _images(lists["images"])
    found = _Found(categories, images, sizes)
    for entry in lists["annotations"].entries():
        found.add(entry)
    names = dict.fromkeys(categories.values(), lists["categories"].where) if classes is None else found.names
    numbers = number_classes(names, classes or tuple(categories.values()))
    return finished(numbers, {image: found.annotation(image, numbers) for image in sizes}, sizes, source.name)


def write(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Write the boxes; images are numbered from 1 in the order of their names.

    Raises:
        DataError: If the boxes of an image are not complete, which the format cannot express, or its size is unknown.
    """
    categories = [{"id": label, "name": name} for label, name in enumerate(manifest.classes, 1)]
    images, annotations = [], []
    for number, (image, boxes) in enumerate(complete_boxes(manifest, "coco"), 1):
        if image not in manifest.sizes:
            raise DataError(
                f"image '{image}' has no size in the manifest, the format 'coco' needs it; import the labels once more "
                f"with --images and the folder of the images"
            )
        height, width = manifest.sizes[image]
        images.append({"id": number, "file_name": f"{image}.jpg", "height": height, "width": width})
        annotations += [{"image_id": number, **_instance(box)} for box in boxes]
    for number, annotation in enumerate(annotations, 1):
        annotation["id"] = number
    yield "", json.dumps({"images": images, "annotations": annotations, "categories": categories}) + "\n"


class _Found:
    """Collects the boxes and crowds of each image."""

    def __init__(self, categories: dict[int, str], images: dict[int, str], sizes: dict[str, Size]) -> None:
        self.names: dict[str, str] = {}
        self._categories = categories
        self._images = images
        self._sizes = sizes
        self._ids: set[int] = set()
        self._boxes: dict[str, list[tuple[str, tuple[int, int, int, int]]]] = {image: [] for image in sizes}
        self._crowds: dict[str, set[str]] = {image: set() for image in sizes}

    def add(self, entry: Entry) -> None:
        """Add one annotation."""
        held = entry.members(("id", "image_id", "category_id", "bbox"), ("iscrowd",), others=True)
        if (id := held["id"].whole(0, LAST_ID)) in self._ids:
            raise held["id"].wrong("must be the id of one annotation", "number the annotations anew")
        self._ids.add(id)
        image = _listed(held["image_id"], self._images, "images")
        name = _listed(held["category_id"], self._categories, "categories")
        self.names.setdefault(name, held["category_id"].where)
        sides = _sides(held["bbox"], self._sizes[image])
        if "iscrowd" in held and held["iscrowd"].whole(0, 1):
            self._crowds[image].add(name)
        else:
            self._boxes[image].append((name, sides))

    def annotation(self, image: str, numbers: dict[str, int]) -> Annotation:
        """Return the annotation of an image."""
        boxes, crowds = self._boxes[image], self._crowds[image]
        return Annotation(
            boxes=Boxes(tuple(Box(numbers[name], *sides) for name, sides in boxes), complete=not crowds),
            tags_complete=crowds <= {name for name, _ in boxes},
        )


def _categories(entry: Entry) -> dict[int, str]:
    """Return the name of each category by its id, sorted by id."""
    names: dict[int, str] = {}
    for one in entry.entries():
        held = one.members(("id", "name"), others=True)
        id, name = held["id"].whole(0, LAST_ID), held["name"].text()
        if id in names or name in names.values():
            raise one.wrong("must be the only category of its id and of its name", "rename or delete one of the two")
        names[id] = name
    if not names:
        raise entry.wrong("must list a category", "fetch the file again")
    return dict(sorted(names.items()))


def _images(entry: Entry) -> tuple[dict[int, str], dict[str, Size]]:
    """Return the name of each image (its file name without suffix) by id, and its size."""
    names: dict[int, str] = {}
    sizes: dict[str, Size] = {}
    for one in entry.entries():
        held = one.members(("id", "file_name", "height", "width"), others=True)
        id, file = held["id"].whole(0, LAST_ID), PurePosixPath(held["file_name"].text())
        if file.name in ("", ".."):
            raise held["file_name"].wrong("must name a file")
        name = file.with_suffix("").as_posix()
        if id in names or name in sizes:
            raise one.wrong("must be the only image of its id and of its name", "rename or delete one of the two")
        names[id] = name
        sizes[name] = held["height"].whole(1), held["width"].whole(1)
    return names, sizes


def _listed(entry: Entry, names: dict[int, str], where: str) -> str:
    id = entry.whole(0, LAST_ID)
    if id not in names:
        raise entry.wrong(f"must be the id of one of the {where} that the file lists", "fetch the file again")
    return names[id]


def _sides(entry: Entry, size: Size) -> tuple[int, int, int, int]:
    """Return the pixels that a box touches: top, left, bottom, right."""
    numbers = entry.entries()
    if len(numbers) != 4:
        raise entry.wrong("must be four numbers: x, y, width, height")
    x, y = (number.number(0) for number in numbers[:2])
    width, height = (number.number(0) for number in numbers[2:])
    top, left = math.floor(y + SLACK), math.floor(x + SLACK)
    bottom, right = math.ceil(y + height - SLACK), math.ceil(x + width - SLACK)
    if not (top < bottom <= size[0] + 1 and left < right <= size[1] + 1 and top < size[0] and left < size[1]):
        raise entry.wrong(f"must touch a pixel and lie in an image of {size[0]} × {size[1]} (rows × columns)", MEND)
    # published boxes extend beyond their image by fractions of a pixel
    return top, left, min(bottom, size[0]), min(right, size[1])


def _instance(box: Box) -> dict[str, object]:
    sides = [box.left, box.top, box.right - box.left, box.bottom - box.top]
    return {"category_id": box.label, "bbox": sides, "area": box.area, "iscrowd": 0}


def recognises(content: bytes) -> bool:
    """Whether it is an object with categories and annotations."""
    return content.lstrip()[:1] == b"{" and b'"categories"' in content and b'"annotations"' in content


COCO = Format(kinds=("boxes",), read=read, write=write, recognises=recognises, suffix=".json")
