"""Strokes of ScribbleSup (Lin et al., CVPR 2016): XML like VOC's, one file per image, named after it.

    <annotation>
      <size><width>500</width><height>375</height></size>
      <polygon><tag>plane</tag><point><X>12</X><Y>30</Y></point><point>…</point></polygon>

Each polygon is an open stroke through its points; X is the column and Y the row. The published files use short names
for five classes; they are mapped to VOC's names if all other classes are VOC's, or if the given classes contain only
the long name. Strokes that leave the image are clipped to its edge. The files have no pen width: 3 pixels are used, as
is common. Implementations disagree whether coordinates start at 0 or 1; here they start at 0. Strokes on some classes
do not exclude others, so the annotations are not ``tags_complete``.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from types import MappingProxyType
from xml.sax.saxutils import escape

from wsss.annotations.annotation import Annotation
from wsss.annotations.base import Size
from wsss.annotations.entries import LARGEST, MEND
from wsss.annotations.formats.base import VOC_CLASSES, Format, Source, carriers, finished, number_classes
from wsss.annotations.formats.markup import Node, parse_xml, read_size, write_annotation
from wsss.annotations.manifest import Classes, Manifest
from wsss.annotations.scribbles import Scribbles, Stroke
from wsss.errors import DataError
from wsss.types import BACKGROUND_NAME

SHORT_NAMES = MappingProxyType(
    {
        "plane": "aeroplane",
        "bike": "bicycle",
        "table": "diningtable",
        "plant": "pottedplant",
        "monitor": "tvmonitor",
    }
)
"""Short names of VOC classes in the published files."""

WIDTH = Stroke.width
"""Width of the pen in pixels, which the files do not contain."""

Path = tuple[tuple[int, int], ...]


def read(sources: Iterable[Source], classes: Classes | None) -> Manifest:
    """Read the strokes of images, one file each.

    Raises:
        DataError: If one is not such a file.
    """
    paths: dict[str, list[tuple[str, Path]]] = {}
    sizes: dict[str, Size] = {}
    names: dict[str, str] = {}
    places: dict[str, str] = {}
    for source in sources:
        places[source.image] = source.name
        root = parse_xml(source.content, source.name)
        size = read_size(root) or source.size
        if size is not None:
            sizes[source.image] = size
        paths[source.image] = []
        for polygon in root.only("polygon"):
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
    """Write the strokes, one file per image that has some; pen widths are lost."""
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
    """Map each name to its class: a short name to VOC's long one, if only the latter is a class."""
    long = {name: SHORT_NAMES.get(name, name) for name in names}
    if classes is not None:
        return {name: meant if name not in classes and meant in classes else name for name, meant in long.items()}
    return long if set(long.values()) <= {*VOC_CLASSES, BACKGROUND_NAME} else {name: name for name in names}


def _path(polygon: Node, size: Size | None) -> Path:
    points = [
        (_place(point, "Y", size and size[0]), _place(point, "X", size and size[1])) for point in polygon.only("point")
    ]
    if not points:
        raise DataError(f"{polygon.where} has no <point>, a stroke has at least one; {MEND}")
    return tuple(points)


def _place(point: Node, axis: str, side: int | None) -> int:
    """Read a coordinate; positions outside of the image, by less than its side, are clipped to its edge."""
    if side is None:
        return point.node(axis).whole(0, LARGEST)
    return min(max(point.node(axis).whole(-side, 2 * side), 0), side - 1)


def recognises(content: bytes) -> bool:
    """Whether it is an annotation with strokes."""
    return b"<annotation" in content and b"<polygon" in content and b"<tag" in content


SCRIBBLESUP = Format(kinds=("scribbles",), read=read, write=write, recognises=recognises, suffix=".xml", per_image=True)
