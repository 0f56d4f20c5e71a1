from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.drawing import picture
from tests.stages.test_segmenters import plan_of
from tests.stages.workshop import (
    DrawnDataset,
    Quiet,
    enlarged,
    finished,
    given,
    given_labels,
    given_weights,
    workbench,
)
from wsss.errors import StageError
from wsss.functional.dsrg import DsrgSettings
from wsss.ranks import Pool
from wsss.stages import train_segmenter as module
from wsss.stages.materials import write_weights
from wsss.stages.networks import build_classifier, load_segmenter, weights_of
from wsss.stages.segmenters import SegmenterPlan
from wsss.stages.train_segmenter import train_on_pseudo_labels, train_on_seeds, train_on_truth
from wsss.store import UnitWriter

PICTURES = {f"image {number}": enlarged(picture("0011", "2201"), 8) for number in range(6)}
DATA = DrawnDataset(PICTURES)
QUICK: dict[str, Any] = {"epochs": 1, "batch_size": 4, "crop": 32}


def quick(data: DrawnDataset = DATA, **settings: Any) -> SegmenterPlan:
    return plan_of(data, **{**QUICK, **settings})


def test_a_segmenter_learns_from_pseudo_labels(tmp_path: Path) -> None:
    bench, plan = workbench(tmp_path, DATA), quick()
    found = finished(bench, train_on_pseudo_labels(plan, given_labels("pseudo_labels", PICTURES), 0))
    assert set(found.files) == {"network.safetensors", "history.json"}
    network = load_segmenter(plan.network, plan.settings, found, torch.device("cpu"))
    assert network(torch.rand(1, 3, 64, 64)).shape == (1, 3, 16, 16)
    assert isinstance(bench.watcher, Quiet)
    learnt, _ = plan.split()
    assert bench.watcher.bars[-1] == ("training the segmenter", -(-len(learnt) // 4))


def test_watched_images_need_no_labels_and_change_nothing(tmp_path: Path) -> None:
    plan = quick()
    learnt, watched = plan.split()
    assert watched
    few = given_labels("pseudo_labels", {name: PICTURES[name] for name in learnt})
    all_ = given_labels("pseudo_labels", PICTURES)
    runs = [
        finished(workbench(tmp_path / str(number), DATA), train_on_pseudo_labels(plan, labels, 0))
        for number, labels in enumerate((few, all_))
    ]
    assert runs[0].files == runs[1].files


def test_labels_are_weighed_by_their_confidence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    labels, sure = picture("0011", "22.."), torch.tensor([[1.0, 1.0, 0.6, 0.6], [0.2, 0.2, 0.8, 0.8]])
    data = DrawnDataset({"one": labels})

    def write(unit: UnitWriter) -> None:
        unit.write_labels("one", labels)
        write_weights(unit, "one", sure)

    seen: list[torch.Tensor] = []

    def look(counts: torch.Tensor, exponent: float) -> torch.Tensor:
        seen.append(counts)
        assert exponent == 0.5
        return torch.ones(3)

    monkeypatch.setattr("wsss.tasks.segmentation.balance_weights", look)
    plan = replace(quick(data, balance=0.5), rounds=1)
    finished(workbench(tmp_path, data), train_on_pseudo_labels(plan, given("pseudo_labels", write), 0))
    torch.testing.assert_close(seen[0], torch.tensor([2.0, 1.2, 0.4]))


def test_without_balance_nothing_is_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "_count_labels", pytest.fail)
    plan = quick(balance=0.0)
    finished(workbench(tmp_path, DATA), train_on_pseudo_labels(plan, given_labels("pseudo_labels", PICTURES), 0))


def test_images_without_a_label_are_survived(tmp_path: Path) -> None:
    blank = {name: torch.full_like(drawn, 255) for name, drawn in PICTURES.items()}
    found = finished(
        workbench(tmp_path, DATA), train_on_pseudo_labels(quick(), given_labels("pseudo_labels", blank), 0)
    )
    assert all(value.isfinite().all() for value in found.read_tensors("network.safetensors").values())
    assert found.read_json("history.json")[0]["loss"] == 0


def test_the_ceiling_differs_from_the_segmenter_in_nothing_but_the_labels(tmp_path: Path) -> None:
    plan = quick()
    ceiling = finished(workbench(tmp_path, DATA), train_on_truth(plan))
    learnt = finished(
        workbench(tmp_path, DATA), train_on_pseudo_labels(plan, given_labels("pseudo_labels", PICTURES), 0)
    )
    # the pseudo labels happen to be the truth
    assert ceiling.files == learnt.files


def test_the_ceiling_asks_for_truth(tmp_path: Path) -> None:
    blank = DrawnDataset(PICTURES, truth=dict.fromkeys(PICTURES))
    with pytest.raises(StageError, match=r"has no ground truth, and ceiling=true trains on it; run with ceiling=false"):
        finished(workbench(tmp_path, blank), train_on_truth(quick(blank)))


def test_only_the_ceiling_follows_the_truth() -> None:
    other = DrawnDataset(PICTURES, truth={"image 0": enlarged(picture("0000", "0000"), 8)})
    labels = given_labels("pseudo_labels", {})
    assert train_on_truth(quick()).key != train_on_truth(quick(other)).key
    assert train_on_pseudo_labels(quick(), labels, 0).key == train_on_pseudo_labels(quick(other), labels, 0).key


def test_the_key_follows_labels_and_settings_and_not_the_round() -> None:
    labels, other = given_labels("pseudo_labels", {}), given_labels("pseudo_labels", {}, other="yes")
    key = train_on_pseudo_labels(quick(), labels, 0).key
    assert train_on_pseudo_labels(quick(), labels, 1).key == key
    assert train_on_pseudo_labels(quick(), other, 0).key != key
    assert train_on_pseudo_labels(quick(epochs=2), labels, 0).key != key
    assert train_on_pseudo_labels(quick(seed=3), labels, 0).key != key


def test_a_segmenter_starts_from_the_classifier(tmp_path: Path) -> None:
    torch.manual_seed(1)
    plan = quick(learning_rate=1e-9)
    classifier = build_classifier(replace(plan.network, hidden=8), 2)
    start = given_weights("classifier", weights_of(classifier))
    plan = replace(plan, network=replace(plan.network, weights="classifier"), start=start)
    for stage in (train_on_pseudo_labels(plan, given_labels("pseudo_labels", PICTURES), 0), train_on_truth(plan)):
        learnt = finished(workbench(tmp_path, DATA), stage).read_tensors("network.safetensors")
        for name, value in classifier.backbone.state_dict().items():
            torch.testing.assert_close(learnt[f"backbone.{name}"], value, rtol=0, atol=1e-6)


SEEDS = {name: drawn.where(torch.arange(32) % 5 == 0, 255) for name, drawn in PICTURES.items()}


def test_a_segmenter_learns_from_seeds_that_grow(tmp_path: Path) -> None:
    bench, plan, seeds = workbench(tmp_path, DATA), quick(), given_labels("seeds", SEEDS)
    found = finished(bench, train_on_seeds(plan, DsrgSettings(stride=4), seeds, 0))
    assert set(found.files) == {"network.safetensors", "history.json"}
    assert found.read_json("history.json")[0]["loss"] > 0
    # without growth and without the pull it is another network
    alone = DsrgSettings(stride=4, foreground_threshold=1.0, background_threshold=1.0, constrain_weight=0.0)
    other = finished(workbench(tmp_path / "alone", DATA), train_on_seeds(plan, alone, seeds, 0))
    assert other.files["network.safetensors"] != found.files["network.safetensors"]


def test_the_crf_inside_a_training_uses_the_pool(tmp_path: Path) -> None:
    sent: list[int] = []

    class Counting(Pool):
        def map(self, function: Any, items: Any) -> Any:
            sent.append(len(items))
            return super().map(function, items)

    bench = replace(workbench(tmp_path, DATA), pool=Counting(1))
    plan = quick()
    finished(bench, train_on_seeds(plan, DsrgSettings(stride=8), given_labels("seeds", SEEDS), 0))
    # one call a step, each with the four images of a batch
    assert sent == [4] * -(-len(plan.split()[0]) // 4)


def test_the_key_of_growing_seeds_follows_their_settings_and_not_the_balance_of_labels() -> None:
    seeds, dsrg = given_labels("seeds", {}), DsrgSettings()
    key = train_on_seeds(quick(), dsrg, seeds, 0).key
    assert train_on_seeds(quick(balance=0.1), dsrg, seeds, 1).key == key
    assert train_on_seeds(quick(epochs=2), dsrg, seeds, 0).key != key
    assert train_on_seeds(quick(), replace(dsrg, stride=4), seeds, 0).key != key
    assert train_on_seeds(quick(), dsrg, given_labels("seeds", {}, other="yes"), 0).key != key


def test_how_segmenters_are_supervised_is_no_matter_of_the_ceiling() -> None:
    assert train_on_truth(quick(supervision="dsrg")).key == train_on_truth(quick()).key
