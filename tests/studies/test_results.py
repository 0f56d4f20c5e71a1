from typing import Any

import pytest

from wsss.studies.results import Line, Measure, Scores, full_supervision, measure, scores_of

NOTHING = Scores(
    miou=None,
    miou_interval=None,
    percent_of_full=None,
    percent_interval=None,
    full_miou=None,
    full_interval=None,
    pseudo_labels=None,
    seconds=None,
    per_image_seconds=None,
)


def scores(**values: Any) -> Scores:
    return Scores(**{**vars(NOTHING), **values})


def line(*each: Scores, planned: int = 2, budget: str | None = None) -> Line:
    return Line(label="a", variant="a", budget=budget, planned=planned, scores=dict(enumerate(each)))


def test_the_pseudo_labels_are_those_of_the_round_that_stands() -> None:
    rows = [
        {"name": "crf", "round": 0, "miou": 1.0},
        {"name": "pseudo_labels", "round": 0, "miou": 2.0},
        {"name": "pseudo_labels", "round": 1, "miou": 3.0},
    ]
    assert scores_of({"stages": rows, "final_round": 0}).pseudo_labels == 2
    assert scores_of({"stages": rows, "final_round": None}).pseudo_labels == 3
    assert scores_of({"stages": rows[:1], "final_round": 0}).pseudo_labels is None


def test_a_summary_without_a_price_a_ceiling_or_a_segmenter_has_no_such_scores() -> None:
    bare: dict[str, Any] = {"stages": [], "segmenter": None, "full_supervision": None, "percent_of_full": None}
    assert scores_of(bare) == NOTHING
    assert scores_of({"stages": []}) == NOTHING


def test_one_seed_has_its_interval_and_several_have_their_deviation() -> None:
    assert measure([None, 50.0], [None, (48.0, 53.0)]) == Measure(50, interval=(48, 53))
    # (49, 50, 54): mean 51, squares 4 + 1 + 9 over 2
    found = measure([49.0, 50.0, 54.0], [(0.0, 100.0)] * 3)
    assert found == Measure(51, deviation=7**0.5)
    assert found is not None
    assert found.ends == pytest.approx((51 - 7**0.5, 51 + 7**0.5))
    assert measure([None, None]) is None


def test_a_line_puts_its_seeds_together() -> None:
    both = line(scores(miou=50.0, seconds=100.0), scores(miou=54.0, seconds=200.0, percent_of_full=90.0), planned=3)
    assert (str(both.miou), both.seconds, both.seeds) == ("52.0 ± 2.8", 150, "2 of 3")
    assert both.percent_of_full == Measure(90)
    assert both.pseudo_labels is None
    assert line(NOTHING, planned=1).seeds == "1"


def test_a_record_is_flat_and_tells_what_is_not_known() -> None:
    one = line(scores(miou=50.0, miou_interval=(48.0, 53.0), pseudo_labels=40.126), planned=1, budget="25 %").record()
    assert (one["run"], one["budget"], one["miou"], one["miou_low95"], one["miou_high95"]) == ("a", "25 %", 50, 48, 53)
    assert (one["miou_sd"], one["percent_of_full"], one["pseudo_labels"], one["annotation_seconds"]) == (
        *(None, None),
        *(40.13, None),
    )
    assert list(line(planned=1).record()) == list(one)


def test_full_supervision_is_counted_once_a_seed() -> None:
    seeds = [scores(full_miou=60.0), scores(full_miou=62.0)]
    assert str(full_supervision([line(*seeds), line(*seeds)])) == "61.0 ± 1.4"
    assert full_supervision([line(NOTHING)]) is None


def test_there_is_no_one_full_supervision_where_runs_train_it_differently() -> None:
    assert full_supervision([line(scores(full_miou=60.0)), line(scores(full_miou=61.0))]) is None
    # with a budget it may have seen other images: that is another question
    budget = line(scores(full_miou=50.0), budget="25 %")
    assert full_supervision([line(scores(full_miou=60.0)), budget]) == Measure(60)
