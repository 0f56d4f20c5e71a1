import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.functional.loss_checks import (
    assert_nothing_counts,
    assert_the_parts_add_up,
    assert_the_slope_is_right,
    generator_of,
    mask_of,
    shares_of,
)
from wsss.errors import SettingsError
from wsss.functional.crf_loss import CrfLossSettings, crf_loss

NARROW = CrfLossSettings(xy=4.0, rgb=40.0)
"""Widths for images of a few pixels."""


def scene(seed: int, height: int = 5, width: int = 7, batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Shares of three labels, images and the pixels that count."""
    images = torch.rand(batch, 3, height, width, generator=generator_of(seed + 1))
    return shares_of(seed, batch, 3, height, width), images, mask_of(seed + 2, batch, height, width)


def brute_force(shares: Tensor, images: Tensor, mask: Tensor, settings: CrfLossSettings) -> tuple[float, int]:
    """Go through all pairs of pixels of each image."""
    total, count = 0.0, 0
    for share, image, inside in zip(shares, images, mask, strict=True):
        costs = kernels = 0.0
        for row, column in inside.nonzero().tolist():
            for down, right in inside.nonzero().tolist():
                distance = ((row - down) ** 2 + (column - right) ** 2) / settings.xy**2
                change = (255 * (image[:, row, column] - image[:, down, right])).square().sum().item()
                kernel = math.exp(-(distance + change / settings.rgb**2) / 2)
                kernels += kernel
                costs += kernel * (1 - (share[:, row, column] @ share[:, down, right]).item())
        if kernels:
            total, count = total + costs / kernels, count + 1
    return total, count


def test_two_pixels_disagree_by_hand() -> None:
    shares = torch.tensor([[[[1.0, 0.25]], [[0.0, 0.75]]]])
    images = torch.tensor([10 / 255, 40 / 255]).expand(1, 3, 1, 2)
    total, count = crf_loss(shares, images, torch.ones(1, 1, 2) > 0, CrfLossSettings(xy=2.0, rgb=30.0))
    kernel = math.exp(-1 / 8 - 3 / 2)
    # each pixel beside itself has kernel 1; the right one does not agree with itself either
    within = 0 + (1 - 0.25**2 - 0.75**2)
    assert count == 1
    assert total.item() == pytest.approx((within + 2 * kernel * 0.75) / (2 + 2 * kernel), abs=1e-6)


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), height=st.integers(1, 6), width=st.integers(1, 6))
def test_all_pairs_are_judged_one_by_one(seed: int, height: int, width: int) -> None:
    parts = scene(seed, height, width)
    total, count = crf_loss(*parts, NARROW)
    expected, images = brute_force(*parts, NARROW)
    assert count == images
    assert total.item() == pytest.approx(expected, abs=1e-6)


def test_all_pairs_are_judged_one_by_one_in_parts_of_a_larger_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsss.functional.crf_loss._ROWS", 50)
    parts = scene(11, 12, 12, batch=1)
    assert crf_loss(*parts, NARROW)[0].item() == pytest.approx(brute_force(*parts, NARROW)[0], abs=1e-6)


def test_the_slope_is_right() -> None:
    shares, images, mask = scene(3, 4, 6)
    coarse = CrfLossSettings(xy=4.0, rgb=40.0, side=3)
    assert_the_slope_is_right(lambda values: crf_loss(values, images, mask, NARROW), shares)
    assert_the_slope_is_right(lambda values: crf_loss(values, images, mask, coarse), shares)


def test_the_parts_of_a_batch_add_up_to_the_whole() -> None:
    assert_the_parts_add_up(partial(crf_loss, settings=NARROW), *scene(4, batch=3))


def test_a_coarser_grid_judges_what_is_alike_in_its_cells_as_before() -> None:
    shares, images, mask = scene(5, 4, 6)
    fine, pictures, inside = (
        values.repeat_interleave(3, dim=-1).repeat_interleave(3, dim=-2) for values in (shares, images, mask)
    )
    wide = CrfLossSettings(xy=12.0, rgb=40.0, side=6)
    torch.testing.assert_close(crf_loss(fine, pictures, inside, wide), crf_loss(shares, images, mask, NARROW))


def test_a_cell_speaks_for_its_pixels_that_count_alone() -> None:
    shares, images, mask = scene(6, 6, 6)
    settings = CrfLossSettings(xy=4.0, rgb=40.0, side=3)
    mask[0, :2, :2] = False
    other = shares.where(mask[:, None], torch.nan)
    painted = images.where(mask[:, None], 0.5)
    torch.testing.assert_close(crf_loss(other, painted, mask, settings), crf_loss(shares, images, mask, settings))


def test_a_share_is_what_the_loss_of_an_image_is() -> None:
    _, images, mask = scene(7)
    alike = torch.eye(3)[1][None, :, None, None].expand(2, -1, 5, 7)
    assert crf_loss(alike, images, mask, NARROW)[0].item() == pytest.approx(0, abs=1e-6)
    # of two equal draws among three labels a third agrees
    assert crf_loss(torch.full((2, 3, 5, 7), 1 / 3), images, mask, NARROW)[0].item() == pytest.approx(2 * 2 / 3)


def test_an_edge_keeps_two_sides_apart() -> None:
    shares = torch.eye(2)[:, [0, 0, 0, 1, 1, 1]].view(1, 2, 1, 6).expand(1, 2, 6, 6)
    edge = torch.tensor([0.0, 0, 0, 1, 1, 1]).expand(1, 3, 6, 6)
    apart, together = (
        crf_loss(shares, picture, torch.ones(1, 6, 6) > 0, CrfLossSettings())[0].item() for picture in (edge, edge * 0)
    )
    assert apart == pytest.approx(0, abs=1e-6)
    assert together == pytest.approx(0.5, abs=1e-3)


def test_an_image_without_a_pixel_that_counts_counts_for_nothing() -> None:
    shares, images, mask = scene(8)
    logits = torch.randn(2, 3, 5, 7, requires_grad=True)
    assert_nothing_counts(crf_loss(logits.softmax(dim=1), images, mask & False, NARROW), logits)
    mask[0] = False
    torch.testing.assert_close(
        crf_loss(shares, images, mask, NARROW), crf_loss(shares[1:], images[1:], mask[1:], NARROW)
    )


def test_a_batch_without_images_counts_for_nothing() -> None:
    shares, images, mask = scene(8, batch=0)
    assert [float(part) for part in crf_loss(shares, images, mask, NARROW)] == [0, 0]


def test_half_precision_around_it_changes_nothing() -> None:
    shares, images, mask = scene(9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        within = crf_loss(shares.float(), images, mask, NARROW)
    torch.testing.assert_close(within, crf_loss(shares.float(), images, mask, NARROW))
    assert crf_loss(shares.bfloat16(), images, mask, NARROW)[0].dtype == torch.float32


def test_settings_name_what_is_wrong() -> None:
    for wrong in ({"xy": 0.5}, {"rgb": 0.0}, {"side": 0}):
        with pytest.raises(SettingsError, match=next(iter(wrong))):
            CrfLossSettings(**wrong)  # type: ignore[arg-type]
