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
    shares_of,
)
from wsss.functional.size_loss import bounds_of_tags, size_loss


def scene(seed: int, batch: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Shares of three labels, bounds, and pixels that count."""
    bounds = torch.rand(2, batch, 3, generator=generator_of(seed + 1), dtype=torch.double).sort(dim=0).values
    return shares_of(seed, batch, 3, 4, 5), bounds[0], bounds[1], mask_of(seed + 2, batch, 4, 5)


def test_sizes_miss_their_bounds_by_hand() -> None:
    shares = torch.tensor([[[[0.5, 0.7, 0.0]], [[0.5, 0.1, 1.0]], [[0.0, 0.2, 0.0]]]])
    mask = torch.tensor([[[True, True, False]]])
    # sizes 0.6, 0.3 and 0.1: the first too large by 0.2, the second right, the third too small by 0.3
    loss = size_loss(shares, torch.tensor([[0.0, 0.3, 0.4]]), torch.tensor([[0.4, 0.3, 1.0]]), mask)
    assert numbers_of(loss) == pytest.approx((0.2**2 + 0.3**2, 1))


@given(seed=st.integers(0, 10_000))
def test_sizes_are_judged_one_by_one(seed: int) -> None:
    shares, least, most, mask = scene(seed)
    expected = 0.0
    for image in range(2):
        for label in range(3):
            size = shares[image, label][mask[image]].mean().item()
            nearest = min(max(size, least[image, label].item()), most[image, label].item())
            expected += (size - nearest) ** 2
    assert numbers_of(size_loss(shares, least, most, mask)) == pytest.approx((expected, 2))


def test_the_slope_is_right() -> None:
    shares, least, most, mask = scene(3)
    assert_the_slope_is_right(lambda values: size_loss(values, least, most, mask), shares)


def test_the_parts_of_a_batch_add_up_to_the_whole() -> None:
    assert_the_parts_add_up(size_loss, *scene(4, batch=3))


def test_an_image_without_a_pixel_that_counts_counts_for_nothing() -> None:
    _, least, most, mask = scene(5)
    logits = torch.randn(2, 3, 4, 5, requires_grad=True)
    assert_nothing_counts(size_loss(logits.softmax(dim=1), least, most, mask & False), logits)


def test_sizes_within_their_bounds_cost_nothing() -> None:
    shares, _, _, mask = scene(6)
    open_least, open_most = bounds_of_tags(torch.ones(2, 2) > 0, torch.zeros(2) > 0, present=0.1)
    assert numbers_of(size_loss(shares, open_least, open_most, mask)) == (0, 2)


def test_tags_bound_sizes() -> None:
    tags = torch.tensor([[True, False], [False, True]])
    least, most = bounds_of_tags(tags, torch.tensor([True, False]), present=0.05, background=0.1)
    torch.testing.assert_close(least, torch.tensor([[0.1, 0.05, 0.0], [0.0, 0.0, 0.0]]))
    torch.testing.assert_close(most, torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]))


def test_tags_push_the_absent_out_and_the_present_in() -> None:
    logits = torch.tensor([0.0, -9.0, 0.0]).view(1, 3, 1, 1).repeat(1, 1, 4, 4).requires_grad_()
    bounds = bounds_of_tags(torch.tensor([[True, False]]), torch.tensor([True]), present=0.2)
    size_loss(logits.softmax(dim=1), *bounds, torch.ones(1, 4, 4) > 0)[0].backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert (logits.grad[0, 1] < 0).all()
    assert (logits.grad[0, 2] > 0).all()
