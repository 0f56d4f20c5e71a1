from pathlib import Path

import pytest

from tests.drawing import picture
from tests.stages.workshop import DrawnDataset, enlarged, finished, workbench
from wsss.annotations.cost import CostSettings, annotation_seconds
from wsss.annotations.settings import LabelSettings
from wsss.data.labelled import with_labels
from wsss.stages import price_annotations as module
from wsss.stages.price_annotations import Price, price_annotations, read_price

COST = CostSettings()
DATA = DrawnDataset(
    {"one": enlarged(picture("0011", "0221", "0220")), "two": enlarged(picture("110", "110")), "six": picture("00")}
)


def price(folder: Path, labels: LabelSettings, cost: CostSettings = COST) -> Price:
    data = with_labels(DATA, labels)
    return read_price(finished(workbench(folder, data), price_annotations(data, cost)))


def test_seconds_of_all_training_images_and_their_masks_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = LabelSettings(kinds=("tags", "points"), masks=2)
    data = with_labels(DATA, labels)
    expected = sum(annotation_seconds(data.annotation(id), len(DATA.classes), COST) for id in DATA.ids("train"))
    monkeypatch.setattr(module, "CHUNK", 2)
    found = price(tmp_path, labels)
    assert found.seconds == pytest.approx(expected)
    images = len(DATA.ids("train"))
    assert found.images == {"tags": images, "points": images, "masks": 2}
    seconds = COST.class_decision * len(DATA.classes) * images
    assert price(tmp_path, LabelSettings()) == Price(seconds, {"tags": images})


def test_what_was_counted_is_not_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = price(tmp_path, LabelSettings())

    def drawn(*_: object) -> None:
        raise AssertionError("labels are drawn again")

    monkeypatch.setattr(DrawnDataset, "annotation", drawn)
    assert price(tmp_path, LabelSettings()) == found


def test_other_labels_and_other_prices_are_counted_anew(tmp_path: Path) -> None:
    clicks, seeded = (LabelSettings(kinds=("points",), seed=seed) for seed in (0, 1))
    keys = [price_annotations(with_labels(DATA, labels), COST).key for labels in (LabelSettings(), clicks, seeded)]
    assert len(set(keys)) == 3
    dear = CostSettings(first_click=100)
    assert price(tmp_path, clicks, dear).seconds > price(tmp_path, clicks).seconds
