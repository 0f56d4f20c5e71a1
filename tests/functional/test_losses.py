import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from tests.drawing import picture
from tests.functional.loss_checks import (
    assert_nothing_counts,
    assert_the_parts_add_up,
    assert_the_slope_is_right,
    generator_of,
    mask_of,
    shares_of,
)
from wsss.functional.losses import (
    balanced_seed_loss,
    constrain_loss,
    entropy_loss,
    floored_softmax,
    laplacian_loss,
    node_cross_entropy,
    pixel_cross_entropy,
    pixel_entropy_loss,
    possible_softmax,
    recoverable_softmax,
    tag_loss,
)
from wsss.types import IGNORE

seeds = st.integers(0, 10_000)


@given(seed=seeds)
def test_tags_are_judged_by_the_soft_margin(seed: int) -> None:
    logits = torch.randn(6, 4, generator=generator_of(seed)) * 5
    tags = torch.rand(6, 4, generator=generator_of(seed + 1)) < 0.5
    known = torch.tensor([True, True, False, True, False, True])
    total, count = tag_loss(logits, tags, known[:, None].expand(-1, 4))
    assert count == 4
    expected = functional.multilabel_soft_margin_loss(logits[known], tags[known].float())
    torch.testing.assert_close(total / count, expected)


def test_images_without_tags_count_for_nothing() -> None:
    logits = torch.randn(3, 4, requires_grad=True)
    assert_nothing_counts(tag_loss(logits, torch.ones(3, 4) > 0, torch.zeros(3, 4) > 0), logits)


def test_a_class_that_nobody_spoke_of_counts_little_as_absent_beside_one_that_was_named() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5], [1.0, 1.0, 1.0]])
    named = torch.tensor([[True, False, False], [False, False, False]])
    total, count = tag_loss(logits, named, named)
    assert count == 1
    # -log s(2), and half of -log s(1) and of -log s(-0.5)
    expected = (math.log(1 + math.exp(-2)) + (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(0.5))) / 2) / 3
    assert total.item() == pytest.approx(expected, rel=1e-5)


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


def test_double_precision_stays_and_gradients_are_right() -> None:
    logits = torch.randn(2, 3, 2, 2, generator=generator_of(0), dtype=torch.double, requires_grad=True)
    rows = torch.randn(4, 3, generator=generator_of(1), dtype=torch.double, requires_grad=True)
    labels = torch.stack([picture("01", ".2"), picture("..", "21")])
    known = torch.tensor([[True, True, False]] * 4)
    edges = torch.tensor([[0, 1, 2], [1, 2, 3]])

    def of_pixels(logits: Tensor) -> Tensor:
        return pixel_cross_entropy(logits, labels)[0]

    def of_rows(rows: Tensor) -> tuple[Tensor, ...]:
        shares = possible_softmax(rows, known)
        targets = torch.tensor([0, 1, IGNORE, 2])
        return (
            tag_loss(rows, known, known)[0],
            node_cross_entropy(rows, targets, known)[0],
            entropy_loss(shares)[0],
            laplacian_loss(shares, edges, torch.ones(3))[0],
        )

    assert torch.autograd.gradcheck(of_pixels, (logits,))
    assert torch.autograd.gradcheck(of_rows, (rows,))


def test_many_regions_in_half_precision_do_not_overflow() -> None:
    total, count = entropy_loss(torch.full((100_000, 4), 0.25).half())
    assert count == 100_000
    assert total.item() == pytest.approx(100_000 * math.log(4), rel=1e-3)


@given(seed=seeds)
def test_the_parts_of_a_batch_add_up_to_the_whole(seed: int) -> None:
    logits = torch.randn(4, 5, 3, 3, generator=generator_of(seed))
    labels = torch.randint(5, (4, 3, 3), generator=generator_of(seed + 1))
    labels[:3, :2] = IGNORE
    whole = pixel_cross_entropy(logits, labels)
    parts = [pixel_cross_entropy(logits[part], labels[part]) for part in (slice(0, 3), slice(3, 4))]
    for index in (0, 1):
        torch.testing.assert_close(parts[0][index] + parts[1][index], whole[index])


def test_every_label_has_some_probability_and_the_sunken_one_a_slope() -> None:
    logits = torch.tensor([[0.0, 20.0, -30.0]])[..., None, None].requires_grad_()
    shares = floored_softmax(logits, 1e-4)
    torch.testing.assert_close(
        shares.detach().flatten(), torch.tensor([1e-4, 1.0001, 1e-4]) / 1.0003, rtol=1e-4, atol=0
    )
    shares[0, 0].log().sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad[0, 0] > 0


def test_a_label_far_below_the_floor_is_pulled_up_as_if_there_were_none() -> None:
    logits = torch.tensor([[0.0, 20.0, -30.0]])[..., None, None].requires_grad_()
    shares = recoverable_softmax(logits, 1e-4)
    torch.testing.assert_close(shares, floored_softmax(logits, 1e-4))
    (slope,) = torch.autograd.grad(shares[0, 2].log().sum(), logits)
    torch.testing.assert_close(slope, torch.tensor([[0.0, -1.0, 1.0]])[..., None, None], rtol=0, atol=1e-6)


@given(seed=seeds)
def test_logarithms_of_probabilities_have_the_slope_of_plain_ones(seed: int) -> None:
    logits = (10 * torch.randn(2, 4, 3, 3, generator=generator_of(seed))).requires_grad_()
    pull = torch.randn(2, 4, 3, 3, generator=generator_of(seed + 1))
    shares = recoverable_softmax(logits)
    torch.testing.assert_close(shares, floored_softmax(logits))
    found, expected = (
        torch.autograd.grad((pull * logs).sum(), logits)[0] for logs in (shares.log(), logits.log_softmax(dim=1))
    )
    torch.testing.assert_close(found, expected)


def test_seeds_are_judged_by_hand() -> None:
    labels = torch.stack([picture("0.1", "0.2"), picture("...", ".3.")])
    shares = torch.full((2, 4, 2, 3), 0.1)
    shares[0, 0, 0, 0], shares[0, 0, 1, 0], shares[0, 1, 0, 2], shares[0, 2, 1, 2] = 0.5, 0.25, 0.8, 0.2
    shares[1, 3, 1, 1] = 0.4
    total, count = balanced_seed_loss(shares, labels)
    # two background seeds as one mean, two seeds of different classes as another; no background in the second image
    first = (math.log(2) + math.log(4)) / 2 + (math.log(1 / 0.8) + math.log(5)) / 2
    assert count == 2
    assert total.item() == pytest.approx(first + math.log(1 / 0.4))


@given(seed=seeds)
def test_seeds_are_judged_pixel_by_pixel(seed: int) -> None:
    shares, labels = shares_of(seed, 3, 4, 5, 6), torch.randint(4, (3, 5, 6), generator=generator_of(seed + 1))
    labels[torch.rand(labels.shape, generator=generator_of(seed + 2)) < 0.8] = IGNORE
    labels[2] = IGNORE
    expected, seeded = 0.0, 0
    for image in range(3):
        costs: dict[bool, list[float]] = {True: [], False: []}
        for row, column in (labels[image] != IGNORE).nonzero().tolist():
            label = int(labels[image, row, column])
            costs[label == 0].append(-math.log(shares[image, label, row, column]))
        expected += sum(sum(part) / len(part) for part in costs.values() if part)
        seeded += any(costs.values())
    total, count = balanced_seed_loss(shares, labels)
    assert count == seeded
    assert total.item() == pytest.approx(expected)


def test_the_pull_towards_the_crf_is_judged_by_hand() -> None:
    shares = torch.tensor([[0.5, 0.999], [0.5, 0.001]])[None, :, None]
    refined = torch.tensor([[0.8, 0.1], [0.2, 0.9]])[None, :, None]
    total, count = constrain_loss(shares, refined, torch.ones(1, 1, 2) > 0)
    left = 0.8 * math.log(1.6) + 0.2 * math.log(0.4)
    # 0.9 / 0.001 is clipped to 20
    right = 0.1 * math.log(0.1 / 0.999) + 0.9 * math.log(20)
    assert count == 1
    assert total.item() == pytest.approx((left + right) / 2, rel=1e-5)
    assert constrain_loss(shares, refined, torch.tensor([[[True, False]]]))[0].item() == pytest.approx(left, rel=1e-5)


@given(seed=seeds)
def test_unclipped_the_pull_is_the_divergence_of_torch(seed: int) -> None:
    shares, refined = shares_of(seed, 2, 3, 4, 5) * 0.7 + 0.1, shares_of(seed + 1, 2, 3, 4, 5) * 0.7 + 0.1
    total, count = constrain_loss(shares, refined, torch.ones(2, 4, 5) > 0)
    divergence = functional.kl_div(shares.log(), refined, reduction="none").sum(dim=1).mean(dim=(1, 2))
    assert count == 2
    torch.testing.assert_close(total, divergence.sum())


def test_a_label_that_the_crf_rules_out_adds_nothing() -> None:
    shares, refined = shares_of(0, 1, 3, 2, 2), shares_of(1, 1, 3, 2, 2)
    refined[:, 1] = 0
    total, _ = constrain_loss(shares, refined, torch.ones(1, 2, 2) > 0)
    others = constrain_loss(shares[:, [0, 2]], refined[:, [0, 2]], torch.ones(1, 2, 2) > 0)[0]
    torch.testing.assert_close(total, others)


def test_the_gradients_of_the_losses_of_growing_seeds_are_right() -> None:
    logits = torch.randn(2, 3, 3, 3, generator=generator_of(0), dtype=torch.double, requires_grad=True)
    labels = torch.stack([picture("0.1", ".22", "..1"), picture("...", "...", "...")])
    refined, mask = shares_of(2, 2, 3, 3, 3), labels != IGNORE

    def judged(logits: Tensor) -> tuple[Tensor, Tensor]:
        shares = floored_softmax(logits)
        return balanced_seed_loss(shares, labels)[0], constrain_loss(shares, refined, mask)[0]

    assert torch.autograd.gradcheck(judged, (logits,))


def test_no_gradient_flows_into_what_the_crf_made() -> None:
    shares, refined = shares_of(0, 1, 3, 2, 2).requires_grad_(), shares_of(1, 1, 3, 2, 2).requires_grad_()
    constrain_loss(shares, refined, torch.ones(1, 2, 2) > 0)[0].backward()  # type: ignore[no-untyped-call]
    assert refined.grad is None
    assert shares.grad is not None
    assert shares.grad.any()


def test_images_without_seeds_count_for_nothing() -> None:
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    labels = torch.full((2, 4, 4), IGNORE)
    assert_nothing_counts(balanced_seed_loss(floored_softmax(logits), labels), logits)
    nowhere = torch.zeros(2, 4, 4) > 0
    assert_nothing_counts(constrain_loss(floored_softmax(logits), torch.rand(2, 3, 4, 4), nowhere), logits)


def test_images_add_up_however_they_are_shared_out() -> None:
    shares, refined = shares_of(3, 4, 3, 5, 5), shares_of(4, 4, 3, 5, 5)
    labels = torch.randint(3, (4, 5, 5), generator=generator_of(5))
    labels[:3, 1:] = IGNORE
    mask = labels != IGNORE
    for index in (0, 1):
        parts = [balanced_seed_loss(shares[part], labels[part])[index] for part in (slice(0, 3), slice(3, 4))]
        torch.testing.assert_close(parts[0] + parts[1], balanced_seed_loss(shares, labels)[index])
        parts = [constrain_loss(shares[p], refined[p], mask[p])[index] for p in (slice(0, 3), slice(3, 4))]
        torch.testing.assert_close(parts[0] + parts[1], constrain_loss(shares, refined, mask)[index])


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


def test_undecided_pixels_cost_their_entropy_by_hand() -> None:
    shares = torch.tensor([[[[0.5, 1.0, 0.25]], [[0.5, 0.0, 0.25]], [[0.0, 0.0, 0.5]]]])
    total, count = pixel_entropy_loss(shares, torch.tensor([[[True, True, False]]]))
    assert count == 2
    assert total.item() == pytest.approx(math.log(2))
    total, count = pixel_entropy_loss(shares, torch.tensor([[[False, False, True]]]))
    assert total.item() == pytest.approx(1.5 * math.log(2))


@given(seed=seeds)
def test_pixels_are_as_undecided_as_regions_of_one_pixel(seed: int) -> None:
    shares, mask = shares_of(seed, 3, 4, 5, 2), mask_of(seed + 1, 3, 5, 2)
    for pixels, regions in zip(
        pixel_entropy_loss(shares, mask), entropy_loss(shares.movedim(1, -1)[mask]), strict=True
    ):
        torch.testing.assert_close(pixels, regions)
    assert_the_parts_add_up(pixel_entropy_loss, shares, mask)


def test_the_entropy_of_a_sure_pixel_has_a_slope() -> None:
    logits = torch.tensor([[[[0.0]], [[-200.0]]]], requires_grad=True)
    pixel_entropy_loss(logits.softmax(dim=1), torch.ones(1, 1, 1) > 0)[0].backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    shares, mask = shares_of(1, 2, 3, 2, 2), mask_of(2, 2, 2, 2)
    assert_the_slope_is_right(lambda values: pixel_entropy_loss(values, mask), shares)


def test_no_pixel_is_undecided_where_none_counts() -> None:
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    assert_nothing_counts(pixel_entropy_loss(logits.softmax(dim=1), torch.zeros(2, 4, 4) > 0), logits)
