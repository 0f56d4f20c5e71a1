"""Where strokes run."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies

from tests.annotations.simulate.scenes import scenes, seeds
from tests.drawing import picture
from wsss.annotations import Scribbles, Stroke
from wsss.annotations.settings import ScribbleSettings
from wsss.annotations.simulate.scribbles import MOST_CORNERS, simulate_scribbles
from wsss.annotations.simulate.things import find_ground, find_things
from wsss.types import IGNORE, LabelMap

USUAL = ScribbleSettings()
THINGS = ScribbleSettings(background=False)


def strokes(truth: LabelMap, told: ScribbleSettings = USUAL, jitter: float = 0, seed: int = 0) -> Scribbles:
    labels, size = truth.numpy(), (truth.shape[0], truth.shape[1])
    return simulate_scribbles(find_things(labels), find_ground(labels), size, told, jitter=jitter, seed=seed)


def only(truth: LabelMap, **told: float) -> Stroke:
    (stroke,) = strokes(truth, ScribbleSettings(background=False, strokes=1, **told)).strokes  # type: ignore[arg-type]
    return stroke


def length(stroke: Stroke) -> float:
    return float(np.hypot(*np.diff(np.array(stroke.path), axis=0).T).sum())


@given(scenes, seeds, strategies.floats(0.05, 1))
@settings(max_examples=80, deadline=None)
def test_a_thin_pen_never_leaves_what_it_draws_on(truth: LabelMap, seed: int, share: float) -> None:
    for stroke in strokes(truth, ScribbleSettings(length=share, width=1), seed=seed).strokes:
        assert stroke.path
        assert (truth.numpy()[stroke.covers((truth.shape[0], truth.shape[1]))] == stroke.label).all()


def test_the_stroke_along_a_bar_is_its_middle_line() -> None:
    truth = torch.zeros(40, 120, dtype=torch.uint8)
    truth[10:21, 10:111] = 1
    stroke = only(truth, length=0.6)
    path = np.array(stroke.path)
    assert np.abs(path[:, 0] - 15).max() <= 4  # it may bend a little
    assert length(stroke) == pytest.approx(0.6 * 101, rel=0.2)
    assert abs(path[:, 1].mean() - 60) < 20


def test_a_longer_share_is_a_longer_stroke() -> None:
    truth = torch.zeros(60, 120, dtype=torch.uint8)
    truth[10:31, 10:111] = 1
    lengths = [length(only(truth, length=share)) for share in (0.2, 0.5, 0.9)]
    assert lengths == sorted(lengths)
    assert lengths[2] > 3 * lengths[0]


def test_round_things_get_a_stroke_as_well() -> None:
    rows, columns = torch.meshgrid(torch.arange(81), torch.arange(81), indexing="ij")
    truth = (torch.hypot(rows - 40.0, columns - 40.0) <= 30).to(torch.uint8)
    assert length(only(truth)) > 0.4 * 60


def test_a_stroke_follows_a_bent_thing() -> None:
    truth = torch.zeros(100, 100, dtype=torch.uint8)
    truth[10:90, 10:24] = truth[76:90, 10:90] = 1
    path = np.array(only(truth, length=0.8).path)
    assert path[:, 0].min() < 40  # from far up the one arm
    assert path[:, 1].max() > 60  # to far along the other


def test_strokes_have_few_corners_and_no_sharp_ones() -> None:
    truth = torch.zeros(240, 320, dtype=torch.uint8)
    truth[40:200, 60:260] = 1
    for stroke in strokes(truth).strokes:
        steps = np.diff(np.array(stroke.path), axis=0)
        assert 5 < len(stroke.path) <= MOST_CORNERS
        turns = (steps[1:] * steps[:-1]).sum(axis=1) / np.hypot(*steps[1:].T) / np.hypot(*steps[:-1].T)
        assert turns.min() > 0.5  # less than 60 degrees each


def test_one_pixel_gets_a_stroke_of_one_corner() -> None:
    assert only(picture("00", "01"), width=3) == Stroke(1, ((1, 1),), 3)


def test_a_thing_whose_blocks_touch_at_corners_alone_gets_a_stroke_inside() -> None:
    # things above 96 pixels are looked at in blocks, and the line between two diagonal blocks crosses a third one
    rows, columns = torch.meshgrid(torch.arange(375), torch.arange(375), indexing="ij")
    for diagonal in (rows == columns, rows == 374 - columns):
        truth = diagonal.to(torch.uint8)
        stroke = only(truth, width=1)
        assert (truth.numpy()[stroke.covers((375, 375))] == 1).all()


def test_the_background_gets_a_long_stroke_below_all_others() -> None:
    truth = torch.zeros(60, 90, dtype=torch.uint8)
    truth[20:40, 40:60] = 2
    truth[:, 85:] = IGNORE
    first, second = strokes(truth, ScribbleSettings(strokes=1)).strokes
    assert (first.label, second.label) == (0, 2)
    assert length(first) > 40
    assert [stroke.label for stroke in strokes(truth, ScribbleSettings(background=False)).strokes] == [2]


def test_a_large_part_that_is_far_from_the_first_stroke_gets_another() -> None:
    # two squares, which a thin bridge makes one thing
    truth = torch.zeros(100, 300, dtype=torch.uint8)
    truth[20:80, 20:80] = truth[20:80, 220:280] = truth[48:52, 80:220] = 1
    first, *further = (np.array(stroke.path)[:, 1] for stroke in strokes(truth, THINGS).strokes)
    assert first.max() < 80
    assert further[0].max() > 220


def test_parts_that_are_near_or_small_get_no_further_stroke() -> None:
    truth = torch.zeros(100, 300, dtype=torch.uint8)
    truth[40:60, 100:200] = 1  # nothing is farther than 20 + 20 pixels from a stroke of 60
    truth[20:50, 195:200] = 1  # farther away than 15, but thin
    assert len(strokes(truth, THINGS).strokes) == 1


def test_further_strokes_leave_the_first_ones_where_they_are() -> None:
    truth = torch.zeros(120, 160, dtype=torch.uint8)
    truth[40:70, 50:90] = 1
    few, many = (strokes(truth, ScribbleSettings(strokes=count), jitter=2).strokes for count in (1, 4))
    assert len(many) > len(few)
    assert [stroke for stroke in many if stroke in few] == list(few)


def test_corners_stray_by_the_asked_number_of_pixels() -> None:
    truth = torch.zeros(200, 300, dtype=torch.uint8)
    truth[80:120, 60:240] = 1
    strayed = []
    for seed in range(60):
        (careful,), (shaky,) = (
            strokes(truth, ScribbleSettings(background=False), jitter, seed).strokes for jitter in (0, 5)
        )
        strayed.append(np.array(shaky.path) - np.array(careful.path))
    away = np.concatenate(strayed)
    # rounding adds a twelfth of a square pixel; neighbours stray alike, so of 60 × 17 corners a third count
    assert away.std(axis=0) == pytest.approx([5, 5], rel=0.15)
    assert np.abs(away.mean(axis=0)).max() < 1.1
