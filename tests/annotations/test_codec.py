"""What a manifest can represent survives, and nothing else gets in."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings

from tests.annotations.drawn_labels import CLASSES, RANDOM_CHECKS, annotations, manifests
from wsss.annotations import Annotation, Box, Boxes, ImageTags, Mask, Point, Points, Scribbles, Stroke
from wsss.annotations.base import KINDS
from wsss.annotations.codec import PARTS, decode, encode
from wsss.annotations.manifest import Manifest
from wsss.errors import DataError

pytestmark = pytest.mark.filterwarnings(RANDOM_CHECKS)

MIXED = Annotation(
    tags=ImageTags((1, 2)),
    points=Points((Point(1, 2, 3), Point(0, 0, 5))),
    scribbles=Scribbles((Stroke(2, ((0, 0), (1, 4)), 3),)),
    boxes=Boxes((Box(1, 0, 1, 2, 4),)),
    masks=Mask((2, 6), ((0, 4), (2, 7), (255, 1))),
    tags_complete=True,
)

TEXT = """{
 "format": "wsss-labels",
 "version": 1,
 "classes": ["cat", "dog"],
 "images": {
  "bare": {},
  "one": {"size": [2, 6], "tags": ["cat", "dog"]}
 }
}
"""


@settings(max_examples=30)
@given(manifests(annotations()))
def test_what_is_written_is_read_unchanged(manifest: Manifest) -> None:
    text = encode(manifest.annotations, manifest.classes, manifest.sizes)
    assert decode(text) == manifest
    again = dict(reversed(list(manifest.annotations.items())))
    assert encode(again, manifest.classes, manifest.sizes) == text


@settings(max_examples=30)
@given(manifests(annotations()))
def test_classes_are_told_by_their_names(manifest: Manifest) -> None:
    text = encode(manifest.annotations, manifest.classes, manifest.sizes)
    asked = ("zebra", *reversed(CLASSES))
    turned = decode(text, asked)
    assert turned.classes == asked
    assert decode(encode(turned.annotations, asked, turned.sizes), CLASSES) == manifest


def test_labels_follow_the_classes_that_are_asked_for() -> None:
    text = encode({"one": Annotation(tags=ImageTags((1,)), points=Points((Point(2, 0, 0),)))}, ("cat", "dog"))
    read = decode(text, ("dog", "bird", "cat")).annotations["one"]
    assert read == Annotation(tags=ImageTags((3,)), points=Points((Point(1, 0, 0),)))


def test_the_text_is_the_one_that_is_documented() -> None:
    images = {"one": Annotation(tags=ImageTags((1, 2))), "bare": Annotation()}
    assert encode(images, ("cat", "dog"), {"one": (2, 6)}) == TEXT


def test_every_kind_has_its_place() -> None:
    assert set(PARTS) == set(KINDS)
    mixed = json.loads(encode({"one": replace(MIXED, masks=None)}, ("cat", "dog")))["images"]["one"]
    assert mixed == {
        "tags": ["cat", "dog"],
        "points": [{"label": "cat", "row": 2, "column": 3}, {"label": "background", "row": 0, "column": 5}],
        "scribbles": [{"label": "dog", "width": 3, "path": [[0, 0], [1, 4]]}],
        "boxes": [{"label": "cat", "top": 0, "left": 1, "bottom": 2, "right": 4}],
        "boxes_complete": True,
        "tags_complete": True,
    }
    mask = json.loads(encode({"one": Annotation(masks=MIXED.masks)}, ("cat", "dog")))["images"]["one"]["mask"]
    assert mask == {"size": [2, 6], "runs": [["background", 4], ["dog", 7], [None, 1]]}


def test_settings_are_not_written() -> None:
    told = Annotation(points=Points((Point(1, 0, 0),), radius=7), boxes=Boxes((), grabcut=False))
    read = decode(encode({"one": told}, ("cat",))).annotations["one"]
    assert read == Annotation(points=Points((Point(1, 0, 0),)), boxes=Boxes(()))


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (Annotation(tags=ImageTags((3,))), "the labels to be written, image 'one', is wrong: tags name label 3"),
        (Annotation(points=Points((Point(1, 4, 0),))), "image 'one', is wrong: points\\[0\\] lies at row 4"),
    ],
)
def test_what_could_not_be_read_is_not_written(annotation: Annotation, message: str) -> None:
    with pytest.raises(DataError, match=message):
        encode({"one": annotation}, ("cat", "dog"), {"one": (4, 4)})


def test_a_class_that_the_data_lack_is_refused_where_it_is_used() -> None:
    text = encode({"one": Annotation(tags=ImageTags((2,)))}, ("cat", "dog"))
    with pytest.raises(DataError, match=r"entry images.one.tags\[0\], is 'dog', it must be a class of the data; add"):
        decode(text, ("cat",))
    assert decode(encode({"one": Annotation(tags=ImageTags((1,)))}, ("cat", "dog")), ("cat",)).classes == ("cat",)


def test_a_later_version_is_refused_before_its_unknown_keys_are() -> None:
    with pytest.raises(
        DataError, match="entry version, is 2, it must be at most 1, a later wsss wrote the file; update"
    ):
        decode(TEXT.replace('"version": 1', '"version": 2, "masters": []'))


def test_the_documented_example_is_a_manifest() -> None:
    shown = (Path(__file__).parents[2] / "docs/MANIFEST.md").read_text(encoding="utf-8")
    example = shown.split("```json\n")[1].split("```")[0]
    read = decode(example)
    assert {image: annotation.kinds for image, annotation in read.annotations.items()} == {
        "2007_000032": ("tags", "boxes", "points", "scribbles"),
        "2007_000033": ("masks",),
        "2007_000039": (),
    }
    assert decode(encode(read.annotations, read.classes, read.sizes)) == read
