"""What all formats promise: their own files are known, and what they can represent survives."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from tests.annotations import drawn_labels as drawn
from tests.annotations.formats.samples import CLASSES, TEXTS, read_text, read_texts, write_texts
from wsss.annotations import Annotation, Box, Boxes, ImageTags, Point, Points, Scribbles, Stroke
from wsss.annotations.formats import FORMATS, recognise
from wsss.annotations.manifest import Manifest, same_but_for

pytestmark = pytest.mark.filterwarnings(drawn.RANDOM_CHECKS)

plain = some.text("ab_1/", min_size=1, max_size=5)

CAN_REPRESENT = {
    "whats_the_point": drawn.manifests(some.builds(Annotation, points=drawn.points)),
    "scribblesup": drawn.manifests(some.builds(Annotation, scribbles=drawn.scribbles(some.just(3)))),
    "voc": drawn.manifests(some.builds(Annotation, boxes=drawn.boxes(some.just(True)), tags_complete=some.just(True))),
    "coco": drawn.manifests(
        some.builds(Annotation, boxes=drawn.boxes(some.just(True)), tags_complete=some.just(True)),
        images=plain.filter(lambda name: "//" not in name and name.strip("/") == name),
        sized=True,
    ),
    "tags": drawn.manifests(some.builds(Annotation, tags=drawn.tags, tags_complete=some.just(True)), images=plain),
    "manifest": drawn.manifests(drawn.annotations()),
}
"""What each format can hold; names of images as far as its files can have them."""


def test_every_format_that_can_be_written_is_tried() -> None:
    assert set(CAN_REPRESENT) == set(TEXTS) == {name for name, format in FORMATS.items() if format.write}


@pytest.mark.parametrize("format", sorted(CAN_REPRESENT))
def test_what_a_format_can_represent_survives(format: str) -> None:
    @settings(max_examples=25)
    @given(CAN_REPRESENT[format].filter(lambda manifest: bool(manifest.annotations)))
    def survives(manifest: Manifest) -> None:
        texts = write_texts(format, manifest)
        back = read_texts(format, texts, manifest.classes)
        assert back.annotations == manifest.annotations
        assert back.classes == manifest.classes
        assert write_texts(format, back) == texts
        if back.sizes:
            assert back.sizes == manifest.sizes

    survives()


@pytest.mark.parametrize("format", sorted(TEXTS))
def test_a_format_is_told_by_its_content(format: str) -> None:
    assert recognise(TEXTS[format].encode()) == [format]
    assert read_text(format, TEXTS[format]).annotations


def test_a_manifest_is_known_wherever_its_head_stands() -> None:
    told = json.loads(TEXTS["manifest"])
    last = json.dumps({"images": told.pop("images"), "classes": told.pop("classes")} | {"about": "x" * 5000} | told)
    assert last.index("wsss-labels") > 5000
    assert recognise(last.encode()) == ["manifest"]


@pytest.mark.parametrize(
    "text", ["", "  \n", "{}", "[]", '{"shapes": []}', "<html><body/></html>", "\0\1\2", "<annotation/>"]
)
def test_what_is_of_no_format_is_told_too(text: str) -> None:
    assert recognise(text.encode()) == []


@pytest.mark.parametrize("format", sorted(CAN_REPRESENT))
def test_other_kinds_are_left_out(format: str) -> None:
    mixed = Annotation(
        tags=ImageTags((1, 2)),
        points=Points((Point(1, 0, 0),)),
        scribbles=Scribbles((Stroke(2, ((1, 1),)),)),
        boxes=Boxes((Box(1, 0, 0, 2, 2), Box(2, 1, 1, 3, 3))),
        tags_complete=True,
    )
    manifest = Manifest(classes=CLASSES, annotations={"one": mixed}, sizes={"one": (6, 8)})
    texts = write_texts(format, manifest)
    back = read_texts(format, {key or "one": text for key, text in texts.items()}).annotations["one"]
    kinds = [kind for kind in mixed.kinds if kind in FORMATS[format].kinds]
    assert {kind: getattr(back, kind) for kind in back.kinds} == {kind: getattr(mixed, kind) for kind in kinds}


def test_parts_that_changed_are_counted() -> None:
    one = read_text("manifest", TEXTS["manifest"]).annotations["one"]
    before = {"a": one, "b": one, "c": Annotation(tags=one.tags)}
    assert same_but_for(before, before) == {}
    after = {"a": replace(one, points=None), "b": one}
    assert same_but_for(before, after) == {"tags": 1, "points": 1}
