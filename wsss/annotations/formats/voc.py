"""Boxes of PASCAL VOC (Everingham et al., IJCV 2015): XML, one file per image, named after it.

Coordinates start at 1 and the last row and column belong to the box; the few fractional ones are rounded. VOC has a box
for every object of its classes, including difficult and truncated ones: they are read like the others, and the flags
are dropped. So the boxes and tags read are complete.
"""

from collections.abc import Iterable, Iterator
from xml.sax.saxutils import escape

from wsss.annotations.annotation import Annotation
from wsss.annotations.base import Size
from wsss.annotations.boxes import Box, Boxes
from wsss.annotations.entries import LARGEST, MEND
from wsss.annotations.formats.base import Format, Source, carriers, finished, number_classes
from wsss.annotations.formats.markup import Node, parse_xml, read_size, write_annotation
from wsss.annotations.manifest import Classes, Manifest
from wsss.errors import DataError

Sides = tuple[int, int, int, int]


def read(sources: Iterable[Source], classes: Classes | None) -> Manifest:
    """Read the boxes of images, one file each; an image without objects is known to be empty.

    Raises:
        DataError: If one is not such a file.
    """
    found: dict[str, list[tuple[str, Sides]]] = {}
    sizes: dict[str, Size] = {}
    names: dict[str, str] = {}
    places: dict[str, str] = {}
    for source in sources:
        places[source.image] = source.name
        root = parse_xml(source.content, source.name)
        size = read_size(root) or source.size
        if size is not None:
            sizes[source.image] = size
        found[source.image] = []
        for thing in root.only("object"):
            label = thing.node("name")
            names.setdefault(label.text(), label.where)
            found[source.image].append((label.text(), _sides(thing.node("bndbox"), size)))
    numbers = number_classes(names, classes)
    annotations = {
        image: Annotation(boxes=Boxes(tuple(Box(numbers[name], *sides) for name, sides in boxes)), tags_complete=True)
        for image, boxes in found.items()
    }
    return finished(numbers, annotations, sizes, "the boxes", places)


def write(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Write the boxes, one file per image that has some.

    Raises:
        DataError: If the boxes of an image are not complete, which the format cannot express.
    """
    for image, boxes in complete_boxes(manifest, "voc"):
        elements = [
            f"<object><name>{escape(manifest.classes[box.label - 1])}</name><difficult>0</difficult><bndbox>"
            f"<xmin>{box.left + 1}</xmin><ymin>{box.top + 1}</ymin><xmax>{box.right}</xmax><ymax>{box.bottom}</ymax>"
            f"</bndbox></object>"
            for box in boxes
        ]
        yield image, write_annotation(image, manifest.sizes.get(image), elements)


def complete_boxes(manifest: Manifest, format: str) -> Iterator[tuple[str, tuple[Box, ...]]]:
    """Yield the boxes of each image that has some, for formats in which boxes are always complete.

    Raises:
        DataError: If the boxes of an image are not complete.
    """
    for image, annotation in carriers(manifest, "boxes"):
        if annotation.boxes is not None and not annotation.boxes.complete:
            raise DataError(
                f"image '{image}' has boxes that are not complete, the format '{format}' can't say so and means that "
                f"every object has one; box the rest and set boxes_complete in the manifest, or take the image out"
            )
        yield image, annotation.boxes.boxes if annotation.boxes else ()


def _sides(box: Node, size: Size | None) -> Sides:
    height, width = size or (LARGEST, LARGEST)
    left, top = (round(box.node(side).number(1)) for side in ("xmin", "ymin"))
    right, bottom = (round(box.node(side).number(1)) for side in ("xmax", "ymax"))
    if not (left <= right <= width and top <= bottom <= height):
        raise DataError(
            f"{box.where} spans columns {left} to {right} and rows {top} to {bottom}, it must hold a pixel and lie in "
            f"an image of {height} rows and {width} columns, counted from 1; {MEND}"
        )
    return top - 1, left - 1, bottom, right


def recognises(content: bytes) -> bool:
    """Whether it is an annotation with boxes."""
    return b"<annotation" in content and b"<bndbox" in content


VOC = Format(kinds=("boxes",), read=read, write=write, recognises=recognises, suffix=".xml", per_image=True)
