"""A small network that learns small pictures from nothing on a processor."""

import itertools

import torch
from torch import Tensor, nn

TINY_CHANNELS = (32, 32, 64, 96, 128)
"""Channels after each stage, at strides 2, 4, 8, 16 and 32."""


def group_norm(channels: int) -> nn.GroupNorm:
    """Make a GroupNorm, which unlike BatchNorm does not know how large a batch is.

    Its groups have 32 channels: with 8 its backward pass takes ten times as long on a processor.

    Args:
        channels: Channels; all of them form one group unless they are a multiple of 32.
    """
    return nn.GroupNorm(1 if channels % 32 else channels // 32, channels)


class ResidualBlock(nn.Module):
    """Two 3 × 3 convolutions with GroupNorm, beside a short cut (He et al., CVPR 2016; Wu and He, ECCV 2018)."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            group_norm(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            group_norm(outputs),
        )
        plain = stride == 1 and inputs == outputs
        self.short_cut = nn.Identity() if plain else nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        return torch.relu(self.body(features) + self.short_cut(features))


def tiny_stages() -> list[nn.Module]:
    """Make the five stages, each of which halves the resolution."""
    stem = nn.Sequential(
        nn.Conv2d(3, TINY_CHANNELS[0], 3, stride=2, padding=1, bias=False),
        group_norm(TINY_CHANNELS[0]),
        nn.ReLU(inplace=True),
    )
    pairs = itertools.pairwise(TINY_CHANNELS)
    return [stem, *(ResidualBlock(inputs, outputs, stride=2) for inputs, outputs in pairs)]
