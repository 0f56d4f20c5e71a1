"""Strokes of ScribbleSup (Lin et al., CVPR 2016): XML like VOC's, one file an image, named after it.

    <annotation>
      <size><width>500</width><height>375</height></size>
      <polygon><tag>plane</tag><point><X>12</X><Y>30</Y></point><point>…</point></polygon>

Each polygon is an open stroke along its points; X is the column and Y the row. The published files call five classes
shorter than VOC does; these names mean VOC's classes where all others do, or where the classes are given and have the
long name alone. The files let strokes run out of the image, which are brought back to its edge. They don't say how wide
the pen is: 3 pixels, as they are commonly drawn. Readers of the files disagree whether coordinates count from 0 or 1;
here they count from 0. Strokes on some classes rule out no other class, so what is read is not ``tags_complete``.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from types import MappingProxyType
from xml.sax.saxutils import escape

from wsss.annotations.annotation import Annotation
from wsss.annotations.base import Size
from wsss.annotations.entries import LARGEST, MEND
from wsss.annotations.formats.base import VOC_CLASSES, Format, Source, carriers, finished, number_classes
from wsss.annotations.formats.markup import Node, parse_xml, read_size, write_annotation
from wsss.annotations.manifest import BACKGROUND_NAME, Classes, Manifest
from wsss.annotations.scribbles import Scribbles, Stroke
from wsss.errors import DataError

SHORT_NAMES = MappingProxyType(
    {
        "plane": "aeroplane",
        "bike": "bicycle",
        "table": "diningtable",
        "plant": "pottedplant",
        "monitor": "tvmonitor",
    }
)
"""What the published files call classes of VOC."""

WIDTH = Stroke.width
"""Pixels of the pen, which the files don't tell."""

Path = tuple[tuple[int, int], ...]


def read(sources: Iterable[Source], classes: Classes | None) -> Manifest:
    """Read the strokes of images, a file each.

    Raises:
        DataError: If one is no such file.
    """
    paths: dict[str, list[tuple[str, Path]]] = {}
    sizes: dict[str, Size] = {}
    names: dict[str, str] = {}
    places: dict[str, str] = {}
    for source in sources:
        places[source.image] = source.name
        root = parse_xml(source.content, source.name, "annotation")
        size = read_size(root) or source.size
        if size is not None:
            sizes[source.image] = size
        paths[source.image] = []
        for polygon in root.nodes("polygon"):
            tag = polygon.node("tag")
            names.setdefault(tag.text(), tag.where)
            paths[source.image].append((tag.text(), _path(polygon, size)))
    known = _meant(names, classes)
    numbers = number_classes({known[name]: where for name, where in names.items()}, classes)
    annotations = {
        image: Annotation(scribbles=Scribbles(tuple(Stroke(numbers[known[tag]], path, WIDTH) for tag, path in strokes)))
        for image, strokes in paths.items()
    }
    return finished(numbers, annotations, sizes, "the strokes", places)


def write(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Write the strokes, a file for each image that carries some; the width of pens is left out."""
    names = {0: BACKGROUND_NAME} | dict(enumerate(manifest.classes, 1))
    for image, label in carriers(manifest, "scribbles"):
        strokes = label.scribbles.strokes if label.scribbles else ()
        elements = [
            f"<polygon><tag>{escape(names[stroke.label])}</tag>"
            + "".join(f"<point><X>{column}</X><Y>{row}</Y></point>" for row, column in stroke.path)
            + "</polygon>"
            for stroke in strokes
        ]
        yield image, write_annotation(image, manifest.sizes.get(image), elements)


def _meant(names: Collection[str], classes: Classes | None) -> Mapping[str, str]:
    """Find the class that each name means: VOC's long one for a short one that is no class itself, if that is one."""
    long = {name: SHORT_NAMES.get(name, name) for name in names}
    if classes is not None:
        return {name: meant if name not in classes and meant in classes else name for name, meant in long.items()}
    return long if set(long.values()) <= {*VOC_CLASSES, BACKGROUND_NAME} else {name: name for name in names}


def _path(polygon: Node, size: Size | None) -> Path:
    points = [
        (_place(point, "Y", size and size[0]), _place(point, "X", size and size[1])) for point in polygon.nodes("point")
    ]
    if not points:
        raise DataError(f"{polygon.where} has no <point>, a stroke has at least one; {MEND}")
    return tuple(points)


def _place(point: Node, axis: str, side: int | None) -> int:
    """Read a coordinate; what lies outside of the image, though by less than its side, is brought back to its edge."""
    if side is None:
        return point.node(axis).whole(0, LARGEST)
    return min(max(point.node(axis).whole(-side, 2 * side), 0), side - 1)


def recognises(content: bytes) -> bool:
    """Whether it is an annotation with strokes."""
    return b"<annotation" in content and b"<polygon" in content and b"<tag" in content


SCRIBBLESUP = Format(kinds=("scribbles",), read=read, write=write, recognises=recognises, suffix=".xml", per_image=True)
