import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from wsss.functional.cam import class_activation_maps
from wsss.functional.gradcam import grad_cam, grad_cam_plus_plus


def gradients_of(logit: Tensor, activations: Tensor) -> Tensor:
    return torch.autograd.grad(logit.sum(), activations)[0]


def test_a_map_worked_out_by_hand() -> None:
    activations = torch.tensor([[[[1.0, 0.0]], [[0.0, 4.0]]]])
    gradients = torch.tensor([[[[1.0, 3.0]], [[-1.0, 0.0]]]])
    # the means of the gradients are 2 and -1/2; evidence against the class counts as none
    assert grad_cam(activations, gradients).tolist() == [[[2.0, 0.0]]]
    # the first channel sums to 1: 1 / (2 + 1) + 3 / (2 + 3); the second never speaks for the class
    torch.testing.assert_close(grad_cam_plus_plus(activations, gradients), torch.tensor([[[1 / 3 + 3 / 5, 0.0]]]))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_grad_cam_of_an_averaged_linear_head_is_its_class_activation_map(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    activations = torch.randn(2, 5, 3, 4, generator=generator).requires_grad_()
    weights = torch.randn(3, 5, generator=generator)
    cams = class_activation_maps(activations.detach(), weights)
    for label in range(3):
        logit = activations.mean(dim=(2, 3)) @ weights[label]
        found = grad_cam(activations.detach(), gradients_of(logit, activations))
        torch.testing.assert_close(12 * found, cams[:, label])


def slow_grad_cam_plus_plus(activations: Tensor, weights: Tensor) -> Tensor:
    """The paper, one position after the other: Y = exp(S), with S linear, and its derivatives by autograd."""
    activations = activations.clone().requires_grad_()
    channels, height, width = activations.shape
    score = (activations * weights).sum().exp()
    (first,) = torch.autograd.grad(score, activations, create_graph=True)
    map_ = torch.zeros(height, width, dtype=activations.dtype)
    for channel in range(channels):
        weight = 0.0
        for row in range(height):
            for column in range(width):
                place = (channel, row, column)
                (gradient,) = torch.autograd.grad(first[place], activations, create_graph=True)
                second = gradient[place]
                (gradient,) = torch.autograd.grad(second, activations, retain_graph=True)
                third = gradient[place]
                share = second / (2 * second + (activations[channel] * third).sum())
                weight += float((share * first[place].relu()).detach())
        map_ += weight * activations[channel].detach()
    return map_.relu() / score.detach()


@pytest.mark.parametrize("seed", range(3))
def test_grad_cam_plus_plus_is_the_papers_but_for_the_exponential_of_the_logit(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    activations = torch.rand(4, 2, 3, generator=generator, dtype=torch.float64)
    weights = torch.randn(4, 2, 3, generator=generator, dtype=torch.float64)
    found = grad_cam_plus_plus(activations[None], weights[None])[0]
    torch.testing.assert_close(found, slow_grad_cam_plus_plus(activations, weights))
    assert found.max() > 0


def test_a_channel_that_sums_to_less_than_nothing_keeps_the_sign_of_its_weight() -> None:
    activations = torch.tensor([[[[1.0, -5.0]]]])
    assert grad_cam_plus_plus(activations, torch.ones(1, 1, 1, 2)).tolist() == [[[1.0, 0.0]]]


@pytest.mark.parametrize("method", [grad_cam, grad_cam_plus_plus])
def test_without_gradients_there_is_no_map(method: object) -> None:
    assert callable(method)
    assert not method(torch.rand(2, 3, 4, 5), torch.zeros(2, 3, 4, 5)).any()


def test_images_do_not_see_each_other() -> None:
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 1))
    activations = torch.rand(3, 4, 5, 5, requires_grad=True)
    gradients = gradients_of(network(activations), activations)
    for method in (grad_cam, grad_cam_plus_plus):
        together = method(activations.detach(), gradients)
        for number in range(3):
            alone = activations[number : number + 1].detach().requires_grad_()
            torch.testing.assert_close(method(alone.detach(), gradients_of(network(alone), alone))[0], together[number])
