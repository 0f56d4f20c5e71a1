"""Boxes of COCO."""

import json
from copy import deepcopy
from typing import Any

import pytest

from tests.annotations.formats.samples import CLASSES, COCO, TEXTS, read_text, write_texts
from wsss.annotations import Annotation, Box, Boxes
from wsss.annotations.manifest import Manifest
from wsss.errors import DataError


def with_first(**changes: Any) -> str:
    """The good file but for its first annotation, a dog."""
    coco: Any = deepcopy(COCO)
    coco["annotations"][0] |= changes
    return json.dumps(coco)


def boxes_of(text: str) -> tuple[Box, ...]:
    boxes = read_text("coco", text).annotations["one"].boxes
    assert boxes is not None
    return boxes.boxes


def test_boxes_hold_the_pixels_that_they_touch() -> None:
    read = read_text("coco", TEXTS["coco"])
    assert read.annotations == {
        "one": Annotation(boxes=Boxes((Box(2, 0, 1, 3, 4), Box(1, 1, 0, 6, 8))), tags_complete=True),
        "two": Annotation(boxes=Boxes(()), tags_complete=True),
    }
    assert read.sizes == {"one": (6, 8), "two": (6, 8)}


def test_categories_are_told_by_their_names_and_numbered_by_their_ids() -> None:
    assert read_text("coco", TEXTS["coco"], None).classes == ("cat", "dog")
    assert read_text("coco", TEXTS["coco"], ("dog", "cat")).annotations["one"].boxes == Boxes(
        (Box(1, 0, 1, 3, 4), Box(2, 1, 0, 6, 8))
    )


def test_sums_of_fractions_touch_no_further_pixel() -> None:
    # 1.1 + 2.9 is 4, a hair more or less in binary
    assert boxes_of(with_first(bbox=[1.1 + 1e-9, 0, 2.9, 3]))[0] == Box(2, 0, 1, 3, 4)


def test_a_flat_box_within_a_pixel_touches_it_and_one_between_two_is_refused() -> None:
    assert boxes_of(with_first(bbox=[1, 2.5, 2, 0]))[0] == Box(2, 2, 1, 3, 3)
    with pytest.raises(DataError, match=r"annotations\[0\].bbox, is \[1, 2, 2, 0\], it must touch a pixel"):
        boxes_of(with_first(bbox=[1, 2, 2, 0]))


def test_a_fraction_beyond_the_image_is_cut_off_and_more_is_refused() -> None:
    assert boxes_of(with_first(bbox=[1, 0, 7.3, 3]))[0] == Box(2, 0, 1, 3, 8)
    with pytest.raises(DataError, match=r"lie in an image of 6 × 8 \(rows × columns\)"):
        boxes_of(with_first(bbox=[1, 0, 9, 3]))


def test_a_crowd_is_no_box_and_leaves_boxes_and_tags_incomplete() -> None:
    crowd = read_text("coco", with_first(iscrowd=1)).annotations["one"]
    assert crowd == Annotation(boxes=Boxes((Box(1, 1, 0, 6, 8),), complete=False), tags_complete=False)
    known = read_text("coco", with_first(iscrowd=1, category_id=3)).annotations["one"]
    assert known == Annotation(boxes=Boxes((Box(1, 1, 0, 6, 8),), complete=False), tags_complete=True)


def test_images_without_a_size_are_not_written() -> None:
    with pytest.raises(DataError, match=r"image 'one' has no size in the manifest.*--images"):
        write_texts("coco", Manifest(classes=CLASSES, annotations={"one": Annotation(boxes=Boxes(()))}))
