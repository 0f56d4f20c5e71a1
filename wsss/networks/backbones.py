"""Backbones: from an image to features at a quarter of its resolution and at the output stride."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from wsss.errors import require
from wsss.functional.resampling import read_between
from wsss.networks.convolution import freeze_norms
from wsss.networks.tiny import tiny_stages
from wsss.networks.weights import CLASSIFIER, load_weights

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)

STAGES = 5
"""Every backbone is divided into five stages that end at strides 2, 4, 8, 16 and 32."""


@dataclass(frozen=True)
class Body:
    """Recipe of one kind of backbone.

    Attributes:
        stages: Creates the five stages, given ``weights`` as in ``build_backbone``.
        low_channels: Channels at stride 4.
        channels: Channels at the output stride.
        pretrained: Whether weights for it exist.
        stride: Stride without dilation, the largest possible output stride.
        lean: As in ``Backbone``; 0 for odd kernels with symmetric padding.
    """

    stages: Callable[[str], list[nn.Module]]
    low_channels: int
    channels: int
    pretrained: bool = True
    stride: int = 32
    lean: float = 0.0


class Backbone(nn.Module):
    """Five stages of a classification network, the last of them dilated instead of strided.

    Images are normalised inside, so callers pass plain [0, 1].

    Attributes:
        low_channels: Channels Dl of the features at stride 4.
        channels: Channels D of the features at the output stride.
        output_stride: Image pixels from one feature to the next: 32, 16 or 8.
        lean: Position of the first feature's centre within the first block of pixels: 0 its first pixel, 1 its last.
        freeze_batchnorm: Whether BatchNorm keeps its loaded statistics; scale and shift are still trained.
        freeze_stages: Number of frozen first stages: they run without gradients, which also saves their backward pass.
        mean: Mean colour that is subtracted from images, in [0, 1].
        deviation: Standard deviation that images are divided by.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        stages: Sequence[nn.Module],
        *,
        low_channels: int,
        channels: int,
        output_stride: int = 32,
        freeze_batchnorm: bool = False,
        freeze_stages: int = 0,
        mean: Sequence[float] = IMAGENET_MEAN,
        deviation: Sequence[float] = IMAGENET_DEVIATION,
        lean: float = 0.0,
    ) -> None:
        super().__init__()
        require(output_stride in (8, 16, 32), "output_stride", "must be 8, 16 or 32", output_stride)
        require(0 <= freeze_stages <= STAGES, "freeze_stages", f"must lie in [0, {STAGES}]", freeze_stages)
        self.low_channels, self.channels, self.output_stride = low_channels, channels, output_stride
        self.freeze_batchnorm, self.freeze_stages = freeze_batchnorm, freeze_stages
        self.lean = lean
        self.stages = nn.ModuleList(stages)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(1, 3, 1, 1), persistent=False)
        for index, stage in enumerate(self.stages):
            if freeze_batchnorm or index < freeze_stages:
                freeze_norms(stage)
            stage.requires_grad_(index >= freeze_stages)

    @property
    def strides(self) -> tuple[int, ...]:
        """Image pixels from one feature to the next, at each of the levels."""
        return tuple(min(2 ** (index + 1), self.output_stride) for index in range(STAGES))

    def anchor(self, stride: int) -> float:
        """Return the position of a feature's centre in its block of pixels, as a share of the block.

        Odd kernels with symmetric padding centre the feature of each block on its first pixel; non-overlapping patches
        on its
        middle: 0.5.

        Args:
            stride: Pixels of a block's side.
        """
        return (self.lean * (stride - 1) + 0.5) / stride

    def enlarge(
        self, features: Float[Tensor, "B _ h w"], size: Sequence[int], *, stride: int, anchor: float
    ) -> Float[Tensor, "B _ low_h low_w"]:
        """Resample features to stride 4.

        Args:
            features: Features of another stride, or results computed from them.
            size: Height and width at stride 4.
            stride: Their stride.
            anchor: Position in each block of 4 × 4 pixels at which they are sampled, as a share of the block.
        """
        step = 4 / stride
        return read_between(features, size, (step, step), [anchor * step - self.anchor(stride)] * 2)

    def train(self, mode: bool = True) -> "Backbone":
        """Set the mode; frozen stages keep their statistics."""
        super().train(mode)
        for stage in self.stages[: self.freeze_stages]:
            stage.eval()
        return self

    def forward(
        self, images: Float[Tensor, "B 3 H W"]
    ) -> tuple[Float[Tensor, "B Dl low_h low_w"], Float[Tensor, "B D high_h high_w"]]:
        """Compute features.

        Args:
            images: RGB in [0, 1]; any size down to 1 × 1.

        Returns:
            Features at stride 4 and features at the output stride, each size rounded up; both follow a ReLU or a
            residual sum, so their values are not comparable with each other.
        """
        levels = self.levels(images)
        return levels[1], levels[-1]

    def levels(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """Compute the features at the end of each of the five stages.

        Args:
            images: RGB in [0, 1]; any size down to 1 × 1.
        """
        features = (images - self.mean) / self.deviation
        outputs: list[Tensor] = []
        for index, stage in enumerate(self.stages):
            with torch.set_grad_enabled(torch.is_grad_enabled() and index >= self.freeze_stages):
                features = stage(features)
            outputs.append(features)
        return outputs


def build_backbone(
    name: str,
    *,
    output_stride: int = 16,
    weights: str = "none",
    freeze_batchnorm: bool | None = None,
    freeze_stages: int = 0,
) -> Backbone:
    """Create a backbone by name.

    Args:
        name: A key of ``BACKBONES``.
        output_stride: 32, 16 or 8; dilation replaces the strides left out.
        weights: ``none`` (random), ``imagenet`` (torchvision's, downloaded), the path of a state dict of the
            torchvision classifier of that name, or ``CLASSIFIER``.
        freeze_batchnorm: Whether BatchNorm keeps its statistics; None freezes exactly when weights are loaded.
        freeze_stages: Number of frozen first stages (0 … 5).

    Raises:
        SettingsError: If a name or number is invalid, or the weights cannot be read or do not fit.
    """
    check_backbone(name, output_stride=output_stride, weights=weights, freeze_stages=freeze_stages)
    body, loaded = BACKBONES[name], weights != "none"
    stages = body.stages("none" if weights == CLASSIFIER else weights)
    replace_stride_with_dilation(stages, output_stride)
    return Backbone(
        stages,
        low_channels=body.low_channels,
        channels=body.channels,
        output_stride=output_stride,
        freeze_batchnorm=loaded if freeze_batchnorm is None else freeze_batchnorm,
        freeze_stages=freeze_stages,
        lean=body.lean,
    )


def check_backbone(name: str, *, output_stride: int = 16, weights: str = "none", freeze_stages: int = 0) -> None:
    """Check the arguments of ``build_backbone``, as far as possible without reading weights.

    Args:
        name: As in ``build_backbone``.
        output_stride: As in ``build_backbone``.
        weights: As in ``build_backbone``.
        freeze_stages: As in ``build_backbone``.

    Raises:
        SettingsError: If a name or number is invalid.
    """
    require(name in BACKBONES, "network", f"must be one of {', '.join(BACKBONES)}", name)
    body, loaded = BACKBONES[name], weights != "none"
    require(body.pretrained or weights in ("none", CLASSIFIER), "weights", f"must be none for {name}", weights)
    require(loaded or freeze_stages == 0, "freeze_stages", "must be 0 where no weights are loaded", freeze_stages)
    require(output_stride <= body.stride, "output_stride", f"must be 8 or {body.stride} for {name}", output_stride)


def replace_stride_with_dilation(stages: Sequence[nn.Module], output_stride: int) -> None:
    """Replace the strides beyond the output stride by dilation (Chen et al., ICLR 2015).

    The layer that loses its stride keeps its dilation and the dilation of all later ones doubles, so at every second
    position the features equal those of the strided network.

    Args:
        stages: The five stages, changed in place; convolutions and max pooling are affected.
        output_stride: Remaining stride.
    """
    dilation = 1
    for index, stage in enumerate(stages):
        excess = 2 ** (index + 1) > output_stride
        for module in stage.modules():
            if not isinstance(module, nn.Conv2d | nn.MaxPool2d):
                continue
            reach, side = dilation, _side(module.kernel_size)
            if excess and _side(module.stride) == 2:
                module.stride = (1, 1)
                # the 1 × 1 stride of a shortcut belongs to the same downsampling
                if side > 1:
                    dilation *= 2
            if reach > 1 and side > 1:
                module.dilation = (reach, reach)
                module.padding = (reach * (side // 2), reach * (side // 2))


def _side(size: int | tuple[int, ...]) -> int:
    return size if isinstance(size, int) else size[0]


def _features(name: str, weights: str, *ends: int) -> list[nn.Module]:
    from torchvision import models

    network = models.get_model(name, weights=None)
    if weights != "none":
        load_weights(network, name, weights, head="classifier")
    return [network.features[start:end] for start, end in itertools.pairwise((0, *ends))]


def _squeezenet(weights: str) -> list[nn.Module]:
    stages = _features("squeezenet1_1", weights, 2, 5, 8, 11, 13)
    # torchvision's layers lose pixels at the edges; padding keeps their values and makes sizes halve, rounded up
    for module in itertools.chain.from_iterable(stage.children() for stage in stages):
        if isinstance(module, nn.Conv2d | nn.MaxPool2d):
            module.padding = (1, 1)
        if isinstance(module, nn.MaxPool2d):
            module.ceil_mode = False
    return stages


def _resnet(name: str, weights: str) -> list[nn.Module]:
    from torchvision import models

    network = models.get_model(name, weights=None)
    if weights != "none":
        load_weights(network, name, weights, head="fc")
    stem = nn.Sequential(network.conv1, network.bn1, network.relu)
    return [stem, nn.Sequential(network.maxpool, network.layer1), network.layer2, network.layer3, network.layer4]


BACKBONES: dict[str, Body] = {
    # trained from scratch on mirrored views of even size, its kernels become asymmetric so that features are centred in
    # their blocks: CAMs fit best with this lean, and those of pretrained MobileNetV2 with 0
    "tiny": Body(lambda _: tiny_stages(), low_channels=32, channels=128, pretrained=False, lean=0.5),
    "mobilenet_v2": Body(
        lambda weights: _features("mobilenet_v2", weights, 2, 4, 7, 14, 19), low_channels=24, channels=1280
    ),
    "mobilenet_v3_small": Body(
        lambda weights: _features("mobilenet_v3_small", weights, 1, 2, 4, 9, 13), low_channels=16, channels=576
    ),
    "mobilenet_v3_large": Body(
        lambda weights: _features("mobilenet_v3_large", weights, 2, 4, 7, 13, 17), low_channels=24, channels=960
    ),
    "squeezenet": Body(_squeezenet, low_channels=128, channels=512, stride=16),
    "resnet18": Body(lambda weights: _resnet("resnet18", weights), low_channels=64, channels=512),
    "resnet50": Body(lambda weights: _resnet("resnet50", weights), low_channels=256, channels=2048),
}
"""Backbones by name."""
