"""One good file of each format, and how formats are read in tests."""

import json
from collections.abc import Mapping

from wsss.annotations.formats import FORMATS, Source
from wsss.annotations.manifest import Classes, Manifest

CLASSES = ("cat", "dog")

WHATS_THE_POINT: dict[str, list[dict[str, float]]] = {
    "2007_000032": [
        {"y": 2.75, "x": 4, "cls": 2, "rank": 1},
        {"y": 0.5, "x": 1.99, "cls": 2, "rank": 2},
        {"y": 3, "x": 5, "cls": 1, "rank": 1},
    ],
    "empty": [],
}

SCRIBBLES = """<annotation>
  <filename>one.jpg</filename>
  <size><width>8</width><height>6</height><depth>3</depth></size>
  <segmented>1</segmented>
  <polygon><tag>cat</tag><point><X>1</X><Y>2</Y></point><point><X>7</X><Y>5</Y></point></polygon>
  <polygon><tag>background</tag><point><X>0</X><Y>0</Y></point></polygon>
</annotation>
"""

BOXES = """<annotation>
  <folder>VOC2012</folder>
  <filename>one.jpg</filename>
  <size><width>8</width><height>6</height><depth>3</depth></size>
  <object>
    <name>cat</name><pose>Left</pose><truncated>1</truncated><difficult>1</difficult>
    <bndbox><xmin>2</xmin><ymin>1</ymin><xmax>8</xmax><ymax>4</ymax></bndbox>
    <part><name>head</name><bndbox><xmin>3</xmin><ymin>1</ymin><xmax>4</xmax><ymax>2</ymax></bndbox></part>
  </object>
  <object><name>dog</name><bndbox><xmin>1</xmin><ymin>6</ymin><xmax>1</xmax><ymax>6</ymax></bndbox></object>
</annotation>
"""

COCO = {
    "info": {"year": 2017},
    "images": [
        {"id": 30, "file_name": "one.jpg", "height": 6, "width": 8, "license": 1},
        {"id": 7, "file_name": "two.jpg", "height": 6, "width": 8},
    ],
    "annotations": [
        {"id": 5, "image_id": 30, "category_id": 18, "bbox": [1.5, 0, 2.25, 3], "area": 6.75, "segmentation": [[1, 2]]},
        {"id": 9, "image_id": 30, "category_id": 3, "bbox": [0, 1, 8, 5], "iscrowd": 0},
    ],
    "categories": [{"id": 18, "name": "dog", "supercategory": "animal"}, {"id": 3, "name": "cat"}],
}

TAGS = "2007_000032 1 2\nempty\none dog\n"

MANIFEST = {
    "format": "wsss-labels",
    "version": 1,
    "classes": ["cat", "dog"],
    "images": {
        "one": {
            "size": [6, 8],
            "tags": ["cat"],
            "tags_complete": True,
            "points": [{"label": "dog", "row": 5, "column": 7}],
            "scribbles": [{"label": "background", "width": 3, "path": [[0, 0], [5, 7]]}],
            "boxes": [{"label": "cat", "top": 0, "left": 1, "bottom": 6, "right": 8}],
            "boxes_complete": False,
            "mask": {"size": [6, 8], "runs": [["cat", 40], [None, 8]]},
        }
    },
}

TEXTS = {
    "manifest": json.dumps(MANIFEST),
    "whats_the_point": json.dumps(WHATS_THE_POINT),
    "scribblesup": SCRIBBLES,
    "voc": BOXES,
    "coco": json.dumps(COCO),
    "tags": TAGS,
}


def read_texts(format: str, texts: Mapping[str, str], classes: Classes | None = CLASSES) -> Manifest:
    """Read files that lie in memory, each about the image it is named after."""
    return FORMATS[format].read([Source(f"{image}.file", image, text) for image, text in texts.items()], classes)


def read_text(format: str, text: str, classes: Classes | None = CLASSES) -> Manifest:
    return read_texts(format, {"one": text}, classes)


def write_texts(format: str, manifest: Manifest) -> dict[str, str]:
    write = FORMATS[format].write
    assert write is not None
    return dict(write(manifest))
