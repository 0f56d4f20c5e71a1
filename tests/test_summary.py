import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.drawing import picture
from tests.stages.workshop import DrawnDataset, enlarged, finished, given_labels, given_scores, workbench
from wsss.functional.confusion import bootstrap_interval, paired_ratio_interval
from wsss.functional.seeds import SeedSettings
from wsss.stages.evaluate import ORACLE_STEPS, Counts, evaluate, evaluate_cams
from wsss.summary import (
    best_threshold,
    class_rows,
    compare_with_ceiling,
    environment,
    label_rows,
    percent,
    scores_row,
    segmenter_row,
    write_summary,
)

NOTHING = {"miou": None, "pixel_accuracy": None, "coverage": None, "precision": None}


def counted(*rows: list[int]) -> Tensor:
    return torch.tensor(rows)


def counts(*images: Tensor, boundary: Tensor | None = None) -> Counts:
    return Counts(torch.stack(images), boundary)


@pytest.mark.parametrize(("share", "shown"), [(None, None), (0.0, 0.0), (1.0, 100.0), (0.123456, 12.35)])
def test_shares_are_told_in_percent(share: float | None, shown: float | None) -> None:
    assert percent(share) == shown


def test_a_row_worked_by_hand() -> None:
    # truth 0: 6 right, 2 taken for 1, 2 left out; truth 1: 1 taken for 0, 5 right, 4 left out
    row = scores_row(counted([6, 2, 2], [1, 5, 4]))
    assert row == {
        "miou": round(100 * (6 / 11 + 5 / 12) / 2, 2),
        "pixel_accuracy": 55.0,
        "coverage": 70.0,
        "precision": round(100 * 11 / 14, 2),
    }


def test_the_classes_have_a_row_each() -> None:
    # background 6 of 8 right and 1 given too many; cat 5 of 10 and 2 too many; dog is nowhere, cow is only given
    confusion = counted([6, 2, 0, 0, 0], [1, 5, 0, 2, 2], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0])
    rows = [
        ["background", round(600 / 9, 2), round(600 / 7, 2), 75.0],
        ["cat", round(500 / 12, 2), round(500 / 7, 2), 50.0],
        ["dog", None, None, None],
        ["cow", 0.0, 0.0, None],
    ]
    assert class_rows(confusion, ["cat", "dog", "cow"], background=True) == rows
    assert class_rows(confusion, ["cat", "dog", "cow"], background=False) == rows[1:]
    assert class_rows(None, ["cat"], background=True) == class_rows(counted([0, 0, 0]), [], background=True) == []


def test_where_nothing_is_labelled_there_is_no_precision() -> None:
    assert scores_row(counted([0, 0, 3], [0, 0, 5])) == {
        "miou": 0.0,
        "pixel_accuracy": 0.0,
        "coverage": 0.0,
        "precision": None,
    }


@pytest.mark.parametrize("confusion", [None, torch.zeros((2, 3), dtype=torch.int64)])
def test_without_truth_a_row_is_empty(confusion: Tensor | None) -> None:
    assert scores_row(confusion) == NOTHING


DATA = DrawnDataset({"one": enlarged(picture("0011"), 8), "two": enlarged(picture("11"), 8)}, classes=("cat",))
BLANK = DrawnDataset(
    {"one": enlarged(picture("0011"), 8), "two": enlarged(picture("11"), 8)},
    classes=("cat",),
    truth={"one": None, "two": None},
)
LABELS = given_labels("crf", {"one": enlarged(picture("0.01"), 8), "two": enlarged(picture("11"), 8)})


def test_a_label_map_has_a_row(tmp_path: Path) -> None:
    scored = finished(workbench(tmp_path, DATA), evaluate(DATA, LABELS, "train"))
    assert label_rows("crf", scored, 2) == [("crf", scores_row(counted([64, 0, 64], [64, 192, 0])))]


def test_without_truth_the_rows_are_empty(tmp_path: Path) -> None:
    scored = finished(workbench(tmp_path, BLANK), evaluate(BLANK, LABELS, "train"))
    assert label_rows("crf", scored, 2) == [("crf", NOTHING)]
    cams = evaluate_cams(BLANK, SeedSettings(), given_scores("cams", {}))
    rows = label_rows("cams", finished(workbench(tmp_path, BLANK), cams), 2)
    assert rows == [("cams", NOTHING), ("cams_oracle", NOTHING | {"threshold": None})]


def test_cams_have_a_second_row_for_the_best_threshold(tmp_path: Path) -> None:
    flat = {"one": [0.0, 0.0, 0.6, 0.6, 0.9, 0.9, 0.9, 0.9], "two": [0.9, 0.9, 0.9, 0.9]}
    cams = {
        name: torch.stack([torch.zeros(2, len(values)), torch.tensor(values).expand(2, -1)])
        for name, values in flat.items()
    }
    stage = evaluate_cams(DATA, SeedSettings(background_threshold=0.3), given_scores("cams", cams))
    rows = dict(label_rows("cams", finished(workbench(tmp_path, DATA), stage), 2))
    # at 0.3 the 0.6 is foreground, at the best threshold it is not: then all is right but for the blurred steps
    assert rows["cams"]["miou"] < 85 < rows["cams_oracle"]["miou"]
    assert 0.6 <= rows["cams_oracle"]["threshold"] < 0.9
    assert set(rows["cams_oracle"]) == {*NOTHING, "threshold"}


def test_the_best_threshold_is_the_first_of_the_best() -> None:
    confusions = torch.zeros((ORACLE_STEPS, 2, 3), dtype=torch.int64)
    confusions[:] = counted([1, 1, 0], [1, 1, 0])
    confusions[37:40] = counted([2, 0, 0], [0, 2, 0])
    found, threshold = best_threshold(confusions)
    assert threshold == 0.37
    assert found is not None
    assert found.tolist() == [[2, 0, 0], [0, 2, 0]]
    assert best_threshold(torch.zeros_like(confusions)) == (None, None)


IMAGES = (counted([4, 1, 0, 0], [0, 5, 0, 0], [0, 0, 0, 0]), counted([3, 0, 2, 0], [1, 3, 0, 1], [0, 0, 0, 0]))


def test_a_segmenter_worked_by_hand() -> None:
    bands = torch.tensor([[[1, 2], [0, 0], [0, 3]], [[1, 2], [0, 0], [0, 1]]])
    row = segmenter_row(counts(*IMAGES, boundary=bands), ["cat", "dog"], background=True)
    assert row is not None
    # pooled: 0 has 7 of 11, 1 has 8 of 11, 2 is only predicted
    assert row["per_class"] == {"background": 63.64, "cat": 72.73, "dog": 0.0}
    assert row["miou"] == round(100 * (7 / 11 + 8 / 11) / 3, 2)
    assert row["pixel_accuracy"] == 75.0
    # of the bands, 2 of 4 for 0, none of 4 for 2, and 1 has none
    assert row["boundary_iou"] == 25.0
    assert row["interval95"] == [percent(end) for end in bootstrap_interval(torch.stack(IMAGES))]


def test_a_class_that_is_nowhere_has_no_score() -> None:
    row = segmenter_row(counts(counted([4, 0, 0, 0], [0, 4, 0, 0], [0, 0, 0, 0])), ["cat", "dog"], background=True)
    assert row is not None
    assert row["per_class"] == {"background": 100.0, "cat": 100.0}
    assert row["boundary_iou"] is None


def test_without_a_background_class_none_is_shown() -> None:
    row = segmenter_row(counts(counted([0, 0, 0], [1, 4, 0])), ["cat"], background=False)
    assert row is not None
    assert set(row["per_class"]) == {"cat"}


BARE = counts(torch.zeros((2, 3), dtype=torch.int64))
"""Of images whose truth is ``IGNORE`` everywhere."""


@pytest.mark.parametrize("found", [None, BARE])
def test_without_truth_no_segmenter_is_measured(found: Counts | None) -> None:
    assert segmenter_row(found, ["cat"], background=True) is None


def test_without_truth_there_is_no_ceiling_either() -> None:
    assert compare_with_ceiling(BARE, BARE)["percent_of_full"] is None


def test_a_ceiling_worked_by_hand() -> None:
    weak = counts(counted([4, 4, 0], [0, 8, 0]), counted([6, 0, 0], [2, 4, 0]))
    full = counts(counted([8, 0, 0], [0, 8, 0]), counted([6, 0, 0], [2, 4, 0]))
    row = compare_with_ceiling(weak, full)
    reached = (10 / 16 + 12 / 18) / 2
    ceiling = (14 / 16 + 12 / 14) / 2
    assert row["full_supervision"]["miou"] == round(100 * ceiling, 2)
    assert row["percent_of_full"] == pytest.approx(100 * reached / ceiling, abs=0.01)
    low, high = row["percent_of_full_interval95"]
    assert [low, high] == [round(end, 2) for end in paired_ratio_interval(weak.confusions, full.confusions)]
    assert low <= row["percent_of_full"] <= high
    assert row["full_supervision"]["interval95"] == [percent(end) for end in bootstrap_interval(full.confusions)]


@pytest.mark.parametrize(("weak", "full"), [(None, IMAGES[0]), (IMAGES[0], None), (None, None)])
def test_without_a_ceiling_there_is_nothing_to_compare(weak: Tensor | None, full: Tensor | None) -> None:
    given = [None if image is None else counts(image) for image in (weak, full)]
    assert compare_with_ceiling(*given) == {
        "full_supervision": None,
        "percent_of_full": None,
        "percent_of_full_interval95": None,
    }


def test_a_ceiling_of_nothing_is_no_measure() -> None:
    wrong = counts(counted([0, 4, 0], [4, 0, 0]))
    row = compare_with_ceiling(wrong, wrong)
    assert row["full_supervision"]["miou"] == 0
    assert row["percent_of_full"] is None
    assert row["percent_of_full_interval95"] is None


def test_the_environment_says_what_the_run_ran_on() -> None:
    found: dict[str, Any] = environment(torch.device("cpu"), 2, "bf16-mixed")
    assert (found["precision"], found["world_size"]) == ("bf16-mixed", 2)
    assert found["torch"] == str(torch.__version__)
    assert found["device"]
    assert json.loads(json.dumps(found)) == found


def test_the_summary_is_plain_json(tmp_path: Path) -> None:
    row = {"stages": [scores_row(IMAGES[0]), NOTHING]}
    write_summary(tmp_path, row)
    assert json.loads((tmp_path / "summary.json").read_text()) == row
    with pytest.raises(ValueError, match="JSON"):
        write_summary(tmp_path, {"miou": float("nan")})
