"""Clicks of What's the Point."""

import json

import pytest

from tests.annotations.formats.samples import TEXTS, WHATS_THE_POINT, read_text, write_texts
from wsss.annotations import Annotation, Point, Points
from wsss.annotations.formats import VOC_CLASSES
from wsss.errors import DataError


def test_a_fraction_lies_in_its_pixel_and_clicks_rule_nothing_out() -> None:
    read = read_text("whats_the_point", TEXTS["whats_the_point"])
    clicks = Points((Point(2, 2, 4), Point(2, 0, 1), Point(1, 3, 5)))
    assert read.annotations == {"2007_000032": Annotation(points=clicks), "empty": Annotation(points=Points(()))}


def test_classes_are_those_of_voc_unless_others_are_given() -> None:
    assert read_text("whats_the_point", TEXTS["whats_the_point"], None).classes == VOC_CLASSES


def test_ranks_count_the_clicks_on_a_class() -> None:
    text = write_texts("whats_the_point", read_text("whats_the_point", TEXTS["whats_the_point"]))[""]
    whole = {
        name: [{**one, "x": int(one["x"]), "y": int(one["y"])} for one in clicks]
        for name, clicks in WHATS_THE_POINT.items()
    }
    assert json.loads(text) == whole


def test_a_rank_that_stands_twice_is_refused() -> None:
    text = TEXTS["whats_the_point"].replace('"rank": 2', '"rank": 1')
    with pytest.raises(DataError, match=r"2007_000032\[1\].rank, is 1, it must stand once for each class, class 2 has"):
        read_text("whats_the_point", text)
