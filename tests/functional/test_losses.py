import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from wsss.functional.losses import (
    SumAndCount,
    entropy_loss,
    laplacian_loss,
    node_cross_entropy,
    pixel_cross_entropy,
    possible_softmax,
    tag_loss,
)
from wsss.types import IGNORE

seeds = st.integers(0, 10_000)


def generator_of(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def assert_nothing_counts(loss: SumAndCount, *leaves: Tensor) -> None:
    total, count = loss
    assert (total.item(), count.item()) == (0, 0)
    total.backward()  # type: ignore[no-untyped-call]
    for leaf in leaves:
        assert leaf.grad is not None
        assert not leaf.grad.any()


@given(seed=seeds)
def test_tags_are_judged_by_the_soft_margin(seed: int) -> None:
    logits = torch.randn(6, 4, generator=generator_of(seed)) * 5
    tags = torch.rand(6, 4, generator=generator_of(seed + 1)) < 0.5
    known = torch.tensor([True, True, False, True, False, True])
    total, count = tag_loss(logits, tags, known)
    assert count == 4
    expected = functional.multilabel_soft_margin_loss(logits[known], tags[known].float())
    torch.testing.assert_close(total / count, expected)


def test_images_without_tags_count_for_nothing() -> None:
    logits = torch.randn(3, 4, requires_grad=True)
    assert_nothing_counts(tag_loss(logits, torch.ones(3, 4) > 0, torch.zeros(3) > 0), logits)


@given(seed=seeds)
def test_pixels_are_judged_by_the_cross_entropy(seed: int) -> None:
    logits = torch.randn(2, 5, 4, 3, generator=generator_of(seed))
    labels = torch.randint(5, (2, 4, 3), generator=generator_of(seed + 1))
    labels[torch.rand(2, 4, 3, generator=generator_of(seed + 2)) < 0.4] = IGNORE
    labels[0, 0, 0] = 0
    total, count = pixel_cross_entropy(logits, labels)
    assert count == (labels != IGNORE).sum()
    torch.testing.assert_close(total / count, functional.cross_entropy(logits, labels, ignore_index=IGNORE))


def test_a_pixel_counts_as_much_as_its_weight() -> None:
    logits = torch.randn(1, 3, 1, 4, generator=generator_of(0))
    labels = torch.tensor([[[0, 2, IGNORE, 1]]], dtype=torch.uint8)
    total, count = pixel_cross_entropy(logits, labels, torch.tensor([[[2.0, 0.0, 7.0, 0.5]]]))
    costs = -logits.log_softmax(dim=1)[0, :, 0]
    assert count == 2.5
    torch.testing.assert_close(total, 2 * costs[0, 0] + 0.5 * costs[1, 3])


def test_the_weight_of_an_open_pixel_is_never_read() -> None:
    labels = torch.tensor([[[0, IGNORE]]])
    total, count = pixel_cross_entropy(torch.zeros(1, 2, 1, 2), labels, torch.tensor([[[1.0, torch.nan]]]))
    assert count == 1
    torch.testing.assert_close(total, torch.tensor(2.0).log())


def test_open_pixels_count_for_nothing() -> None:
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    labels = torch.full((2, 4, 4), IGNORE)
    assert_nothing_counts(pixel_cross_entropy(logits, labels), logits)
    assert_nothing_counts(pixel_cross_entropy(logits, labels, torch.rand(2, 4, 4)), logits)


def test_half_precision_is_summed_in_single() -> None:
    logits = torch.randn(1, 3, 200, 200, generator=generator_of(3))
    labels = torch.randint(3, (1, 200, 200), generator=generator_of(4))
    total, _ = pixel_cross_entropy(logits.bfloat16(), labels)
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, functional.cross_entropy(logits, labels, reduction="sum"), rtol=1e-3, atol=0)


@given(seed=seeds)
def test_the_parts_of_a_batch_add_up_to_the_whole(seed: int) -> None:
    logits = torch.randn(4, 5, 3, 3, generator=generator_of(seed))
    labels = torch.randint(5, (4, 3, 3), generator=generator_of(seed + 1))
    labels[:3, :2] = IGNORE
    whole = pixel_cross_entropy(logits, labels)
    parts = [pixel_cross_entropy(logits[part], labels[part]) for part in (slice(0, 3), slice(3, 4))]
    for index in (0, 1):
        torch.testing.assert_close(parts[0][index] + parts[1][index], whole[index])


@given(seed=seeds)
def test_nodes_are_judged_by_the_cross_entropy_when_all_is_possible(seed: int) -> None:
    logits = torch.randn(7, 4, generator=generator_of(seed))
    targets = torch.tensor([0, 1, IGNORE, 3, 2, IGNORE, 1])
    weights = torch.rand(4, generator=generator_of(seed + 1)) + 0.1
    everything = torch.ones(7, 4) > 0
    total, count = node_cross_entropy(logits, targets, everything)
    torch.testing.assert_close(total / count, functional.cross_entropy(logits, targets, ignore_index=IGNORE))
    total, count = node_cross_entropy(logits, targets, everything, weights)
    expected = functional.cross_entropy(logits, targets, weight=weights, ignore_index=IGNORE)
    torch.testing.assert_close(total / count, expected)


def test_only_possible_labels_compete() -> None:
    logits = torch.tensor([[1.0, 2.0, 50.0]])
    total, count = node_cross_entropy(logits, torch.tensor([0]), torch.tensor([[True, True, False]]))
    assert count == 1
    torch.testing.assert_close(total, functional.cross_entropy(logits[:, :2], torch.tensor([0])))


def test_an_impossible_target_does_not_count() -> None:
    logits = torch.randn(2, 3, requires_grad=True)
    possible = torch.tensor([[True, True, False], [False, False, False]])
    assert_nothing_counts(node_cross_entropy(logits, torch.tensor([2, 0]), possible), logits)


def test_nodes_without_a_target_count_for_nothing() -> None:
    logits = torch.randn(2, 3, requires_grad=True)
    targets = torch.full((2,), IGNORE, dtype=torch.uint8)
    assert_nothing_counts(node_cross_entropy(logits, targets, torch.ones(2, 3) > 0), logits)


def test_impossible_labels_have_no_probability() -> None:
    possible = torch.tensor([[True, False, True], [False, True, False], [False, False, False]])
    shares = possible_softmax(torch.tensor([[0.0, 9.0, 0.0], [0.0, -9.0, 0.0], [1.0, 2.0, 3.0]]), possible)
    expected = torch.tensor([[0.5, 0, 0.5], [0, 1, 0], [1 / 3, 1 / 3, 1 / 3]])
    torch.testing.assert_close(shares, expected)


def test_entropy_is_that_of_torch_and_zero_where_decided() -> None:
    shares = torch.rand(9, 5, generator=generator_of(0)).softmax(dim=1)
    total, count = entropy_loss(shares)
    assert count == 9
    torch.testing.assert_close(total, torch.special.entr(shares).sum())
    assert entropy_loss(torch.eye(3))[0] == 0


def test_the_entropy_of_impossible_labels_has_a_finite_slope() -> None:
    logits = torch.randn(2, 3, requires_grad=True)
    possible = torch.tensor([[True, True, False], [True, False, False]])
    total, _ = entropy_loss(possible_softmax(logits, possible))
    total.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad[0, :2].any()
    assert not logits.grad[:, 2].any()


@given(seed=seeds)
def test_disagreement_is_the_quadratic_form_of_the_laplacian(seed: int) -> None:
    shares = torch.rand(6, 3, generator=generator_of(seed))
    weights = torch.rand(6, 6, generator=generator_of(seed + 1)).tril(-1)
    weights = weights + weights.T
    edges = weights.nonzero().T
    total, count = laplacian_loss(shares, edges, weights[edges[0], edges[1]])
    laplacian = torch.diag(weights.sum(dim=1)) - weights
    torch.testing.assert_close(total, 2 * torch.trace(shares.T @ laplacian @ shares))
    torch.testing.assert_close(count, weights.sum())


def test_without_edges_nothing_disagrees() -> None:
    shares = torch.rand(3, 2, requires_grad=True)
    assert_nothing_counts(laplacian_loss(shares, torch.zeros(2, 0, dtype=torch.int64), torch.zeros(0)), shares)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_losses_run_on_the_device_of_their_inputs() -> None:
    logits = torch.randn(2, 3, 4, 4)
    labels = torch.randint(3, (2, 4, 4))
    expected = pixel_cross_entropy(logits, labels)[0]
    torch.testing.assert_close(pixel_cross_entropy(logits.cuda(), labels.cuda())[0].cpu(), expected)
