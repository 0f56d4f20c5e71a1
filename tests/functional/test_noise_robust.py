import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.functional.loss_checks import (
    assert_nothing_counts,
    assert_the_parts_add_up,
    assert_the_slope_is_right,
    generator_of,
    mask_of,
    numbers_of,
)
from wsss.functional.losses import SumAndCount, pixel_cross_entropy
from wsss.functional.noise_robust import generalised_cross_entropy, symmetric_cross_entropy
from wsss.types import IGNORE

seeds = st.integers(0, 10_000)
Loss = Callable[..., SumAndCount]
LOSSES: list[Loss] = [generalised_cross_entropy, symmetric_cross_entropy]


def scene(seed: int, batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of four labels, labels of which some are open, and weights."""
    logits = 3 * torch.randn(batch, 4, 3, 5, generator=generator_of(seed), dtype=torch.double)
    labels = torch.randint(4, (batch, 3, 5), generator=generator_of(seed + 1))
    labels = labels.where(mask_of(seed + 2, batch, 3, 5), IGNORE)
    return logits, labels, torch.rand(batch, 3, 5, generator=generator_of(seed + 3), dtype=torch.double)


def test_both_losses_by_hand() -> None:
    logits = torch.tensor([0.2, 0.8, 0.5, 0.5]).view(1, 2, 1, 2).log()
    labels = torch.tensor([[[0, 1]]])
    # the first label has a probability of 2 in 7, the second of 5 in 13
    first, second = 0.2 / 0.7, 0.5 / 1.3
    total, count = generalised_cross_entropy(logits, labels, exponent=0.5)
    assert count == 2
    assert total.item() == pytest.approx((1 - math.sqrt(first)) / 0.5 + (1 - math.sqrt(second)) / 0.5)
    total, count = symmetric_cross_entropy(logits, labels, forward=0.5, reverse=2.0, log_zero=-3.0)
    assert total.item() == pytest.approx(-0.5 * math.log(first * second) + 2 * 3 * (2 - first - second), rel=1e-5)


@given(seed=seeds)
def test_pixels_are_judged_one_by_one(seed: int) -> None:
    logits, labels, weights = scene(seed)
    generalised = symmetric = known = 0.0
    for image, row, column in (labels != IGNORE).nonzero().tolist():
        shares = logits[image, :, row, column].softmax(dim=0)
        label, weight = int(labels[image, row, column]), weights[image, row, column].item()
        hot = [0.0 if other == label else -4.0 for other in range(4)]
        generalised += weight * (1 - shares[label].item() ** 0.7) / 0.7
        backwards = -sum(share * log for share, log in zip(shares.tolist(), hot, strict=True))
        symmetric += weight * (0.1 * -math.log(shares[label].item()) + 1.0 * backwards)
        known += weight
    for loss, expected in ((generalised_cross_entropy, generalised), (symmetric_cross_entropy, symmetric)):
        assert numbers_of(loss(logits, labels, weights)) == pytest.approx((expected, known))


@given(seed=seeds)
def test_at_one_end_both_are_the_cross_entropy(seed: int) -> None:
    logits, labels, weights = scene(seed)
    expected = pixel_cross_entropy(logits, labels, weights)
    ends = [
        generalised_cross_entropy(logits, labels, weights, exponent=1e-6),
        symmetric_cross_entropy(logits, labels, weights, forward=1.0, reverse=0.0),
    ]
    for each in ends:
        for value, other in zip(each, expected, strict=True):
            torch.testing.assert_close(value, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_slope_is_right(loss: Loss) -> None:
    logits, labels, weights = scene(5)
    assert_the_slope_is_right(lambda values: loss(values, labels, weights), logits)
    assert_the_slope_is_right(lambda values: loss(values, labels), logits)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_parts_of_a_batch_add_up_to_the_whole(loss: Loss) -> None:
    logits, labels, weights = scene(6, batch=3)
    assert_the_parts_add_up(loss, logits, labels, weights)
    assert_the_parts_add_up(loss, logits, labels)


@pytest.mark.parametrize("loss", LOSSES)
def test_open_pixels_count_for_nothing(loss: Loss) -> None:
    logits, labels, _ = scene(7)
    logits.requires_grad_()
    assert_nothing_counts(loss(logits, torch.full_like(labels, IGNORE)), logits)
    assert_nothing_counts(loss(logits, labels, torch.zeros(2, 3, 5)), logits)
    assert_nothing_counts(loss(logits, torch.full_like(labels, IGNORE), torch.full((2, 3, 5), torch.nan)), logits)


@pytest.mark.parametrize("loss", LOSSES)
def test_an_impossible_background_does_not_speak_at_open_pixels(loss: Loss) -> None:
    logits, labels, weights = scene(8)
    labels[labels == 0] = IGNORE
    logits[:, 0] = -torch.inf
    logits.requires_grad_()
    total, _ = loss(logits, labels, weights)
    total.backward()  # type: ignore[no-untyped-call]
    assert total.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_a_label_held_for_impossible_moves_the_network_less_than_a_doubtful_one() -> None:
    slopes = {}
    for loss in (pixel_cross_entropy, generalised_cross_entropy):
        logits = torch.tensor([[[[0.0], [0.0]], [[-30.0], [-1.0]]]], requires_grad=True)
        loss(logits, torch.ones(1, 2, 1, dtype=torch.long))[0].backward()
        assert logits.grad is not None
        slopes[loss] = logits.grad[0, 1, :, 0].abs().tolist()
    assert slopes[pixel_cross_entropy][0] > slopes[pixel_cross_entropy][1]
    assert slopes[generalised_cross_entropy][0] < 1e-6 < 0.1 < slopes[generalised_cross_entropy][1]


def test_the_exponent_has_bounds() -> None:
    for wrong in (0.0, 1.5, -1.0):
        with pytest.raises(ValueError, match="exponent"):
            generalised_cross_entropy(*scene(1), exponent=wrong)
