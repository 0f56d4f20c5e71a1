"""Boxes of VOC."""

import pytest

from tests.annotations.formats.samples import BOXES, read_text, write_texts
from wsss.annotations import Annotation, Box, Boxes
from wsss.annotations.formats import VOC_CLASSES
from wsss.annotations.manifest import Manifest
from wsss.errors import DataError


def test_sides_count_from_one_and_the_last_belong_to_the_box() -> None:
    read = read_text("voc", BOXES)
    boxes = Boxes((Box(1, 0, 1, 4, 8), Box(2, 5, 0, 6, 1)))
    assert read.annotations == {"one": Annotation(boxes=boxes, tags_complete=True)}
    assert read.sizes == {"one": (6, 8)}


def test_fractions_are_rounded() -> None:
    read = read_text("voc", BOXES.replace("<xmin>2</xmin>", "<xmin>2.3999</xmin>"))
    assert read == read_text("voc", BOXES)


def test_classes_are_those_of_voc_where_they_are_enough() -> None:
    assert read_text("voc", BOXES, None).classes == VOC_CLASSES
    assert read_text("voc", BOXES.replace("dog", "ant"), None).classes == ("ant", "cat")


def test_boxes_that_are_not_complete_are_not_written() -> None:
    some = Annotation(boxes=Boxes((Box(1, 0, 0, 1, 1),), complete=False))
    with pytest.raises(DataError, match="image 'one' has boxes that are not complete, the format 'voc' can't say so"):
        write_texts("voc", Manifest(classes=("cat",), annotations={"one": some}))
