import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor

from tests.drawing import picture
from wsss.functional.boundary import boundary_counts, boundary_iou
from wsss.types import IGNORE


def band_by_erosion(mask: np.ndarray, width: int) -> np.ndarray:
    """Return what erosion by a square, one pixel at a time, takes from a mask (Cheng et al., CVPR 2021)."""
    return mask & ~ndimage.binary_erosion(mask, np.ones((3, 3)), iterations=width, border_value=0)


def slow_counts(labels: Tensor, truth: Tensor, classes: int, width: int) -> list[list[int]]:
    labels = labels.masked_fill(truth == IGNORE, IGNORE)
    counts = []
    for label in range(classes):
        bands = [band_by_erosion((grid == label).numpy(), width) for grid in (labels, truth)]
        counts.append([int((bands[0] & bands[1]).sum()), int((bands[0] | bands[1]).sum())])
    return counts


def blocks(seed: int, height: int, width: int, classes: int) -> Tensor:
    """Draw labels in blocks of 1 to 12 pixels, some of them open."""
    generator = np.random.default_rng(seed)
    size = int(generator.integers(1, 13))
    coarse = generator.integers(0, classes + 1, (-(-height // size), -(-width // size)))
    labels = torch.from_numpy(coarse).repeat_interleave(size, 0).repeat_interleave(size, 1)[:height, :width]
    return labels.masked_fill(labels == classes, IGNORE).to(torch.uint8)


def test_a_band_of_one_pixel_is_drawn_by_hand() -> None:
    truth = picture(
        "0000000",
        "0111110",
        "0111110",
        "0111110",
        "0111110",
        "0111110",
        "0000000",
    )
    # class 0: all 24 pixels touch the image's edge; class 1: its 16 outer pixels, not its 9 inner ones
    assert boundary_counts(truth, truth, classes=2).tolist() == [[24, 24], [16, 16]]


def test_a_shifted_square_is_counted_by_hand() -> None:
    truth, labels = picture("111100", "111100", "111100", "111100"), picture("011110", "011110", "011110", "011110")
    # class 1: each band is a square of 4 × 4 pixels without its inner 2 × 2, so 12 pixels; both bands hold the outer
    # rows of columns 1 to 3, so 6
    assert boundary_counts(labels, truth, classes=2)[1].tolist() == [6, 18]


def test_the_inside_of_an_object_does_not_count() -> None:
    truth = torch.zeros(40, 40, dtype=torch.uint8)
    truth[10:30, 10:30] = 1
    holed = truth.clone()
    holed[20, 20] = 0
    assert boundary_iou(boundary_counts(truth, truth, classes=2)) == 1
    assert boundary_iou(boundary_counts(holed, truth, classes=2)) < 1
    recoloured = torch.where(truth == 1, 2, truth)
    assert boundary_counts(recoloured, truth, classes=3)[1:, 0].tolist() == [0, 0]


@given(
    seed=st.integers(0, 10_000),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    dilation=st.sampled_from([0.001, 0.02, 0.1, 0.3]),
)
def test_counts_equal_those_of_repeated_erosion(seed: int, height: int, width: int, dilation: float) -> None:
    labels, truth = blocks(seed, height, width, 4), blocks(seed + 1, height, width, 4)
    expected = slow_counts(labels, truth, 4, max(1, round(dilation * (height**2 + width**2) ** 0.5)))
    assert boundary_counts(labels, truth, classes=4, dilation=dilation).tolist() == expected


def test_a_pixel_without_truth_counts_in_neither_map() -> None:
    truth, labels = picture("00..", "00.."), picture("0011", "0011")
    assert boundary_counts(labels, truth, classes=2).tolist() == [[4, 4], [0, 0]]


def test_an_open_pixel_is_missed() -> None:
    assert boundary_counts(picture("0."), picture("00"), classes=1).tolist() == [[1, 2]]


def test_classes_without_a_band_are_left_out_of_the_mean() -> None:
    assert boundary_iou(torch.tensor([[1, 2], [0, 0], [3, 3]])) == pytest.approx(0.75)
    with pytest.raises(ValueError, match="at least one class with a boundary"):
        boundary_iou(torch.zeros(2, 2, dtype=torch.int64))


def test_wrong_maps_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)
    with pytest.raises(ValueError, match=r"truth \(1, 2\), got \(1, 3\)"):
        boundary_counts(picture("000"), picture("00"), classes=1)
    with pytest.raises(ValueError, match="labels must be below 2 or 255, got 3"):
        boundary_counts(picture("03"), picture("00"), classes=2)


def test_the_inputs_are_left_alone() -> None:
    labels, truth = blocks(1, 20, 30, 3), blocks(2, 20, 30, 3)
    copies = labels.clone(), truth.clone()
    boundary_counts(labels, truth, classes=3)
    assert torch.equal(labels, copies[0])
    assert torch.equal(truth, copies[1])
