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
    numbers_of,
    shares_of,
)
from wsss.errors import SettingsError
from wsss.functional.gated_crf import GatedCrfSettings, gated_crf_loss

Scene = tuple[Tensor, Tensor, Tensor, Tensor]


def scene(seed: int, height: int = 5, width: int = 7, batch: int = 2) -> Scene:
    """Shares of three labels, images of few like colours, sources and learners."""
    images = (torch.rand(batch, 3, height, width, generator=generator_of(seed + 1)) * 3).floor() / 8
    cells = batch, height, width
    return shares_of(seed, batch, 3, height, width), images, mask_of(seed + 2, *cells), mask_of(seed + 3, *cells)


def brute_force(shares: Tensor, images: Tensor, sources: Tensor, learners: Tensor, settings: GatedCrfSettings) -> float:
    """Go through all learners, and for each through all sources."""
    total = 0.0
    for image, row, column in learners.nonzero().tolist():
        for source, down, right in sources.nonzero().tolist():
            distance = (down - row) ** 2 + (right - column) ** 2
            if source != image or distance == 0 or max(abs(down - row), abs(right - column)) > settings.radius:
                continue
            change = (images[image, :, row, column] - images[image, :, down, right]).square().sum().item()
            kernel = math.exp(-distance / 2 / settings.xy**2 - change / 2 / settings.rgb**2)
            total += kernel * (1 - (shares[image, :, row, column] @ shares[image, :, down, right]).item())
    return total


def test_two_pixels_disagree_by_hand() -> None:
    shares = torch.tensor([[[[1.0, 0.25]], [[0.0, 0.75]]]])
    images = torch.tensor([0.5, 0.7]).expand(1, 3, 1, 2)
    both = torch.tensor([[[True, True]]])
    total, count = gated_crf_loss(shares, images, both, both, GatedCrfSettings(xy=2.0, rgb=0.2))
    kernel = math.exp(-1 / 8 - 3 / 2)
    assert count == 2
    assert total.item() == pytest.approx(2 * kernel * 0.75)
    # only the right one learns: of the left one, but not the left one of it
    right = torch.tensor([[[False, True]]])
    loss = gated_crf_loss(shares, images, both, right, GatedCrfSettings(xy=2.0, rgb=0.2))
    assert numbers_of(loss) == pytest.approx((kernel * 0.75, 1))
    assert gated_crf_loss(shares, images, right, right, GatedCrfSettings())[0] == 0


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), radius=st.integers(1, 8), height=st.integers(1, 5), width=st.integers(1, 7))
def test_all_pairs_are_judged_one_by_one(seed: int, radius: int, height: int, width: int) -> None:
    settings = GatedCrfSettings(xy=3.0, rgb=0.3, radius=radius)
    parts = scene(seed, height, width)
    total, count = gated_crf_loss(*parts, settings)
    assert count == parts[3].sum()
    assert total.item() == pytest.approx(brute_force(*parts, settings), abs=1e-6)


def test_the_slope_is_right() -> None:
    shares, images, sources, learners = scene(3, 4, 5)
    settings = GatedCrfSettings(radius=2)
    assert_the_slope_is_right(lambda values: gated_crf_loss(values, images, sources, learners, settings), shares)


def test_the_parts_of_a_batch_add_up_to_the_whole() -> None:
    assert_the_parts_add_up(partial(gated_crf_loss, settings=GatedCrfSettings()), *scene(4, batch=3))


def test_pixels_that_agree_cost_nothing() -> None:
    _, images, sources, learners = scene(5)
    shares = torch.eye(3)[1][None, :, None, None].expand(2, -1, 5, 7)
    assert gated_crf_loss(shares, images, sources, learners, GatedCrfSettings())[0].item() == pytest.approx(0, abs=1e-4)


def test_an_edge_keeps_two_sides_apart() -> None:
    shares = torch.eye(2)[:, [0, 0, 0, 1, 1, 1]].view(1, 2, 1, 6).expand(1, 2, 6, 6)
    edge = torch.tensor([0.0, 0, 0, 1, 1, 1]).expand(1, 3, 6, 6)
    everywhere = torch.ones(1, 6, 6) > 0
    settings = GatedCrfSettings()
    apart, together = (
        gated_crf_loss(shares, picture, everywhere, everywhere, settings)[0] for picture in (edge, edge * 0)
    )
    assert apart < 1e-3
    assert together > 100


def test_nothing_is_learnt_where_nobody_learns() -> None:
    _, images, sources, learners = scene(6)
    logits = torch.randn(2, 3, 5, 7, requires_grad=True)
    loss = gated_crf_loss(logits.softmax(dim=1), images, sources, learners & False, GatedCrfSettings())
    assert_nothing_counts(loss, logits)


def test_nothing_is_learnt_from_nobody() -> None:
    _, images, sources, learners = scene(6)
    logits = torch.randn(2, 3, 5, 7, requires_grad=True)
    total, count = gated_crf_loss(logits.softmax(dim=1), images, sources & False, learners, GatedCrfSettings())
    total.backward()  # type: ignore[no-untyped-call]
    assert numbers_of((total, count)) == (0, learners.sum().item())
    assert logits.grad is not None
    assert not logits.grad.any()


def test_larger_images_are_averaged_over_the_cells() -> None:
    shares, images, sources, learners = scene(7)
    larger = images.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    noise = torch.rand(larger.shape, generator=generator_of(8)) - 0.5
    noise -= torch.nn.functional.interpolate(noise, (5, 7), mode="area").repeat_interleave(4, 2).repeat_interleave(4, 3)
    torch.testing.assert_close(
        gated_crf_loss(shares, larger + noise, sources, learners, GatedCrfSettings()),
        gated_crf_loss(shares, images, sources, learners, GatedCrfSettings()),
        rtol=1e-4,
        atol=1e-4,
    )


def test_settings_name_what_is_wrong() -> None:
    for wrong in ({"xy": 0.0}, {"rgb": -1.0}, {"radius": 0}):
        with pytest.raises(SettingsError, match=next(iter(wrong))):
            GatedCrfSettings(**wrong)  # type: ignore[arg-type]
