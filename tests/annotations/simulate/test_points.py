"""Where clicks fall."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from tests.annotations.simulate.scenes import scenes, seeds
from tests.drawing import picture
from wsss.annotations import Points
from wsss.annotations.settings import PointSettings
from wsss.annotations.simulate.points import simulate_points
from wsss.annotations.simulate.things import find_ground, find_things
from wsss.types import IGNORE, LabelMap

USUAL = PointSettings()
EXACT = PointSettings(spread=0, background=0)


def clicks(truth: LabelMap, told: PointSettings = USUAL, missed: float = 0, seed: int = 0) -> Points:
    labels = truth.numpy()
    return simulate_points(labels, find_things(labels), find_ground(labels), told, missed=missed, seed=seed)


def disc(radius: int, margin: int, around: int = 0) -> Tensor:
    side = torch.arange(-radius - margin, radius + margin + 1)
    return torch.where(torch.hypot(side[:, None].float(), side[None].float()) <= radius, 1, around).to(torch.uint8)


@given(scenes, seeds)
@settings(max_examples=80, deadline=None)
def test_every_click_lies_in_what_it_names(truth: LabelMap, seed: int) -> None:
    for point in clicks(truth, PointSettings(spread=0.8, background=3), seed=seed).points:
        assert truth[point.row, point.column] == point.label


def test_without_spread_clicks_fall_into_the_very_middle() -> None:
    truth = torch.zeros(40, 90, dtype=torch.uint8)
    truth[10:21, 5:86] = 2
    (point,) = clicks(truth, EXACT).points
    assert (point.label, point.row, point.column) == (2, 15, 45)


def test_clicks_spread_with_the_setting_around_the_middle() -> None:
    truth = disc(40, 5).numpy()
    things, away = find_things(truth), []
    for spread in (0.1, 0.3):
        told = PointSettings(spread=spread, background=0)
        drawn = [simulate_points(truth, things, None, told, missed=0, seed=seed).points[0] for seed in range(200)]
        places = np.array([[point.row - 45, point.column - 45] for point in drawn])
        assert np.abs(places.mean(axis=0)).max() < 4 * 81 * spread / 200**0.5
        away.append(float(np.hypot(*places.T).mean()))
    assert away[1] > 2 * away[0] > 0


def test_each_instance_or_each_class_gets_a_click() -> None:
    truth = torch.zeros(40, 60, dtype=torch.uint8)
    truth[2:12, 2:12] = truth[20:35, 20:35] = 1
    truth[2:12, 40:50] = 3
    assert sorted(point.label for point in clicks(truth, EXACT).points) == [1, 1, 3]
    per_class = clicks(truth, PointSettings(per="class", spread=0, background=0)).points
    assert sorted((point.label, point.row, point.column) for point in per_class) == [(1, 27, 27), (3, 6, 44)]


def test_background_clicks_lie_deep_in_it_and_apart() -> None:
    truth = torch.zeros(100, 200, dtype=torch.uint8)
    truth[:, 90:110] = 1
    truth[:, 110:] = IGNORE
    apart = []
    for seed in range(40):
        points = [p for p in clicks(truth, PointSettings(background=2), seed=seed).points if p.label == 0]
        assert len(points) == 2
        assert all(3 <= p.column < 87 and 3 <= p.row < 97 for p in points)
        apart.append(np.hypot(points[0].row - points[1].row, points[0].column - points[1].column))
    assert np.mean(apart) > 60  # two that know nothing of each other lie 44 apart


def test_missed_clicks_keep_their_label_and_land_just_beside() -> None:
    truth = disc(12, 20)
    for seed in range(30):
        (point,) = clicks(truth, EXACT, missed=1, seed=seed).points
        assert point.label == 1
        assert 12 < np.hypot(point.row - 32, point.column - 32) < 12 + 5


def test_missed_clicks_reach_over_an_unknown_border_to_what_is_known() -> None:
    truth = disc(12, 20)
    ring = disc(17, 15) == 1
    truth[ring & (truth == 0)] = IGNORE
    for seed in range(30):
        (point,) = clicks(truth, EXACT, missed=1, seed=seed).points
        assert truth[point.row, point.column] == 0


def test_missed_clicks_land_in_the_unknown_where_nothing_else_is_near() -> None:
    truth = disc(12, 20, around=IGNORE)
    (point,) = clicks(truth, EXACT, missed=1).points
    assert truth[point.row, point.column] == IGNORE
    assert np.hypot(point.row - 32, point.column - 32) < 12 + 5


def test_a_click_can_not_miss_what_fills_the_image() -> None:
    (point,) = clicks(picture("111", "111", "111"), EXACT, missed=1).points
    assert (point.row, point.column) == (1, 1)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_so_many_clicks_miss_and_the_others_stay(rate: float) -> None:
    truth = torch.zeros(60, 60, dtype=torch.uint8)
    for row in range(0, 60, 10):
        for column in range(0, 60, 10):
            truth[row + 2 : row + 8, column + 2 : column + 8] = 1
    careful, careless = clicks(truth).points, clicks(truth, missed=rate).points
    moved = [after for before, after in zip(careful, careless, strict=True) if before != after]
    assert all(truth[point.row, point.column] == 0 for point in moved)
    labels, things = truth.numpy(), find_things(truth.numpy())
    drawn = [simulate_points(labels, things, None, EXACT, missed=rate, seed=seed).points for seed in range(30)]
    missed = [truth[point.row, point.column] == 0 for points in drawn for point in points]
    assert len(missed) == 30 * 36
    # four standard deviations are 0.061 at most
    assert sum(missed) / len(missed) == pytest.approx(rate, abs=0.061)
