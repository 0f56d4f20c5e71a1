import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import zoom

from tests.drawing import picture
from wsss.functional.cues import draw_cues, spread_cues
from wsss.types import IGNORE

CUES = torch.tensor([[0, 2, 2, 1, 3, 0], [0, 1, 2, 2, 1, 2], [0, 1, 0, 0, 1, 2]])


def test_a_point_has_the_label_of_the_only_cue_that_claims_it() -> None:
    assert torch.equal(draw_cues(CUES, 3, labels=[0, 1, 2, 3]), picture("0..", "...", "..0"))


def test_cues_of_impossible_labels_claim_nothing() -> None:
    assert torch.equal(draw_cues(CUES, 3, labels=[0, 2]), picture("0..", ".2.", "2.0"))
    assert torch.equal(draw_cues(CUES, 3, labels=[1, 3]), picture("...", ".3.", "1.."))


def test_the_same_cue_twice_is_one() -> None:
    twice = torch.tensor([[4, 4], [0, 0], [1, 1]])
    assert torch.equal(draw_cues(twice, 2, labels=[0, 4]), picture(".4", ".."))


def test_tags_that_leave_no_choice_decide_everywhere() -> None:
    assert torch.equal(draw_cues(CUES, 3, labels=[2]), picture("222", "222", "222"))
    assert torch.equal(draw_cues(CUES, 3, labels=[]), picture("...", "...", "..."))


def test_without_cues_nothing_is_known() -> None:
    nothing = torch.zeros(3, 0, dtype=torch.int64)
    assert (draw_cues(nothing, 41, labels=[0, 254]) == IGNORE).all()
    assert draw_cues(torch.tensor([[254], [40], [0]]), 41, labels=[0, 254])[40, 0] == 254


def test_the_grid_is_every_eighth_pixel_of_an_image_of_321() -> None:
    grid = torch.arange(41 * 41).view(41, 41).remainder(251).byte()
    spread = spread_cues(grid, (321, 321))
    assert torch.equal(spread[::8, ::8], grid)
    # halfway between two points it is the later one
    assert spread[0, :13].tolist() == [0] * 4 + [1] * 8 + [2]


def test_a_stretched_image_has_the_corners_of_the_grid_in_its_corners() -> None:
    assert torch.equal(spread_cues(picture("12", "3."), (2, 5)), picture("11222", "33..."))
    assert torch.equal(spread_cues(picture("012", "345", "678"), (2, 2)), picture("02", "68"))
    assert torch.equal(spread_cues(picture("01", "23"), (1, 1)), picture("0"))


@given(side=st.integers(2, 6), height=st.integers(2, 40), width=st.integers(2, 40))
def test_each_pixel_has_the_label_of_the_nearest_point(side: int, height: int, width: int) -> None:
    grid = torch.arange(side**2, dtype=torch.uint8).view(side, side)
    spread = spread_cues(grid, (height, width))
    for (row, column), label in np.ndenumerate(spread.numpy()):
        at = row * (side - 1) / (height - 1), column * (side - 1) / (width - 1)
        point = divmod(int(label), side)
        assert all(abs(place - own) <= 0.5 + 1e-9 for place, own in zip(at, point, strict=True))


@pytest.mark.parametrize("size", [(20, 31), (50, 36), (375, 500)])
def test_grids_are_spread_as_scipy_zooms_them(size: tuple[int, int]) -> None:
    grid = torch.randint(0, 21, (41, 41), generator=torch.Generator().manual_seed(0)).byte()
    zoomed = zoom(grid.numpy(), (size[0] / 41, size[1] / 41), order=0)
    # only pixels halfway between two points may differ
    assert (spread_cues(grid, size).numpy() == zoomed).mean() > 0.97
