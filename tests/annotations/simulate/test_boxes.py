"""Boxes around things that are drawn by hand."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies

from tests.annotations.simulate.scenes import scenes, seeds
from tests.drawing import picture
from wsss.annotations import Box, Boxes
from wsss.annotations.settings import BoxSettings
from wsss.annotations.simulate.boxes import simulate_boxes
from wsss.annotations.simulate.things import Thing, find_things
from wsss.types import LabelMap

TIGHT = BoxSettings()


def boxes_of(truth: LabelMap, told: BoxSettings = TIGHT, jitter: float = 0, seed: int = 0) -> Boxes:
    size = (truth.shape[0], truth.shape[1])
    return simulate_boxes(find_things(truth.numpy()), size, told, jitter=jitter, seed=seed, complete=True)


def test_boxes_are_tight_and_half_open() -> None:
    truth = picture("........", "..11....", ".111.222", "..1..222")
    assert set(boxes_of(truth).boxes) == {Box(1, 1, 1, 4, 4), Box(2, 2, 5, 4, 8)}


def test_loose_boxes_lie_farther_out_and_stay_in_the_image() -> None:
    truth = picture(*["0" * 20] * 4, *["1" * 10 + "0" * 10] * 10, *["0" * 20] * 4)
    # a fifth of 10 rows and 10 columns on each side; the left side is the image's own
    assert boxes_of(truth, BoxSettings(loosen=0.2)).boxes == (Box(1, 2, 0, 16, 12),)


@given(scenes, seeds, strategies.floats(0, 1), strategies.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_no_box_is_empty_or_leaves_the_image(truth: LabelMap, seed: int, loosen: float, jitter: float) -> None:
    drawn = boxes_of(truth, BoxSettings(loosen=loosen), jitter, seed)
    drawn.check((truth.shape[0], truth.shape[1]), 3)
    assert len(drawn.boxes) == len(find_things(truth.numpy()))


def test_sides_stray_by_the_asked_share_of_the_box() -> None:
    thing = Thing(1, 0, 1000, 1000, np.ones((100, 50), dtype=bool))
    strayed = [
        simulate_boxes([thing], (3000, 3000), TIGHT, jitter=0.1, seed=seed, complete=True).boxes[0]
        for seed in range(800)
    ]
    sides = np.array([[box.top - 1000, box.left - 1000, box.bottom - 1100, box.right - 1050] for box in strayed])
    # standard deviations 10 and 5 pixels; of 800 draws they are known to a fortieth, so 10 % is four times that
    assert sides.std(axis=0) == pytest.approx([10, 5, 10, 5], rel=0.1)
    assert np.abs(sides.mean(axis=0)).max() < 1.5
    assert np.abs(np.corrcoef(sides.T) - np.eye(4)).max() < 0.15
