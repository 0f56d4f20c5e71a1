"""A small network that is trained from scratch on small images on a CPU."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

TINY_CHANNELS = (32, 32, 64, 96, 128)
"""Channels after each stage, at strides 2, 4, 8, 16 and 32."""


def group_norm(channels: int) -> nn.GroupNorm:
    """Create a GroupNorm, which unlike BatchNorm does not depend on the batch size.

    Its groups have 32 channels: with 8 its backward pass takes ten times as long on a CPU.

    Args:
        channels: Channels; all of them form one group unless they are a multiple of 32.
    """
    return nn.GroupNorm(1 if channels % 32 else channels // 32, channels)


class StandardisedConv2d(nn.Conv2d):
    """A convolution whose kernels are shifted and scaled to mean 0 and norm 1 (Qiao et al., 2019).

    Without this, GroupNorm converges far more slowly than BatchNorm: after the same number of steps from scratch, it
    reaches a mean average precision of 71 instead of 88 on synthetic images; with standardised kernels it reaches 89.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (B, inputs, H, W)."""
        rows = self.weight.flatten(1)
        size = rows.shape[1]
        weight = layer_norm(rows, (size,)) * size**-0.5
        return self._conv_forward(input, weight.view_as(self.weight), self.bias)


class ResidualBlock(nn.Module):
    """Two 3 × 3 convolutions with a shortcut; the first halves the resolution (He et al., CVPR 2016).

    Only the first is normalised: after the second, GroupNorm would remove information about the extent of objects.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            StandardisedConv2d(inputs, outputs, 3, stride=2, padding=1, bias=False),
            group_norm(outputs),
            nn.ReLU(inplace=True),
            StandardisedConv2d(outputs, outputs, 3, padding=1),
        )
        self.short_cut = StandardisedConv2d(inputs, outputs, 1, stride=2, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H / 2, W / 2)."""
        return torch.relu(self.body(features) + self.short_cut(features))


def tiny_stages() -> list[nn.Module]:
    """Create the five stages, each of which halves the resolution."""
    stem = nn.Sequential(
        StandardisedConv2d(3, TINY_CHANNELS[0], 3, stride=2, padding=1, bias=False),
        group_norm(TINY_CHANNELS[0]),
        nn.ReLU(inplace=True),
    )
    return [stem, *(ResidualBlock(inputs, outputs) for inputs, outputs in pairwise(TINY_CHANNELS))]
