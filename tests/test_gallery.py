from pathlib import Path

import pytest
import torch

from tests.drawing import picture
from tests.stages.workshop import DrawnDataset, finished, given_labels, workbench
from wsss.annotations import Annotation, ImageTags, Point, Points
from wsss.annotations.cost import CostSettings
from wsss.annotations.settings import LabelSettings
from wsss.data.labelled import with_labels
from wsss.data.manifests import write_manifest
from wsss.errors import DataError
from wsss.gallery import image_ious, known_images, label_of, last_measured, spread, tagged
from wsss.pipeline import Plan, Round, Step
from wsss.stages.evaluate import evaluate
from wsss.stages.price_annotations import price_annotations

SHOWN = {"one": picture("0011"), "two": picture("2200"), "three": picture("0000"), "val 1": picture("1111")}


def dataset(**truth: torch.Tensor | None) -> DrawnDataset:
    return DrawnDataset(SHOWN, truth=truth, tags={"three": None})


@pytest.mark.parametrize(
    ("count", "wanted", "chosen"),
    [
        (12, 6, [0, 2, 4, 6, 8, 10]),
        (13, 6, [0, 2, 4, 6, 8, 10]),
        (7, 4, [0, 1, 3, 5]),
        (23, 12, [0, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21]),
        (3, 6, [0, 1, 2]),
        (5, 1, [0]),
        (0, 6, []),
        (4, 0, []),
    ],
)
def test_images_are_chosen_evenly(count: int, wanted: int, chosen: list[int]) -> None:
    assert spread([f"{number}" for number in range(count)], wanted) == [f"{number}" for number in chosen]


def test_unknown_images_and_classes_are_answered_with_those_near_them() -> None:
    assert known_images(dataset(), ["val 1", "two"]) == ["val 1", "two"]
    with pytest.raises(DataError, match=r"^data set 'drawn' has no image 'val 2'; did you mean val 1\?$"):
        known_images(dataset(), ["one", "val 2"])
    assert label_of(dataset(), "dog") == 2
    with pytest.raises(DataError, match=r"^data set 'drawn' has no class 'horse'; there are: cat, dog$"):
        label_of(dataset(), "horse")


def test_the_images_of_a_class_are_those_tagged_with_it() -> None:
    assert tagged(dataset(), ["one", "two", "three"], 1) == ["one"]
    assert tagged(dataset(), ["three"], 2) == []


def planned(data: DrawnDataset, *labels: dict[str, torch.Tensor]) -> Plan:
    """A round for each set of training labels, measured."""
    rounds = []
    for round, drawn in enumerate(labels):
        stage = given_labels("pseudo_labels", drawn, round=str(round))
        step = Step(stage, evaluate(data, stage, "train"))
        rounds.append(Round(round, (step,), stage, step, None, stage))
    return Plan(tuple(rounds), (), price_annotations(data, CostSettings()))


def test_the_last_measured_labels_are_those_that_the_store_has(tmp_path: Path) -> None:
    data = dataset()
    train = {name: SHOWN[name] for name in ("one", "two", "three")}
    plan = planned(data, train, {**train, "one": picture("1111")})
    bench = workbench(tmp_path, data)
    assert last_measured(plan, bench.store, "train") is None
    first, second = plan
    assert first.scored is not None
    assert second.scored is not None
    finished(bench, first.scored)
    assert last_measured(plan, bench.store, "train") is first
    finished(bench, second.scored)
    assert last_measured(plan, bench.store, "train") is second
    assert last_measured(plan, bench.store, "val") is None


def test_images_are_judged_one_by_one_and_those_without_truth_are_left_out(tmp_path: Path) -> None:
    data = dataset(two=None)
    labels = {"one": picture("0111"), "two": picture("2222"), "three": picture("0002")}
    (step,) = planned(data, labels)
    bench = workbench(tmp_path, data)
    assert step.scored is not None
    finished(bench, step.scored)
    # one: background 1 of 2, cat 2 of 3; three: background 3 of 4, dog none of 1
    assert image_ious(data, bench.store, step) == pytest.approx({"one": (1 / 2 + 2 / 3) / 2, "three": (3 / 4 + 0) / 2})
    assert image_ious(data, bench.store, step, 1) == pytest.approx({"one": 2 / 3})


def test_an_image_that_was_clicked_on_is_of_that_class_even_where_others_may_be_there(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    write_manifest(path, {"three": Annotation(points=Points((Point(2, 0, 0),)))}, dataset().classes)
    seen = with_labels(dataset(), LabelSettings(kinds=("points",), source="manifest", manifest=str(path)))
    assert seen.tags("three") is None
    assert tagged(seen, seen.ids("train"), 2) == ["three"]
    assert tagged(seen, seen.ids("train"), 1) == []


def test_tags_that_are_lower_bounds_choose_images_too(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    tags = {"three": Annotation(tags=ImageTags((2,))), "one": Annotation(tags=ImageTags((1,)), tags_complete=True)}
    write_manifest(path, tags, dataset().classes)
    seen = with_labels(dataset(), LabelSettings(kinds=("tags",), source="manifest", manifest=str(path)))
    assert seen.tags("three") is None
    assert tagged(seen, ["one", "three"], 2) == ["three"]
    assert tagged(seen, ["one", "three"], 1) == ["one"]
