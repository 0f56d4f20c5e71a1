"""Things and their middles, on masks drawn by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray
from scipy.ndimage import label as number_pieces

from tests.annotations.simulate.scenes import scenes
from tests.drawing import picture
from wsss.annotations.simulate.things import COARSE_SIDE, LEAST_PIXELS, Thing, find_ground, find_things, largest_of_each
from wsss.types import IGNORE, LabelMap


def thing_of(mask: NDArray[np.bool_]) -> Thing:
    return Thing(1, 0, 0, 0, mask)


def test_pieces_that_touch_at_a_corner_are_one_thing_and_others_are_two() -> None:
    # 24 pixels each, so that none is a sliver; the lower right piece of class 1 hangs on a corner
    truth = picture(*["111111..222222"] * 4, *["......11222222"] * 4, *["33333300000000"] * 4)
    truth[8:, 10:] = 1
    things = find_things(truth.numpy())
    found = sorted((thing.label, thing.top, thing.left, thing.area) for thing in things)
    assert found == [(1, 0, 0, 32), (2, 0, 8, 48), (3, 8, 0, 24)]  # 16 pixels of class 1 are a sliver


def test_slivers_are_things_only_where_a_class_has_nothing_larger() -> None:
    truth = picture("1.2.2", "1....")
    found = [(thing.label, thing.area) for thing in find_things(truth.numpy())]
    assert found == [(1, 2), (2, 1)]


@given(scenes)
@settings(max_examples=50, deadline=None)
def test_things_are_the_large_pieces_that_another_library_finds(truth: LabelMap) -> None:
    labels = truth.numpy()
    expected = set()
    for label in set(np.unique(labels).tolist()) - {0, IGNORE}:
        pieces, count = number_pieces(labels == label, structure=np.ones((3, 3)))
        areas = np.bincount(pieces.ravel())[1:].tolist()
        expected |= {(label, area) for area in areas if area >= LEAST_PIXELS or area == max(areas)}
        assert count
    things = find_things(labels)
    assert {(thing.label, thing.area) for thing in things} == expected
    for thing in things:
        height, width = thing.mask.shape
        part = labels[thing.top : thing.top + height, thing.left : thing.left + width]
        assert (part[thing.mask] == thing.label).all()
    assert {thing.label for thing in largest_of_each(things)} == {label for label, _ in expected}


def test_the_middle_of_a_long_thing_is_its_middle_and_not_its_end() -> None:
    assert thing_of(np.ones((9, 61), dtype=bool)).middle == (4, 30)
    assert thing_of(np.ones((9, 61), dtype=bool)).thickness == 9


def test_the_middle_of_a_ring_lies_in_the_ring() -> None:
    rows, columns = np.mgrid[-20:21, -20:21]
    away = np.hypot(rows, columns)
    ring = thing_of((away <= 20) & (away >= 12))
    assert ring.mask[ring.middle]


def test_large_things_are_seen_in_blocks_that_lie_within_them() -> None:
    large = np.zeros((3 * COARSE_SIDE, 200), dtype=bool)
    large[20:-20, 7:190] = True
    thing = thing_of(large)
    assert thing.stride == 3
    blocks = np.argwhere(thing.coarse)
    for row, column in ((0, 0), (0, 2), (2, 0), (2, 2)):
        assert thing.holds(3 * blocks[:, 0] + row, 3 * blocks[:, 1] + column).all()
    assert thing.thickness == pytest.approx(183, abs=6)


def test_what_is_thin_is_seen_pixel_by_pixel() -> None:
    wire = np.zeros((400, 400), dtype=bool)
    wire[np.arange(400), np.arange(400)] = True
    thing = thing_of(wire)
    assert thing.stride == 1
    assert thing.coarse.sum() == 400


def test_an_image_without_background_has_no_ground() -> None:
    assert find_ground(picture("11", "..").numpy()) is None
    ground = find_ground(picture("10", "0.").numpy())
    assert ground is not None
    assert ground.mask.tolist() == [[False, True], [True, False]]
