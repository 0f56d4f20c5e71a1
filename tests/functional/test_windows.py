import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import avg_pool2d

from wsss.functional.windows import merge_windows, window_starts


@given(length=st.integers(1, 300), window=st.integers(1, 80), share=st.floats(0, 0.95))
def test_windows_cover_a_side_and_overlap(length: int, window: int, share: float) -> None:
    overlap = int(share * window)
    starts = window_starts(length, window, overlap)
    assert starts == sorted(set(starts))
    assert starts[0] == 0
    if length <= window:
        assert starts == [0]
        return
    assert starts[-1] + window == length
    for first, second in itertools.pairwise(starts):
        assert first + window - second >= overlap


def test_an_overlap_as_large_as_the_window_is_refused() -> None:
    with pytest.raises(ValueError, match=r"overlap must lie in \[0, 8\), got 8"):
        window_starts(100, 8, 8)


def pooled(images: Tensor) -> Tensor:
    """Scores that depend on nothing outside their own four by four pixels."""
    return torch.cat([avg_pool2d(images, 4), avg_pool2d(images.square(), 4)], dim=1)


@pytest.mark.parametrize("size", [(8, 8), (32, 32), (64, 40), (100, 36), (36, 100)])
def test_what_looks_at_single_cells_is_merged_to_what_it_sees_of_the_whole(size: tuple[int, int]) -> None:
    images = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    merged = merge_windows(pooled, images, window=32, overlap=12, stride=4)
    torch.testing.assert_close(merged, pooled(images)[0])


def test_an_image_that_fits_is_looked_at_once_as_a_whole() -> None:
    seen: list[tuple[int, ...]] = []

    def look(window: Tensor) -> Tensor:
        seen.append(tuple(window.shape))
        return pooled(window)

    merge_windows(look, torch.rand(1, 3, 32, 28), window=32, overlap=8, stride=4)
    assert seen == [(1, 3, 32, 28)]


def test_an_overlap_between_two_strides_is_rounded_up() -> None:
    widths: list[int] = []

    def look(window: Tensor) -> Tensor:
        widths.append(window.shape[3])
        return pooled(window)

    merge_windows(look, torch.rand(1, 3, 16, 40), window=16, overlap=6, stride=4)
    # of 40 pixels, windows of 16 that share 8 need four; if they shared 4 it would be three
    assert widths == [16] * 4


def test_no_seam_shows_where_windows_disagree() -> None:
    calls = 0

    def look(window: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return torch.full((1, 1, window.shape[2] // 4, window.shape[3] // 4), float(calls % 2))

    merged = merge_windows(look, torch.rand(1, 3, 32, 96), window=64, overlap=32, stride=4)[0]
    assert calls == 2
    steps = merged.diff(dim=1).abs()
    # eight scores lie in the overlap, so a fair share of the way is gone at each
    assert steps.max() < 0.2
    assert (merged[:, 0] == 1).all()
    assert (merged[:, -1] == 0).all()
