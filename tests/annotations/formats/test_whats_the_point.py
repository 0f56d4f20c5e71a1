"""Clicks of What's the Point."""

import json

import pytest

from tests.annotations.formats.samples import TEXTS, WHATS_THE_POINT, read_text, write_texts
from wsss.annotations import Annotation, Point, Points
from wsss.annotations.formats import FORMATS, VOC_CLASSES, Source, recognise
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
    with pytest.raises(DataError, match=r"2007_000032\[1\].rank, is 1, it must occur once for each class, class 2 has"):
        read_text("whats_the_point", text)


DRAWN = {"one": [{"x": 7.25, "y": 6.1, "cls": 0}, {"x": 3.0, "y": -0.5, "cls": 0}, {"x": 2.0, "y": 1.9, "cls": 0}]}
"""Clicks on the background, as they are published beside the others: without ranks, and not all of them inside."""


def test_clicks_that_were_drawn_from_strokes_have_no_rank_and_are_brought_back_to_the_edge() -> None:
    text = json.dumps(DRAWN)
    assert recognise(text.encode()) == ["whats_the_point"]
    read = FORMATS["whats_the_point"].read([Source("one.json", "", text, sizes={"one": (6, 8)})], None)
    # two of them lie on the same class: there is no rank to stand twice
    clicks = Points((Point(0, 5, 7), Point(0, 0, 3), Point(0, 1, 2)))
    assert read.annotations == {"one": Annotation(points=clicks)}
    with pytest.raises(DataError, match=r"entry one\[0\].x, is 17, it must be a number from -8 to 16"):
        FORMATS["whats_the_point"].read(
            [Source("one.json", "", text.replace("7.25", "17"), sizes={"one": (6, 8)})], None
        )


def test_without_sizes_a_drawn_click_stays_where_it_is() -> None:
    inside = json.dumps({"one": [DRAWN["one"][0]]})
    assert read_text("whats_the_point", inside).annotations == {"one": Annotation(points=Points((Point(0, 6, 7),)))}


def test_a_click_of_a_person_is_not_moved() -> None:
    text = json.dumps({"one": [{**DRAWN["one"][0], "rank": 1}]})
    read = FORMATS["whats_the_point"].read([Source("one.json", "", text, sizes={"one": (6, 8)})], None)
    assert read.annotations["one"].points == Points((Point(0, 6, 7),))


def test_all_clicks_into_an_image_have_ranks_or_none_has() -> None:
    text = TEXTS["whats_the_point"].replace(', "rank": 2', "")
    with pytest.raises(DataError, match=r"2007_000032\[1\], has no 'rank', it must have x, y, cls, rank"):
        read_text("whats_the_point", text)
