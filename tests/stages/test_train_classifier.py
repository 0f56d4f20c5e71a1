from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.drawing import picture
from tests.stages.workshop import DrawnDataset, Quiet, enlarged, finished, workbench
from wsss.errors import StageError
from wsss.stages.base import Stage
from wsss.stages.networks import NetworkPlan, load_classifier
from wsss.stages.train_classifier import train_classifier
from wsss.tasks.settings import ClassifierSettings
from wsss.types import LabelMap

SETTINGS = ClassifierSettings(epochs=1, batch_size=4, crop=32, held_out=0.3, head_multiplier=1.0)
NETWORK = NetworkPlan("tiny", SETTINGS, "none")


def pictures() -> dict[str, LabelMap]:
    drawn = {f"cat {number}": enlarged(picture("0110", "0110"), 8) for number in range(4)}
    return drawn | {f"dog {number}": enlarged(picture("2200", "0022"), 8) for number in range(4)}


def stage_for(data: DrawnDataset, settings: ClassifierSettings = SETTINGS, seed: int = 0) -> Stage:
    return train_classifier(data, replace(NETWORK, learning=settings), settings, seed, "32-true")


def test_the_classifier_is_trained_and_can_be_loaded(tmp_path: Path) -> None:
    data = DrawnDataset(pictures(), tags={"cat 0": None})
    bench = workbench(tmp_path, data)
    found = finished(bench, stage_for(data))
    assert set(found.files) == {"network.safetensors", "history.json"}
    network = load_classifier(NETWORK, 2, found, torch.device("cpu"))
    assert network(torch.rand(1, 3, 32, 32)).shape == (1, 2)
    (row,) = found.read_json("history.json")
    assert row["loss"] > 0
    assert 0 <= row["held_out_map"] <= 1
    assert isinstance(bench.watcher, Quiet)
    # 6 of the 8 images are learnt from, in 2 batches of 4
    assert bench.watcher.bars[-1] == ("training the classifier", 2)


def test_the_same_seed_trains_the_same_network(tmp_path: Path) -> None:
    data = DrawnDataset(pictures())
    runs = [finished(workbench(tmp_path / name, data), stage_for(data)) for name in ("a", "b")]
    assert runs[0].files == runs[1].files


def test_without_any_known_tags_there_is_nothing_to_train_on(tmp_path: Path) -> None:
    data = DrawnDataset(pictures(), tags=dict.fromkeys(pictures()))
    with pytest.raises(StageError, match=r"'drawn' has no image with known tags.*see data\.tags"):
        finished(workbench(tmp_path, data), stage_for(data))


def test_the_truth_is_never_seen() -> None:
    blank = DrawnDataset(pictures(), truth=dict.fromkeys(pictures()))
    assert stage_for(blank).key == stage_for(DrawnDataset(pictures())).key


def test_the_key_follows_images_tags_settings_and_seed() -> None:
    data = DrawnDataset(pictures())
    keys = {
        stage_for(data).key,
        stage_for(DrawnDataset(pictures(), tags={"cat 0": [2]})).key,
        stage_for(DrawnDataset(pictures(), tags={"cat 0": None})).key,
        stage_for(DrawnDataset(pictures() | {"cat 0": enlarged(picture("1100"), 8)})).key,
        stage_for(data, replace(SETTINGS, epochs=2)).key,
        stage_for(data, replace(SETTINGS, held_out=0.1)).key,
        stage_for(data, seed=1).key,
    }
    assert len(keys) == 7
