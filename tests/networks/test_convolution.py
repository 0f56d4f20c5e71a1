import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from wsss.networks.convolution import (
    DepthwiseConv2d,
    FrozenNorm,
    NormedConv2d,
    convolve,
    freeze_norms,
    join_phases,
    split_phases,
)


def whole_numbers(*shape: int, dtype: torch.dtype, seed: int) -> Tensor:
    # small enough that sums of their products are exact in bfloat16 too
    values = torch.randint(-1, 2, shape, generator=torch.Generator().manual_seed(seed))
    return values.to(dtype).requires_grad_()


def took_the_quick_way(result: Tensor) -> bool:
    return "DepthwiseConv" in type(result.grad_fn).__name__


@pytest.mark.parametrize(
    ("stride", "dilation", "size", "dtype", "quick"),
    [
        (1, 2, (6, 8), torch.float32, True),
        (1, 2, (7, 9), torch.bfloat16, True),
        (1, 3, (10, 8), torch.float64, True),
        (2, 1, (8, 8), torch.bfloat16, True),
        (2, 1, (7, 5), torch.bfloat16, True),
        (2, 1, (1, 1), torch.bfloat16, True),
        (1, 3, (6, 8), torch.float32, False),
        (1, 1, (6, 8), torch.bfloat16, False),
        (2, 1, (8, 8), torch.float32, False),
        (2, 2, (8, 8), torch.float32, False),
    ],
)
def test_a_depthwise_convolution_and_its_gradients_equal_torchs(
    stride: int, dilation: int, size: tuple[int, int], dtype: torch.dtype, quick: bool
) -> None:
    images = whole_numbers(2, 3, *size, dtype=dtype, seed=0)
    weight, bias = whole_numbers(3, 1, 3, 3, dtype=dtype, seed=1), whole_numbers(3, dtype=dtype, seed=2)
    ours = convolve(images, weight, bias, stride=stride, padding=dilation, dilation=dilation)
    assert took_the_quick_way(ours) == quick
    double = [tensor.detach().double().requires_grad_() for tensor in (images, weight, bias)]
    torchs = conv2d(double[0], double[1], double[2], stride, dilation, dilation, groups=3)
    assert torch.equal(ours.double(), torchs)
    upstream = whole_numbers(*ours.shape, dtype=dtype, seed=3).detach()
    gradients = torch.autograd.grad(ours, (images, weight, bias), upstream)
    expected = torch.autograd.grad(torchs, double, upstream.double())
    for gradient, wanted in zip(gradients, expected, strict=True):
        assert torch.equal(gradient.double(), wanted)


def test_kernels_that_do_not_learn_get_no_gradient_and_pass_it_on() -> None:
    images = whole_numbers(1, 2, 9, 9, dtype=torch.float32, seed=0)
    weight = whole_numbers(2, 1, 3, 3, dtype=torch.float32, seed=1).detach()
    ours = convolve(images, weight, padding=2, dilation=2)
    torchs = conv2d(images, weight, None, 1, 2, 2, 2)
    assert took_the_quick_way(ours)
    assert torch.equal(*(torch.autograd.grad(result.square().sum(), images)[0] for result in (ours, torchs)))


def test_images_that_need_no_gradient_still_teach_the_kernels() -> None:
    images = whole_numbers(1, 2, 8, 8, dtype=torch.bfloat16, seed=0).detach()
    weight = whole_numbers(2, 1, 3, 3, dtype=torch.bfloat16, seed=1)
    ours, torchs = convolve(images, weight, stride=2, padding=1), conv2d(images, weight, None, 2, 1, 1, 2)
    assert torch.equal(*(torch.autograd.grad(result.sum(), weight)[0] for result in (ours, torchs)))


def test_under_autocast_the_result_is_bfloat16_and_the_gradient_as_wide_as_the_kernels() -> None:
    images, weight = torch.rand(1, 2, 8, 8), torch.rand(2, 1, 3, 3, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        ours = convolve(images, weight, stride=2, padding=1)
    assert ours.dtype == torch.bfloat16
    assert took_the_quick_way(ours)
    assert torch.autograd.grad(ours.sum(), weight)[0].dtype == torch.float32


@pytest.mark.parametrize("groups", [1, 2])
def test_other_convolutions_are_torchs(groups: int) -> None:
    images, weight = torch.rand(2, 4, 5, 6), torch.rand(6, 4 // groups, 3, 3)
    ours = convolve(images, weight, stride=2, padding=2, dilation=2)
    assert torch.equal(ours, conv2d(images, weight, None, 2, 2, 2, groups))


def test_phases_hold_every_second_row_and_column() -> None:
    image = torch.arange(6.0).view(1, 1, 2, 3)
    phases = split_phases(image, 2)
    # 0 1 2      0 2 | 1 .
    # 3 4 5  ->  3 5 | 4 .   with a zero where the image has ended
    assert phases.flatten(1).tolist() == [[0, 2], [1, 0], [3, 5], [4, 0]]
    assert torch.equal(join_phases(phases, 2)[..., :3], image)


def test_a_depthwise_layer_keeps_the_size_and_each_channel_apart() -> None:
    layer = DepthwiseConv2d(3, dilation=2)
    images = torch.rand(1, 3, 7, 9)
    changed = images.clone()
    changed[:, 1] = 0
    difference = (layer(images) - layer(changed)).abs().amax(dim=(0, 2, 3))
    assert layer(images).shape == images.shape
    assert (difference > 0).tolist() == [False, True, False]


def used_norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels).double()
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        assert tensor is not None
        nn.init.uniform_(tensor, 0.5, 1.5)
    return norm.eval()


def test_a_folded_norm_and_its_gradients_equal_a_batchnorm_in_evaluation() -> None:
    conv, norm = nn.Conv2d(3, 4, 3, padding=1, bias=False).double(), used_norm(4)
    images = torch.rand(2, 3, 5, 6, dtype=torch.float64, requires_grad=True)
    learning = (images, conv.weight, norm.weight, norm.bias)
    expected = norm(conv(images))
    ours = NormedConv2d(conv, FrozenNorm(norm))(images)
    torch.testing.assert_close(ours, expected)
    for gradient, wanted in zip(
        torch.autograd.grad(ours.square().sum(), learning),
        torch.autograd.grad(expected.square().sum(), learning),
        strict=True,
    ):
        torch.testing.assert_close(gradient, wanted)


def test_freezing_keeps_the_names_of_the_weights_at_any_depth() -> None:
    network = nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.BatchNorm2d(2), nn.ReLU()), nn.Conv2d(2, 1, 1)
    )
    before = network.state_dict()
    freeze_norms(network)
    assert list(network.state_dict()) == list(before)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    network.load_state_dict(before)


def test_the_bias_of_a_convolution_is_folded_too() -> None:
    conv, norm = nn.Conv2d(1, 2, 1).double(), used_norm(2)
    network, images = nn.Sequential(conv, norm), torch.rand(1, 1, 2, 2, dtype=torch.float64)
    expected = network(images)
    freeze_norms(network)
    torch.testing.assert_close(network.eval()(images), expected)


@pytest.mark.parametrize("activation", [nn.ReLU(inplace=True), nn.ReLU6(inplace=True), nn.Hardswish()])
@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 6, 1, bias=False),
        nn.Conv2d(4, 6, 3, stride=2, padding=1),
        nn.Conv2d(4, 4, 3, padding=4, dilation=4, groups=4, bias=False),
    ],
    ids=["pointwise", "strided", "dilated depthwise"],
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_activations_are_the_same_whether_or_not_they_are_folded_into_the_convolution(
    conv: nn.Conv2d, activation: nn.Module, layout: torch.memory_format
) -> None:
    # so large that ReLU6 has something to cut off
    network = nn.Sequential(conv, used_norm(conv.out_channels).float(), activation)
    images = (20 * torch.randn(2, 4, 11, 7)).contiguous(memory_format=layout)
    with torch.no_grad():
        expected = network(images)
    folded = copy.deepcopy(network)
    freeze_norms(folded)
    folded.eval()
    torch.testing.assert_close(folded(images), expected)
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            torch.testing.assert_close(folded(images), expected)


def test_an_activation_is_folded_only_where_it_follows_at_once() -> None:
    class Block(nn.Module):
        """As in ResNets: the activation comes after the sum, though it is listed after the norm."""

        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.relu = nn.Conv2d(2, 2, 1), used_norm(2).float(), nn.ReLU()

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.relu(self.norm(self.conv(images)) + images)

    block, images = Block(), torch.randn(2, 2, 5, 5)
    with torch.no_grad():
        expected = block(images)
        freeze_norms(block)
        torch.testing.assert_close(block(images), expected)


def test_nothing_is_fused_under_autocast_or_where_gradients_are_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.ReLU())
    freeze_norms(network)
    monkeypatch.setattr(NormedConv2d, "_fused", lambda *_: pytest.fail("it has no backward pass"))
    assert network(torch.rand(1, 1, 3, 3)).requires_grad
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert network(torch.rand(1, 1, 3, 3)).dtype == torch.bfloat16
