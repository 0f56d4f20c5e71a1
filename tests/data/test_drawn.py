from dataclasses import replace

import pytest
import torch

from tests.drawing import picture
from tests.stages.workshop import enlarged
from wsss.annotations import Annotation
from wsss.annotations.cost import CostSettings
from wsss.annotations.settings import BoxSettings, LabelSettings, NoiseSettings, PointSettings, ScribbleSettings
from wsss.annotations.simulate import simulate
from wsss.data import drawn as module
from wsss.data.drawn import draw_labels
from wsss.data.labelled import with_labels
from wsss.data.synthetic import SyntheticDataset, SyntheticSettings
from wsss.types import IGNORE, LabelMap, Tags

TRUTH = enlarged(picture("0011", "2201"), 8)
SETTINGS = LabelSettings(kinds=("tags", "points", "scribbles", "boxes"))


@pytest.fixture
def drawings(monkeypatch: pytest.MonkeyPatch) -> list[LabelMap]:
    """The pictures that labels were drawn for, in a process that has drawn none."""
    made: list[LabelMap] = []

    def counted(truth: LabelMap, *rest: object, **named: object) -> Annotation:
        made.append(truth)
        return simulate(truth, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("wsss.annotations.simulate.simulate", counted)
    monkeypatch.setattr(module, "_drawn", type(module._drawn)())
    return made


def draw(
    truth: LabelMap = TRUTH,
    tags: Tags | None = None,
    settings: LabelSettings = SETTINGS,
    *,
    classes: int = 2,
    seed: int = 0,
    background: bool = True,
) -> Annotation:
    return draw_labels(truth, tags, classes, settings, seed=seed, background=background)


def test_what_is_remembered_is_what_would_be_drawn(drawings: list[LabelMap]) -> None:
    expected = simulate(TRUTH, None, 2, SETTINGS.kinds, SETTINGS, 0, True)
    assert draw() == draw() == draw(TRUTH.clone()) == expected
    assert len(drawings) == 1


OTHERS = {
    "picture": {"truth": TRUTH.flip(0)},
    "shape": {"truth": TRUTH.reshape(32, 16)},
    "unknown pixels": {"truth": TRUTH.where(TRUTH != 2, IGNORE)},
    "tags": {"tags": torch.tensor([True, False])},
    "known to be empty": {"tags": torch.tensor([False, False])},
    "classes": {"classes": 3},
    "seed": {"seed": 1},
    "background": {"background": False},
    "kinds": {"settings": replace(SETTINGS, kinds=("tags", "points"))},
    "points": {"settings": replace(SETTINGS, points=PointSettings(background=3))},
    "scribbles": {"settings": replace(SETTINGS, scribbles=ScribbleSettings(width=5))},
    "boxes": {"settings": replace(SETTINGS, boxes=BoxSettings(loosen=0.1))},
    "noise": {"settings": replace(SETTINGS, noise=NoiseSettings(box_jitter=0.1))},
}


@pytest.mark.parametrize("other", OTHERS)
def test_what_counts_is_drawn_anew(other: str, drawings: list[LabelMap]) -> None:
    draw()
    draw(**OTHERS[other])  # type: ignore[arg-type]
    assert len(drawings) == 2


def test_what_counts_for_nothing_in_a_drawing_draws_nothing_anew(drawings: list[LabelMap]) -> None:
    draw()
    draw(settings=replace(SETTINGS, budget_seconds=5.0, seed=7, masks=2, cost=CostSettings(box=99.0)))
    assert len(drawings) == 1


def test_the_oldest_are_forgotten_beyond_the_limit(drawings: list[LabelMap], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 2)
    for seed in (0, 1, 2, 2, 1, 0):
        draw(seed=seed)
    assert len(drawings) == 4
    assert len(module._drawn) == 2


def test_data_sets_that_are_opened_again_and_budgets_share_their_labels(drawings: list[LabelMap]) -> None:
    def opened(**changes: float) -> list[Annotation]:
        source = SyntheticDataset(SyntheticSettings(train=6, val=0, size=32))
        data = with_labels(source, LabelSettings(kinds=("points",), **changes))  # type: ignore[arg-type]
        return [data.annotation(image) for image in data.ids("train")]

    first = opened()
    assert len(drawings) == 6
    assert opened() == first
    assert 0 < len(opened(budget_seconds=50.0)) < 6
    assert len(drawings) == 6
