import inspect
import math
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.functional.slow_trees import slow_filter
from wsss.functional import tree_filter as module
from wsss.functional.spanning_trees import neighbour_distances
from wsss.functional.tree_filter import tree_filter

seeds, sides = st.integers(0, 10_000), st.integers(1, 12)


@pytest.fixture(params=["levels", "doublings"], scope="module")
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """What sums along the trees: the way of the CPU, and that of other devices."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "doublings":
            patch.setattr(module, "_climb", module._climb_doubling)
            patch.setattr(module, "_descend", module._descend_doubling)
        yield request.param


def draw(seed: int, *shape: int, levels: int = 2**20, dtype: torch.dtype = torch.float64) -> Tensor:
    """Random numbers in [0, 1); few levels make many of them equal, one makes all of them 0."""
    return torch.randint(levels, shape, generator=torch.Generator().manual_seed(seed)).to(dtype) / levels


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@settings(max_examples=30)
@given(
    seed=seeds,
    height=sides,
    width=sides,
    levels=st.sampled_from([1, 2, 4, 256, 2**20]),
    sigma=st.sampled_from([0.02, 0.3, 10]),
)
def test_each_pixel_averages_all_others_along_the_tree(
    dtype: torch.dtype, seed: int, height: int, width: int, levels: int, sigma: float
) -> None:
    values = draw(seed, 2, 3, height, width, dtype=dtype)
    features = draw(seed + 1, 2, 2, height, width, levels=levels, dtype=dtype)
    expected = slow_filter(values, neighbour_distances(features), sigma)
    averages = tree_filter(values, features, sigma=sigma)
    assert averages.dtype == dtype
    torch.testing.assert_close(averages.double(), expected, rtol=0, atol=1e-6)


@pytest.mark.usefixtures("way")
def test_weights_fall_along_the_way_and_not_across() -> None:
    # around the corner pixel 0 is 4 + 1 + 1 from pixel 1, though they are neighbours: their edge is 6² long
    features = torch.tensor([[0.0, 6.0], [2.0, 3.0]])[None, None]
    values = torch.tensor([[1.0, 0.0], [0.0, 0.0]])[None, None]
    weights = [math.exp(-length / 10) for length in (0, 4 + 1 + 9, 4, 4 + 1)]
    assert tree_filter(values, features, sigma=10)[0, 0, 0, 0].item() == pytest.approx(1 / sum(weights))


@pytest.mark.usefixtures("way")
def test_two_flat_halves_with_a_strong_edge_do_not_mix() -> None:
    features = torch.zeros(1, 3, 30, 40)
    features[..., 17:] = 1
    values = draw(0, 1, 4, 30, 40, dtype=torch.float32)
    halves = tree_filter(values, features, sigma=0.02).split([17, 23], dim=3)
    for half, before in zip(halves, values.split([17, 23], dim=3), strict=True):
        torch.testing.assert_close(half, before.mean(dim=(2, 3), keepdim=True).expand_as(half))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("levels", [1, 8, 2**20])
def test_what_is_constant_stays_constant(levels: int) -> None:
    values = torch.tensor([0.0, 1.0, -3.0])[None, :, None, None].expand(2, 3, 50, 40)
    features = draw(1, 2, 3, 50, 40, levels=levels, dtype=torch.float32)
    torch.testing.assert_close(tree_filter(values, features, sigma=0.02), values)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("size", [(1, 1), (1, 4), (3, 1), (4, 3)])
def test_gradients_of_values_and_features_are_those_of_finite_differences(size: tuple[int, int]) -> None:
    values, features = draw(0, 2, 2, *size).requires_grad_(), draw(1, 2, 2, *size).requires_grad_()
    assert torch.autograd.gradcheck(lambda *leaves: tree_filter(*leaves, sigma=0.5), (values, features), atol=1e-6)


@pytest.mark.usefixtures("way")
def test_values_that_want_no_gradient_leave_that_of_the_features_as_it_is() -> None:
    values, features = draw(0, 2, 3, 6, 5), draw(1, 2, 2, 6, 5)
    pull = draw(2, 2, 3, 6, 5)
    both = torch.autograd.grad(
        (tree_filter(values.requires_grad_(), features.requires_grad_()) * pull).sum(), [values, features]
    )
    alone = [
        torch.autograd.grad((tree_filter(values, features.detach()) * pull).sum(), values)[0],
        torch.autograd.grad((tree_filter(values.detach(), features) * pull).sum(), features)[0],
    ]
    for one, other in zip(both, alone, strict=True):
        assert one.any()
        torch.testing.assert_close(one, other)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("scale", [0, 1e-30, 1, 1e4])
def test_averages_and_gradients_are_finite_however_long_the_edges(scale: float) -> None:
    values = draw(0, 1, 3, 64, 64, dtype=torch.float32).requires_grad_()
    features = (draw(1, 1, 3, 64, 64, dtype=torch.float32) * scale).requires_grad_()
    averages = tree_filter(values, features, sigma=0.02)
    averages.square().sum().backward()  # type: ignore[no-untyped-call]
    for tensor in (averages, values.grad, features.grad):
        assert tensor is not None
        assert tensor.isfinite().all()
    assert values.grad is not None
    assert values.grad.any()


def test_half_precision_is_filtered_in_single() -> None:
    values, features = draw(0, 1, 3, 9, 8).bfloat16().requires_grad_(), draw(1, 1, 3, 9, 8).bfloat16()
    averages = tree_filter(values, features)
    torch.testing.assert_close(averages, tree_filter(values.detach().float(), features.float()), rtol=0, atol=0)
    averages.square().sum().backward()  # type: ignore[no-untyped-call]
    assert values.grad is not None
    assert values.grad.dtype == torch.bfloat16


@pytest.mark.usefixtures("way")
def test_input_is_left_as_it_was_and_the_same_input_gives_the_same_bytes() -> None:
    values, features = draw(0, 2, 3, 20, 30), draw(1, 2, 3, 20, 30, levels=4)
    copies = values.clone(), features.clone()
    averages = tree_filter(values, features)
    assert torch.equal(averages, tree_filter(values, features))
    assert torch.equal(values, copies[0])
    assert torch.equal(features, copies[1])


def test_a_batch_without_images_stays_without() -> None:
    assert tree_filter(torch.zeros(0, 3, 4, 5), torch.zeros(0, 2, 4, 5)).shape == (0, 3, 4, 5)


@pytest.mark.parametrize("size", [(1, 3, 2, 8), (1, 3, 4, 5), (2, 3, 4, 4)])
def test_features_of_other_images_are_refused(size: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="values and features must have one batch, height and width"):
        # as it runs outside of the tests, where nobody checks the shapes that signatures tell
        inspect.unwrap(tree_filter)(torch.zeros(1, 1, 4, 4), torch.zeros(size))


@pytest.mark.parametrize("sigma", [0, -1.0, math.nan])
def test_a_sigma_that_is_not_positive_is_refused(sigma: float) -> None:
    with pytest.raises(ValueError, match="sigma must be greater than 0"):
        tree_filter(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), sigma=sigma)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_cuda_filters_as_the_cpu_does_and_gives_the_same_gradients() -> None:
    leaves = draw(0, 2, 21, 70, 50, dtype=torch.float32), draw(1, 2, 3, 70, 50, dtype=torch.float32)
    results = []
    for device in ("cpu", "cuda"):
        values, features = (leaf.to(device).requires_grad_() for leaf in leaves)
        averages = tree_filter(values, features, sigma=0.1)
        gradients = torch.autograd.grad(averages.square().sum(), [values, features])
        results.append([tensor.detach().cpu() for tensor in (averages, *gradients)])
    for here, there in zip(*results, strict=True):
        torch.testing.assert_close(there, here, rtol=1e-4, atol=1e-5)
