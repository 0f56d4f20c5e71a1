from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.drawing import picture
from tests.stages.workshop import DrawnDataset, enlarged, finished, given_labels, given_scores, workbench
from wsss.errors import StoreError
from wsss.functional.boundary import boundary_counts
from wsss.functional.confusion import confusion_matrix, mean_iou
from wsss.functional.seeds import SeedSettings
from wsss.stages import evaluate as module
from wsss.stages.evaluate import (
    ORACLE_STEPS,
    evaluate,
    evaluate_cams,
    read_counts,
    read_oracle,
    read_pooled,
    threshold_confusions,
)
from wsss.store import Artefact
from wsss.types import IGNORE, LabelMap

CLASSES = 3


def one_by_one(cams: Tensor, truth: LabelMap, possible: Sequence[int]) -> Tensor:
    """Label every pixel at every threshold, one after the other."""
    counts = torch.zeros((ORACLE_STEPS, len(cams) + 1, len(cams) + 2), dtype=torch.int64)
    nothing = 0 if 0 in possible else len(cams) + 1
    for step in range(ORACLE_STEPS):
        for row, column in torch.cartesian_prod(*(torch.arange(side) for side in truth.shape)).tolist():
            true = int(truth[row, column])
            # the lowest threshold labels all pixels where there is no background
            found, best = nothing, step / ORACLE_STEPS if step or nothing == 0 else -1
            for label in possible:
                if label and float(cams[label - 1, row, column]) > best:
                    found, best = label, float(cams[label - 1, row, column])
            if true != IGNORE:
                counts[step, true, found] += 1
    return counts


@pytest.mark.parametrize("possible", [[0, 1, 2], [0, 2], [0], [1, 2], [2], []])
def test_all_thresholds_are_counted_as_if_one_by_one(possible: list[int]) -> None:
    generator = torch.Generator().manual_seed(0)
    # multiples of 1/256 are exact, so that 1/4, 1/2, 3/4 and 1 meet a threshold exactly; many are exactly 0
    cams = (torch.randint(-80, 257, (2, 6, 7), generator=generator).clamp(min=0) / 256).float()
    cams[0, 0, :4] = torch.tensor([0.25, 0.5, 0.75, 1.0])
    truth = torch.randint(0, 4, (6, 7), generator=generator).to(torch.uint8)
    truth[truth == 3] = IGNORE
    assert torch.equal(threshold_confusions(cams, truth, possible=possible), one_by_one(cams, truth, possible))


def test_thresholds_worked_by_hand() -> None:
    cams, truth = torch.tensor([[[0.0, 0.205, 0.5, 0.995]]]), picture("0011")
    counts = threshold_confusions(cams, truth, possible=[0, 1])
    assert counts[0].tolist() == [[1, 1, 0], [0, 2, 0]]
    assert counts[20].tolist() == [[1, 1, 0], [0, 2, 0]]
    assert counts[21].tolist() == [[2, 0, 0], [0, 2, 0]]  # 0.205 no longer exceeds 0.21
    assert counts[49].tolist() == [[2, 0, 0], [0, 2, 0]]
    assert counts[50].tolist() == [[2, 0, 0], [1, 1, 0]]  # 0.5 does not exceed 0.5
    assert counts[99].tolist() == [[2, 0, 0], [1, 1, 0]]


def test_a_value_that_is_a_threshold_does_not_exceed_it() -> None:
    cams = (torch.arange(100) / 100)[None, None]
    counts = threshold_confusions(cams, torch.zeros(1, 100, dtype=torch.uint8), possible=[0, 1])
    assert counts[:, 0, 0].tolist() == list(range(1, 101))


def test_no_threshold_makes_pixels_vanish_where_there_is_no_background() -> None:
    cams, truth = torch.rand(2, 4, 4), torch.ones(4, 4, dtype=torch.uint8)
    counts = threshold_confusions(cams, truth, possible=[1, 2])
    assert (counts.sum((1, 2)) == 16).all()
    assert (counts[:, :, 0] == 0).all()


def dataset(**options: object) -> DrawnDataset:
    pictures = {"one": picture("0011", "0022"), "two": picture("11", "1."), "val": picture("012")}
    return DrawnDataset({name: enlarged(drawn, 8) for name, drawn in pictures.items()}, **options)  # type: ignore[arg-type]


GUESSES = {"one": enlarged(picture("0.11", "1122"), 8), "two": enlarged(picture("1.", "10"), 8)}


def test_every_image_is_counted(tmp_path: Path) -> None:
    data, bench = dataset(), workbench(tmp_path, dataset())
    artefact = finished(bench, evaluate(data, given_labels("guesses", GUESSES), "train", boundary=True))
    counts = read_counts(artefact, CLASSES)
    assert counts is not None
    truths = {name: data.truth(name) for name in GUESSES}
    for place, (name, guess) in enumerate(GUESSES.items()):
        truth = truths[name]
        assert truth is not None
        assert torch.equal(counts.confusions[place], confusion_matrix(guess, truth, classes=CLASSES))
        assert counts.boundary is not None
        assert torch.equal(counts.boundary[place], boundary_counts(guess, truth, classes=CLASSES))
    pooled = read_pooled(artefact, CLASSES)
    assert pooled is not None
    assert torch.equal(pooled, counts.pooled)
    # 64 pixels a block: of the three in truth and labels with 0, 0 is right once, missed twice and once not labelled
    assert (pooled / 64).tolist() == [[1, 2, 0, 1], [0, 4, 0, 1], [0, 0, 2, 0]]


def test_the_bands_are_measured_only_when_asked_for(tmp_path: Path) -> None:
    bench = workbench(tmp_path, dataset())
    counts = read_counts(finished(bench, evaluate(dataset(), given_labels("guesses", GUESSES), "train")), CLASSES)
    assert counts is not None
    assert counts.boundary is None


def test_an_image_without_truth_does_not_count_and_is_not_read(tmp_path: Path) -> None:
    data = dataset(truth={"one": None})
    only = given_labels("guesses", {"two": GUESSES["two"]})
    counts = read_counts(finished(workbench(tmp_path, data), evaluate(data, only, "train", boundary=True)), CLASSES)
    assert counts is not None
    assert counts.confusions.shape == (1, 3, 4)
    assert counts.boundary is not None
    assert len(counts.boundary) == 1


def test_without_any_truth_there_is_no_score(tmp_path: Path) -> None:
    data = dataset(truth={"one": None, "two": None})
    artefact = finished(workbench(tmp_path, data), evaluate(data, given_labels("guesses", {}), "train", boundary=True))
    assert read_counts(artefact, CLASSES) is None
    assert read_pooled(artefact, CLASSES) is None


def test_many_images_lie_in_several_files_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 2)
    names = [f"image {number}" for number in range(12)]
    truth = {name: torch.full((2, number + 1), number % 3, dtype=torch.uint8) for number, name in enumerate(names)}
    data = DrawnDataset(truth)
    artefact = finished(workbench(tmp_path, data), evaluate(data, given_labels("guesses", truth), "train"))
    assert len(artefact.files) == 6
    counts = read_counts(artefact, CLASSES)
    assert counts is not None
    assert counts.confusions.sum((1, 2)).tolist() == [2 * (number + 1) for number in range(12)]
    assert mean_iou(counts.pooled) == 1


def test_reading_an_unfinished_artefact_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not finished; run the same command again"):
        read_pooled(Artefact(tmp_path / "evaluate" / "0"), CLASSES)


CAMS = torch.tensor([[[0.0] * 4] * 2, [[0.9, 0.7, 0.25, 0.0]] * 2, [[0.1, 0.2, 0.35, 0.2]] * 2])
"""Stored CAMs of an image of 8 x 16 pixels: the channel of the background is empty."""


def at_full_size(stored: Tensor) -> Tensor:
    """CAMs as they are read back: they are kept as float16."""
    return torch.nn.functional.interpolate(stored[None, 1:].half().float(), (8, 16), mode="bilinear")[0]


@pytest.mark.parametrize("settings", [SeedSettings(), SeedSettings(background="power", power=2.0)])
def test_cams_are_counted_by_the_background_rule(tmp_path: Path, settings: SeedSettings) -> None:
    truth = enlarged(picture("1120"), 4).repeat(2, 1)
    data = DrawnDataset({"one": truth})
    artefact = finished(workbench(tmp_path, data), evaluate_cams(data, settings, given_scores("cams", {"one": CAMS})))
    full = at_full_size(CAMS)
    best, label = full.max(0)
    beside = torch.full_like(best, 0.3) if settings.background == "constant" else (1 - best) ** 2
    expected = torch.where(best > beside, label + 1, 0).to(torch.uint8)
    pooled = read_pooled(artefact, CLASSES)
    assert pooled is not None
    assert torch.equal(pooled, confusion_matrix(expected, truth, classes=CLASSES))


def test_the_best_threshold_is_looked_for_over_all_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 1)
    truth = enlarged(picture("1120"), 4).repeat(2, 1)
    data = DrawnDataset({"one": truth, "two": truth, "none": truth}, truth={"none": None})
    cams = given_scores("cams", {"one": CAMS, "two": CAMS.flip(2)})
    oracle = read_oracle(finished(workbench(tmp_path, data), evaluate_cams(data, SeedSettings(), cams)))
    total = torch.zeros_like(oracle)
    for stored in (CAMS, CAMS.flip(2)):
        total += one_by_one(at_full_size(stored), truth, [0, 1, 2])
    assert torch.equal(oracle, total)


def test_thresholds_that_only_plant_seeds_do_not_touch_the_scores_of_cams() -> None:
    data, cams = dataset(), given_scores("cams", {})
    key = evaluate_cams(data, SeedSettings(), cams).key
    assert evaluate_cams(data, SeedSettings(foreground_threshold=0.9, margin=0.9), cams).key == key
    assert evaluate_cams(data, SeedSettings(background_threshold=0.9), cams).key != key


def test_the_key_follows_labels_truth_and_split() -> None:
    labels = given_labels("guesses", {})
    keys = [
        evaluate(dataset(), labels, "train").key,
        evaluate(dataset(), labels, "val").key,
        evaluate(dataset(), labels, "train", boundary=True).key,
        evaluate(dataset(), given_labels("guesses", {}, other="yes"), "train").key,
        evaluate(dataset(truth={"one": None}), labels, "train").key,
    ]
    assert len(set(keys)) == len(keys)
    assert evaluate(dataset(tags={"one": [2]}), labels, "train").key == keys[0]
