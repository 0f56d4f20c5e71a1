import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import interpolate

from tests.functional.slow_trees import slow_filter
from wsss.functional.spanning_trees import neighbour_distances
from wsss.functional.tree_energy import tree_energy_loss

seeds, sides = st.integers(0, 10_000), st.integers(1, 8)


def draw(seed: int, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Probabilities, pixels without a label, images and features of two images."""
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.randn(2, 4, height, width, generator=generator).double().softmax(dim=1)
    unlabelled = torch.rand(2, height, width, generator=generator) < 0.7
    images = torch.rand(2, 3, height, width, generator=generator)
    return probabilities, unlabelled, images, torch.randn(2, 5, height, width, generator=generator)


@settings(max_examples=20)
@given(seed=seeds, height=sides, width=sides)
def test_the_target_is_filtered_by_the_colours_and_then_by_the_features(seed: int, height: int, width: int) -> None:
    probabilities, unlabelled, images, features = draw(seed, height, width)
    target = slow_filter(probabilities, neighbour_distances(images), 0.02)
    for given_features in (None, features):
        if given_features is not None:
            target = slow_filter(target, neighbour_distances(given_features), 1.0)
        total, count = tree_energy_loss(probabilities, unlabelled, images, given_features)
        each = (probabilities - target).abs().sum(dim=1)
        torch.testing.assert_close(total, each[unlabelled].sum(), rtol=0, atol=1e-6)
        assert count == unlabelled.sum()


def test_a_pixel_is_pulled_towards_those_of_its_colour_labelled_ones_among_them() -> None:
    images = torch.tensor([0.0, 0, 0, 1, 1])[None, None, None].expand(1, 3, 1, 5)
    first = torch.tensor([0.9, 0.6, 0.3, 0.2, 0.4])
    probabilities = torch.stack([first, 1 - first])[None, :, None]
    unlabelled = torch.tensor([False, True, True, True, False])[None, None]
    # the dark three agree on 0.6, the bright two on 0.3; both labels differ alike
    total, count = tree_energy_loss(probabilities, unlabelled, images)
    assert total.item() == pytest.approx(2 * (0 + 0.3 + 0.1))
    assert count == 3


def test_images_and_features_of_other_sizes_are_brought_to_that_of_the_predictions() -> None:
    probabilities, unlabelled, images, features = draw(0, 6, 8)
    large, small = interpolate(images, (24, 32), mode="bilinear"), features[..., ::2, ::2]
    same = tree_energy_loss(
        probabilities,
        unlabelled,
        interpolate(large, (6, 8), mode="bilinear"),
        interpolate(small, (6, 8), mode="bilinear"),
    )
    torch.testing.assert_close(tree_energy_loss(probabilities, unlabelled, large, small), same)


def test_predictions_that_all_agree_cost_nothing() -> None:
    probabilities, unlabelled, images, features = draw(1, 7, 5)
    probabilities = probabilities[..., :1, :1].expand_as(probabilities)
    assert tree_energy_loss(probabilities, unlabelled, images, features)[0].item() == pytest.approx(0, abs=1e-9)


@settings(max_examples=20)
@given(seed=seeds)
def test_images_add_up_however_they_are_shared_out(seed: int) -> None:
    batch = draw(seed, 5, 6)
    parts = [tree_energy_loss(*(tensor[image : image + 1] for tensor in batch)) for image in range(2)]
    torch.testing.assert_close(tree_energy_loss(*batch), tuple(map(sum, zip(*parts, strict=True))))


@pytest.mark.parametrize("fixed_target", [False, True])
def test_where_every_pixel_has_a_label_nothing_counts(fixed_target: bool) -> None:
    probabilities, unlabelled, images, features = draw(2, 4, 6)
    probabilities.requires_grad_()
    features.requires_grad_()
    total, count = tree_energy_loss(
        probabilities, torch.zeros_like(unlabelled), images, features, fixed_target=fixed_target
    )
    assert (total.item(), count.item()) == (0, 0)
    total.backward()  # type: ignore[no-untyped-call]
    assert probabilities.grad is not None
    assert not probabilities.grad.any()
    assert features.grad is None or not features.grad.any()


@pytest.mark.parametrize("seed", range(3))
def test_gradients_are_those_of_finite_differences(seed: int) -> None:
    probabilities, unlabelled, images, features = draw(seed, 3, 4)
    leaves = probabilities.requires_grad_(), features.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda p, f: tree_energy_loss(p, unlabelled, images, f)[0], leaves, fast_mode=True)


@settings(max_examples=20)
@given(seed=seeds)
def test_a_fixed_target_pulls_each_prediction_by_the_sign_of_its_difference(seed: int) -> None:
    probabilities, unlabelled, images, features = draw(seed, 6, 5)
    # no pixel so unlike its neighbours that it is its own target, where the sign would be that of a rounding error
    images, features = images / 10, features / 10
    probabilities.requires_grad_()
    features.requires_grad_()
    total, _ = tree_energy_loss(probabilities, unlabelled, images, features, fixed_target=True)
    torch.testing.assert_close(total, tree_energy_loss(probabilities, unlabelled, images, features)[0])
    total.backward()  # type: ignore[no-untyped-call]
    target = slow_filter(probabilities, neighbour_distances(images), 0.02)
    target = slow_filter(target, neighbour_distances(features.detach()), 1.0)
    assert probabilities.grad is not None
    torch.testing.assert_close(probabilities.grad, (probabilities.detach() - target).sign() * unlabelled[:, None])
    assert features.grad is None


def test_pixels_that_are_not_to_be_heard_change_nothing_for_others() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(1, 3, 6, 6, generator=generator)
    inside = torch.ones(1, 6, 6, dtype=torch.bool)
    inside[:, :, 4:] = False
    losses = []
    for filling in (0.1, 0.9):
        probabilities = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(1)).softmax(dim=1)
        probabilities[:, :, :, 4:] = torch.tensor([filling, 1 - filling, 0.0])[None, :, None, None]
        losses.append(tree_energy_loss(probabilities, inside, images, inside=inside, sigma=0.5)[0])
    torch.testing.assert_close(losses[0], losses[1])
    assert losses[0] > 0
