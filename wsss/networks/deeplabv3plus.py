"""DeepLabv3+ (Chen et al., ECCV 2018) with GroupNorm, light enough for CPUs."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from wsss.networks.backbones import Backbone
from wsss.networks.convolution import DepthwiseConv2d
from wsss.networks.tiny import group_norm

PUBLISHED_RATES = (6, 12, 18)
"""Dilations of the paper, for stride 16 and crops of ``PUBLISHED_CROP`` pixels."""

PUBLISHED_CROP = 513


def aspp_rates(output_stride: int, crop: int = PUBLISHED_CROP) -> tuple[int, int, int]:
    """Scale the paper's dilations to another stride and crop, so that they cover the same share of an image.

    Args:
        output_stride: Output stride of the backbone in image pixels.
        crop: Side of the training crops in pixels.

    Returns:
        Three increasing dilations, the smallest at least 1.
    """
    small, middle, large = (max(1, round(r * 16 / output_stride * crop / PUBLISHED_CROP)) for r in PUBLISHED_RATES)
    middle = max(middle, small + 1)
    return small, middle, max(large, middle + 1)


def separable_conv(inputs: int, outputs: int) -> nn.Sequential:
    """Create a depthwise 3 × 3 and a pointwise convolution with GroupNorm and ReLU after the second."""
    return nn.Sequential(DepthwiseConv2d(inputs), pointwise_conv(inputs, outputs))


def dilated_branch(inputs: int, outputs: int, dilation: int) -> nn.Sequential:
    """Create a pointwise and a dilated depthwise 3 × 3 convolution with GroupNorm and ReLU after the second.

    In this order (Haase and Amthor, CVPR 2020) the dilated one has the few channels of the ASPP, not the backbone's
    many.
    """
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, bias=False),
        DepthwiseConv2d(outputs, dilation=dilation),
        group_norm(outputs),
        nn.ReLU(inplace=True),
    )


def pointwise_conv(inputs: int, outputs: int) -> nn.Sequential:
    """Create a 1 × 1 convolution with GroupNorm and ReLU."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), group_norm(outputs), nn.ReLU(inplace=True))


class AtrousPyramid(nn.Module):
    """Atrous spatial pyramid pooling (ASPP): convolutions with several dilations, and global average pooling.

    Args:
        inputs: Channels of the features.
        width: Channels of each branch and of the result.
        rates: One dilation for each separable 3 × 3 branch.
        dropout: Dropout rate of the result's channels.
    """

    def __init__(self, inputs: int, width: int, rates: tuple[int, ...], *, dropout: float = 0.1) -> None:
        super().__init__()
        self.near = pointwise_conv(inputs, width)
        self.far = nn.ModuleList(dilated_branch(inputs, width, rate) for rate in rates)
        # a single position has no variance to normalise by
        self.whole = nn.Sequential(nn.Conv2d(inputs, width, 1), nn.ReLU(inplace=True))
        self.project = nn.Sequential(pointwise_conv(width * (len(rates) + 2), width), nn.Dropout2d(dropout))

    def forward(self, features: Float[Tensor, "B D h w"]) -> Float[Tensor, "B width h w"]:
        """Compute context features at every position."""
        whole = self.whole(features.mean(dim=(2, 3), keepdim=True)).expand(-1, -1, *features.shape[2:])
        branches = [self.near(features), *(branch(features) for branch in self.far), whole]
        return self.project(torch.cat(branches, dim=1))


class DeepLabV3Plus(nn.Module):
    """Backbone, ASPP, and a decoder that adds the detail of the features at stride 4.

    Beyond the paper, the last features also contribute to the logits directly, through a linear layer: the backbone's
    class knowledge reaches the output from the first step on, which small training sets need.

    Args:
        backbone: The backbone.
        classes: Number K of labels, background included.
        width: Channels of the ASPP and the decoder.
        rates: Dilations of the ASPP; None takes the paper's for the backbone's output stride.
        dropout: Dropout rate of the ASPP's output channels.
    """

    def __init__(
        self,
        backbone: Backbone,
        classes: int,
        *,
        width: int = 128,
        rates: tuple[int, ...] | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        rates = aspp_rates(backbone.output_stride) if rates is None else rates
        self.pyramid = AtrousPyramid(backbone.channels, width, rates, dropout=dropout)
        self.context = nn.Conv2d(width, width, 1, bias=False)
        self.detail = nn.Conv2d(backbone.low_channels, width, 1, bias=False)
        self.merge = nn.Sequential(group_norm(width), nn.ReLU(inplace=True))
        self.decoder = nn.Sequential(separable_conv(width, width), separable_conv(width, width))
        self.head = nn.Conv2d(width, classes, 1)
        self.direct = nn.Conv2d(backbone.channels, classes, 1, bias=False)
        nn.init.normal_(self.direct.weight, std=0.01)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B K h w"]:
        """Compute logits at stride 4.

        Args:
            images: RGB in [0, 1].

        Returns:
            One logit per label; height and width are a quarter of the images', rounded up.
        """
        return self.look(images)[0]

    def look(self, images: Float[Tensor, "B 3 H W"]) -> tuple[Float[Tensor, "B K h w"], Float[Tensor, "B width h w"]]:
        """Compute logits at stride 4, and the decoder's features that they are computed from."""
        low, high = self.backbone(images)
        # the sum equals a 1 × 1 convolution of both, concatenated; its larger half runs before upsampling
        context = self._enlarge(self.context(self.pyramid(high)), low, self.backbone.anchor(4))
        # not convolved any further, these logits must be centred in each block of 4 × 4 pixels, as logits should be
        direct = self._enlarge(self.direct(high), low, 0.5)
        features = self.decoder(self.merge(context + self.detail(low)))
        return self.head(features) + direct, features

    def _enlarge(self, high: Tensor, low: Tensor, anchor: float) -> Tensor:
        """Upsample features to stride 4, at the positions of those features or at others in their blocks."""
        return self.backbone.enlarge(high, low.shape[2:], stride=self.backbone.output_stride, anchor=anchor)
