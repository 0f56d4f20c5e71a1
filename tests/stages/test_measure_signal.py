from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.drawing import picture
from tests.stages.workshop import DrawnDataset, drawn_scores, enlarged, finished, given, given_labels, workbench
from wsss.stages import measure_signal as module
from wsss.stages.base import Portion, Stage
from wsss.stages.measure_signal import Signal, measure_signal, read_signal
from wsss.stages.networks import NetworkPlan
from wsss.stages.segmenters import SegmenterPlan
from wsss.stages.settings import SelfTrainingSettings
from wsss.tasks.settings import SegmenterSettings
from wsss.types import IGNORE, LabelMap

SETTINGS = SelfTrainingSettings(least_area=0.2, watched=0.5)


def dataset(pictures: dict[str, LabelMap], **options: Any) -> DrawnDataset:
    return DrawnDataset({name: enlarged(drawn, 8) for name, drawn in pictures.items()}, **options)


def plan_of(data: DrawnDataset, settings: SelfTrainingSettings = SETTINGS, rounds: int = 2) -> SegmenterPlan:
    learning = SegmenterSettings()
    return SegmenterPlan(data, NetworkPlan("tiny", learning, "none"), learning, settings, rounds, 0, "32-true")


class DrawnInference:
    """Sees what the test has drawn: labels of each image as it is, mirrored and shrunk."""

    views: dict[str, tuple[LabelMap, LabelMap, LabelMap]]

    def __init__(self, plan: SegmenterPlan, *_: object) -> None:
        self.plan = plan
        self.asked: list[dict[str, Any]] = []

    def scores(self, portion: Portion, **how: Any) -> Tensor:
        assert (how["scales"], how["flip"]) in [((1.0,), False), ((0.75,), False)]
        view = 1 if how.get("mirrored") else 2 if how["scales"] == (0.75,) else 0
        return torch.stack([drawn_scores(self.views[image][view], 3) for image in portion.ids])

    def labels(self, scores: Tensor, size: tuple[int, int]) -> Tensor:
        labels = enlarged(scores.argmax(0).to(torch.uint8), 8)
        assert tuple(labels.shape) == size
        return labels


def watch_everything(monkeypatch: pytest.MonkeyPatch, views: dict[str, tuple[LabelMap, LabelMap, LabelMap]]) -> None:
    monkeypatch.setattr(DrawnInference, "views", views, raising=False)
    monkeypatch.setattr(module, "SegmenterInference", DrawnInference)
    monkeypatch.setattr(SegmenterPlan, "split", lambda plan: ((), plan.dataset.ids("train")))


def measured(folder: Path, data: DrawnDataset, seeds: dict[str, LabelMap]) -> Signal:
    first = given_labels("seeds", {name: enlarged(drawn, 8) for name, drawn in seeds.items()})
    stage = measure_signal(plan_of(data), given("segmenter", lambda _: None), first)
    return read_signal(finished(workbench(folder, data), stage))


def test_a_signal_worked_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = picture("0012", "0012")
    views = {
        # class 1 is found, class 2 covers an eighth and is not; a class must cover more than a fifth
        "one": (picture("0012", "0010"), picture("0010", "0010"), picture("0012", "0012")),
        # class 2 is invented, class 1 missed
        "two": (picture("0022", "0022"), picture("0022", "0022"), picture("0022", "0022")),
    }
    watch_everything(monkeypatch, views)
    data = dataset({"one": shown, "two": shown}, tags={"one": [1, 2], "two": [1]})
    signal = measured(tmp_path, data, {"one": picture("0..2", "...2"), "two": picture("....", "1.2.")})
    # found: 1; invented: 2 in two; missed: 2 in one, 1 in two
    assert signal.tag_f1 == pytest.approx(2 / (2 + 1 + 2))
    # of the 8 blocks of one, 1 changes when mirrored and 1 when shrunk; nothing changes in two
    assert signal.consistency == pytest.approx(30 / 32)
    # one: 0 right, 2 right, 2 wrong; two: 1 wrong, 2 right
    assert signal.seed_agreement == pytest.approx(3 / 5)
    assert signal.trust == pytest.approx(0.4 * 30 / 32)
    assert signal.to_dict() == {
        "tag_f1": signal.tag_f1,
        "consistency": signal.consistency,
        "seed_agreement": signal.seed_agreement,
        "trust": signal.trust,
    }


def test_an_image_without_known_tags_says_nothing_of_tags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = picture("0011")
    watch_everything(monkeypatch, {"one": (shown, shown, shown), "two": (shown, 1 - shown, shown)})
    data = dataset({"one": shown, "two": shown}, tags={"two": None})
    signal = measured(tmp_path, data, {"one": shown, "two": shown})
    assert signal == Signal(tag_f1=1.0, consistency=12 / 16, seed_agreement=1.0)


def test_a_share_of_nothing_is_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = picture("0000")
    watch_everything(monkeypatch, {"one": (shown, shown, shown)})
    data = dataset({"one": shown}, tags={"one": []})
    signal = measured(tmp_path, data, {"one": picture("....")})
    assert signal == Signal(tag_f1=0.0, consistency=1.0, seed_agreement=0.0)


def test_the_least_area_must_be_exceeded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seen, found in (("a", picture("00001"), 0.0), ("b", picture("00011"), 1.0)):
        watch_everything(monkeypatch, {"one": (seen, seen, seen)})
        data = dataset({"one": seen}, tags={"one": [1]})
        # a fifth is not more than a fifth
        assert measured(tmp_path / name, data, {"one": seen}).tag_f1 == found


def test_units_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"image {number}" for number in range(20)]
    shown, other = picture("0011"), picture("0111")
    views = {name: (shown, shown if number % 4 else other, shown) for number, name in enumerate(names)}
    watch_everything(monkeypatch, views)
    data = dataset(dict.fromkeys(names, shown))
    signal = measured(tmp_path, data, dict.fromkeys(names, other))
    assert signal.consistency == pytest.approx(1 - 5 / (20 * 8))
    assert signal.seed_agreement == pytest.approx(3 / 4)


def test_truth_has_no_part_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = picture("0011")
    watch_everything(monkeypatch, {"one": (shown, shown, shown)})
    signals = [
        measured(tmp_path / str(number), dataset({"one": shown}, truth={"one": truth}), {"one": shown})
        for number, truth in enumerate([shown, torch.full_like(shown, IGNORE), None])
    ]
    assert signals[0] == signals[1] == signals[2]


def keyed(rounds: int = 2, first_seeds: Stage | None = None, **settings: float) -> str:
    data = dataset({"one": picture("01"), "two": picture("01")})
    plan = plan_of(data, SelfTrainingSettings(**settings), rounds)
    return measure_signal(plan, given("segmenter", lambda _: None), first_seeds or given_labels("seeds", {})).key


def test_the_key_follows_what_is_watched_and_how() -> None:
    assert (
        len({keyed(), keyed(least_area=0.1), keyed(watched=0.3), keyed(first_seeds=given_labels("seeds", {}, a="b"))})
        == 4
    )
    # how far signals may fall is the rule's, not the signal's
    assert keyed() == keyed(tolerance=0.5, guard=0.5, foreground_threshold=0.5, background_threshold=0.5)
