import json
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from torch import Tensor

from tests.drawing import picture
from wsss.errors import DataError
from wsss.functional.boundary import boundary_counts
from wsss.functional.confusion import Convention, confusion_matrix
from wsss.scoring import Scores, pair_up, score_confusions, score_folders
from wsss.store import encode_labels


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    folder = tmp_path / "labels"
    folder.mkdir()
    return folder


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    folder = tmp_path / "truth"
    folder.mkdir()
    return folder


def put(folder: Path, name: str, drawn: Tensor) -> None:
    (folder / f"{name}.png").write_bytes(encode_labels(drawn))


def test_two_pictures_are_pooled_before_classes_are_averaged(labels: Path, truth: Path) -> None:
    put(truth, "a", picture("0022", "0022"))
    put(labels, "a", picture("0020", "0122"))
    put(truth, "b", picture("0.", "00"))
    put(labels, "b", picture("02", ".0"))
    scores = score_folders(labels, truth)
    # a: background 3 of 5, class 1 none of 1, class 2 3 of 4; b: of three known pixels two right, one left unknown
    assert scores.per_class == {
        "background": pytest.approx(100 * 5 / 8),
        "1": 0,
        "2": pytest.approx(100 * 3 / 4),
    }
    assert scores.miou == pytest.approx(100 * (5 / 8 + 0 + 3 / 4) / 3)
    assert scores.pixel_accuracy == pytest.approx(100 * 8 / 11)
    assert scores.coverage == pytest.approx(100 * 10 / 11)
    assert scores.precision == pytest.approx(100 * 8 / 10)
    assert scores.images == 2


@pytest.mark.parametrize(
    ("convention", "expected"), [("union", (1 + 0.5 + 0) / 3), ("truth", (1 + 0.5) / 2), ("zero", (1 + 0.5) / 4)]
)
def test_conventions_differ_in_the_classes_that_count(
    labels: Path, truth: Path, convention: str, expected: float
) -> None:
    put(truth, "a", picture("0011"))
    put(labels, "a", picture("0012"))
    scores = score_folders(labels, truth, classes=["cat", "dog", "cow"], convention=convention)  # type: ignore[arg-type]
    assert scores.miou == pytest.approx(100 * expected)
    assert scores.per_class == {"background": 100, "cat": 50, "dog": 0, "cow": None}


def test_scores_equal_those_of_all_images_counted_by_hand(labels: Path, truth: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    confusions, boundaries = [], []
    for index in range(9):
        size = (20 + index, 30)
        right = torch.randint(0, 3 + index % 3, size, generator=generator, dtype=torch.uint8)
        given = torch.where(torch.rand(size, generator=generator) < 0.7, right, right.roll(1, 1))
        given[torch.rand(size, generator=generator) < 0.1] = 255
        put(truth, str(index), right)
        put(labels, str(index), given)
        confusions.append(confusion_matrix(given, right, classes=5))
        boundaries.append(boundary_counts(given, right, classes=5))
    expected = score_confusions(
        torch.stack(confusions), torch.stack(boundaries).sum(0), ["background", "1", "2", "3", "4"]
    )
    assert score_folders(labels, truth, workers=1) == expected
    assert score_folders(labels, truth, workers=3) == expected
    assert score_folders(labels, truth, classes=["1", "2", "3", "4"]) == expected


def test_the_interval_holds_the_score_and_narrows_with_more_images() -> None:
    def interval(images: int) -> tuple[float, float]:
        right = torch.randint(50, 100, (images, 2), generator=torch.Generator().manual_seed(1))
        confusions = torch.zeros(images, 2, 3, dtype=torch.int64)
        confusions[:, 0, 0], confusions[:, 1, 1] = right.T
        confusions[:, 0, 1], confusions[:, 1, 0] = 100 - right.T
        scores = score_confusions(confusions, torch.ones(2, 2, dtype=torch.int64), ["background", "cat"])
        assert scores.interval95[0] < scores.miou < scores.interval95[1]
        return scores.interval95

    few, many = interval(10), interval(1000)
    assert many[1] - many[0] < (few[1] - few[0]) / 4


def test_the_interval_counts_the_classes_that_the_score_counts(labels: Path, truth: Path) -> None:
    for name in "abc":
        put(labels, name, picture("0112"))
        put(truth, name, picture("0111"))
    expected: dict[Convention, float] = {"union": (100 + 200 / 3 + 0) / 3, "truth": (100 + 200 / 3) / 2}
    for convention, score in expected.items():
        scores = score_folders(labels, truth, convention=convention)
        assert scores.miou == pytest.approx(score)
        assert scores.interval95 == pytest.approx((score, score))  # three equal images leave nothing to chance


def test_without_a_background_label_0_is_no_class(labels: Path, truth: Path) -> None:
    put(labels, "a", picture("0121"))
    put(truth, "a", picture("1120"))
    scores = score_folders(labels, truth, classes=["cat", "dog", "cow"], convention="zero", background=False)
    assert scores.per_class == {"cat": pytest.approx(50), "dog": pytest.approx(100), "cow": None}
    assert scores.miou == pytest.approx(150 / 3)
    assert scores.coverage == pytest.approx(200 / 3)
    assert scores.precision == pytest.approx(100)


def test_truth_without_labels_is_left_out_and_counted(
    labels: Path, truth: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(labels, "a", picture("01"))
    put(truth, "a", picture("01"))
    put(truth, "b", picture("11"))
    (labels / "._a.png").write_bytes(b"what some systems leave beside a copy")
    (labels / "notes.txt").write_text("no label map")
    assert score_folders(labels, truth).images == 1
    assert "1 of the PNGs" in capsys.readouterr().err
    put(labels, "b", picture("11"))
    assert score_folders(labels, truth).images == 2
    assert "of the PNGs" not in capsys.readouterr().err


def test_endings_may_be_in_capitals(labels: Path, truth: Path) -> None:
    for folder in (labels, truth):
        put(folder, "a", picture("01"))
        (folder / "a.png").rename(folder / "A.PNG")
    assert score_folders(labels, truth).images == 1


def test_labels_that_know_nothing_have_no_precision(labels: Path, truth: Path) -> None:
    put(labels, "a", picture("...", "..."))
    put(truth, "a", picture("011", "001"))
    scores = score_folders(labels, truth)
    assert scores.precision is None
    assert (scores.miou, scores.coverage, scores.pixel_accuracy) == (0, 0, 0)


def test_a_missing_truth_is_named(labels: Path, truth: Path) -> None:
    for name in ("a", "b", "c"):
        put(labels, name, picture("01"))
    put(truth, "a", picture("01"))
    with pytest.raises(
        DataError, match=r"truth/b\.png' \(and 1 others\) is missing, the ground truth of '.*labels/b\.png'"
    ):
        score_folders(labels, truth)


def test_folders_may_be_given_as_texts(labels: Path, truth: Path) -> None:
    for folder in (labels, truth):
        put(folder, "a", picture("01"))
    assert score_folders(str(labels), str(truth)) == score_folders(labels, truth)


def test_maps_of_two_sizes_are_both_named(labels: Path, truth: Path) -> None:
    put(labels, "a", picture("01"))
    put(truth, "a", picture("01", "01"))
    message = r"labels/a\.png' has 1 × 2 pixels \(rows × columns\), its ground truth '.*truth/a\.png' has 2 × 2"
    with pytest.raises(DataError, match=message):
        score_folders(labels, truth)


@pytest.mark.parametrize("wrong", ["labels", "truth"])
def test_a_label_above_the_classes_is_named(labels: Path, truth: Path, wrong: str) -> None:
    for folder in (labels, truth):
        put(folder, "a", picture("02") if folder.name == wrong else picture("01"))
    with pytest.raises(DataError, match=rf"{wrong}/a\.png' holds label 2; labels must be below 2 or 255"):
        score_folders(labels, truth, classes=["cat"])


def test_a_picture_of_colours_is_refused(labels: Path, truth: Path) -> None:
    PillowImage.fromarray(np.zeros((2, 2, 3), dtype=np.uint8)).save(labels / "a.png")
    put(truth, "a", picture("01", "01"))
    with pytest.raises(DataError, match=r"a\.png' stores its labels as RGB"):
        score_folders(labels, truth)


def test_a_truth_that_knows_nothing_is_refused(labels: Path, truth: Path) -> None:
    put(labels, "a", picture("01"))
    put(truth, "a", picture(".."))
    with pytest.raises(DataError, match="is 255 everywhere"):
        score_folders(labels, truth)


def test_folders_that_can_not_be_scored_are_named(labels: Path, truth: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="labels' contains no PNG"):
        pair_up(labels, truth)
    with pytest.raises(DataError, match="nowhere' is not a folder"):
        pair_up(labels, tmp_path / "nowhere")


def test_scoring_leaves_the_threads_of_torch_as_they_were(labels: Path, truth: Path) -> None:
    put(labels, "a", picture("01"))
    put(truth, "a", picture("01"))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        score_folders(labels, truth)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_scores_are_plain_rows_and_plain_json(labels: Path, truth: Path) -> None:
    put(labels, "a", picture("0011"))
    put(truth, "a", picture("0011"))
    scores = score_folders(labels, truth, classes=["cat", "dog"])
    assert scores.table().splitlines() == [
        "1 label maps, classes counted: union; 95 % interval of mIoU 100.0 – 100.0",
        "score               %",
        "──────────────  ─────",
        "mIoU            100.0",
        "pixel accuracy  100.0",
        "coverage        100.0",
        "precision       100.0",
        "boundary IoU    100.0",
        "IoU background  100.0",
        "IoU cat         100.0",
        "IoU dog             –",
    ]
    read = json.loads(json.dumps(scores.to_dict()))
    assert Scores(**{**read, "interval95": tuple(read["interval95"])}) == scores
    with pytest.raises(FrozenInstanceError):
        scores.miou = 0.0  # type: ignore[misc]
