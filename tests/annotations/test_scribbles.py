"""What lies under a pen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from skimage.draw import line

from tests.drawing import picture
from wsss.annotations import Stroke

SIDE = 12
PLACES = some.tuples(some.integers(0, SIDE - 1), some.integers(0, SIDE - 1))


@pytest.mark.parametrize("width", range(1, 8))
def test_a_pen_is_as_wide_as_it_says(width: int) -> None:
    along = Stroke(1, ((10, 2), (10, 17)), width).covers((20, 20))
    down = Stroke(1, ((2, 10), (17, 10)), width).covers((20, 20))
    assert (along[:, 4:16].sum(axis=0) == width).all()
    assert (down[4:16].sum(axis=1) == width).all()


def test_an_even_pen_lies_half_a_pixel_down_and_to_the_right() -> None:
    dot = Stroke(1, ((1, 1),), 2).covers((4, 4))
    assert (dot == picture("0000", "0110", "0110", "0000").numpy()).all()
    stroke = Stroke(1, ((2, 2), (2, 3)), 4).covers((6, 7))
    expected = picture("0000000", "0011100", "0111110", "0111110", "0011100", "0000000").numpy()
    assert (stroke == expected).all()
    at_the_edge = Stroke(1, ((3, 3),), 2).covers((4, 4))
    assert (at_the_edge == picture("0000", "0000", "0000", "0001").numpy()).all()


@given(path=some.lists(PLACES, min_size=1, max_size=4), width=some.integers(1, 9))
def test_what_is_under_the_pen_is_as_near_to_the_path_as_a_slow_search_finds(
    path: list[tuple[int, int]], width: int
) -> None:
    covered = Stroke(1, tuple(path), width).covers((SIDE, SIDE))
    drawn = {
        (int(row), int(column))
        for start, end in zip(path, path[1:] or path, strict=False)
        for row, column in zip(*line(*start, *end), strict=True)
    }
    shift = 0.0 if width % 2 else 0.5
    reach = ((width - 1) / 2) ** 2 + shift**2
    for row, column in np.ndindex(SIDE, SIDE):
        near = min((row - down - shift) ** 2 + (column - right - shift) ** 2 for down, right in drawn)
        assert covered[row, column] == (near <= reach)
