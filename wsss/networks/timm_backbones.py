"""Backbones of timm (Wightman, 2019) by ``timm/<name>``: convolutional networks and vision transformers.

The capabilities of a timm network are probed when it is created: one forward pass shows at which strides it has
features and which parameters they depend on. So one class supports hundreds of networks, and unsupported settings are
rejected rather than ignored.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad
from torch.nn.modules.batchnorm import _BatchNorm

from wsss.errors import SettingsError, require
from wsss.networks.backbones import STAGES, Backbone
from wsss.networks.weights import CLASSIFIER, load_weights

PREFIX = "timm/"
"""Prefix of timm's networks in names of backbones."""

EXAMPLES = "timm/convnext_atto, timm/efficientnet_b0 or timm/vit_tiny_patch16_224"

REFUSALS = (AssertionError, RuntimeError, ValueError, TypeError, AttributeError, LookupError)
"""Exceptions by which timm's networks report that something is unsupported."""


def is_timm(name: str) -> bool:
    """Whether a backbone's name is one of timm's."""
    return name.startswith(PREFIX)


@cache
def timm_names() -> tuple[str, ...]:
    """All networks of timm as ``timm/<name>``; the first call imports timm."""
    import timm

    return tuple(PREFIX + name for name in timm.list_models())


def possible_names(name: str) -> tuple[str, ...]:
    """Valid timm names: any network, or, with a dot, a set of weights of the network before the dot."""
    import timm

    network, dot, _ = name.partition(".")
    if not dot or network not in timm_names():
        return timm_names()
    return tuple(PREFIX + tagged for tagged in timm.list_models(f"{network.removeprefix(PREFIX)}.*", include_tags=True))


def full_name(name: str) -> str:
    """Return the network name with the tag of timm's default weights, so that a changed default changes the name.

    Args:
        name: One of ``possible_names``.
    """
    from timm.models import get_pretrained_cfg

    found = get_pretrained_cfg(name.removeprefix(PREFIX))
    tag = found.tag if found is not None else None
    return name if "." in name or not tag else f"{name}.{tag}"


@dataclass(frozen=True)
class Layout:
    """Positions of a timm network's features.

    Attributes:
        taken: Indices of the features that are used, at most ``STAGES`` of them, from first to last.
        unit: Both image sides are padded to a multiple of this many pixels.
        patch: Pixels to which a unit is resized for the network; differs from ``unit`` only where a transformer's
            patches would give a stride other than 8, 16 or 32.
        strides: Stride in image pixels of each of the features used.
        channels: Channels of each.
        lean: As in ``Backbone``, derived from the first strided convolution.
    """

    taken: tuple[int, ...]
    unit: int
    patch: int
    strides: tuple[int, ...] = ()
    channels: tuple[int, ...] = ()
    lean: float = 0.5

    @property
    def low(self) -> int:
        """Index of the features used whose stride is closest to 4."""
        return min(range(len(self.strides)), key=lambda index: (abs(math.log2(self.strides[index] / 4)), index))


class TimmBackbone(Backbone):
    """A network of timm with up to five feature maps, of which the last has the output stride.

    Images of any size are padded to a whole number of strides by replicating their last row and column, and features
    beyond the image are cropped. A plain transformer has a single stride, so its five feature maps come from five
    depths and those at stride 4 are its first ones, upsampled; for patches of 14 pixels, images are downscaled to 14/16
    of their size, which makes that stride 16.

    Args:
        network: A network of timm with ``forward_intermediates``.
        layout: Positions of its features.
        output_stride: Stride of its last features in image pixels.
        freeze_batchnorm: As in ``Backbone``.
        freeze_stages: As in ``Backbone``; the last features end stage 5, those before them stage 4.
        frozen: Names of the parameters that the frozen stages depend on.
        mean: As in ``Backbone``.
        deviation: As in ``Backbone``.
    """

    network: Any

    def __init__(
        self,
        network: Any,  # noqa: ANN401 - hundreds of classes of timm's
        layout: Layout,
        *,
        output_stride: int,
        freeze_batchnorm: bool = False,
        freeze_stages: int = 0,
        frozen: frozenset[str] = frozenset(),
        mean: Sequence[float],
        deviation: Sequence[float],
    ) -> None:
        super().__init__(
            [],
            low_channels=layout.channels[layout.low],
            channels=layout.channels[-1],
            output_stride=output_stride,
            freeze_batchnorm=freeze_batchnorm,
            freeze_stages=freeze_stages,
            mean=mean,
            deviation=deviation,
            lean=layout.lean,
        )
        self.network, self.layout = network, layout
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name not in frozen)
        self._still = frozenset(
            name
            for name, norm in _norms(network)
            if freeze_batchnorm or any(f"{name}.{own}" in frozen for own, _ in norm.named_parameters())
        )
        self.train()

    @property
    def strides(self) -> tuple[int, ...]:
        """Stride in image pixels of each level."""
        return self.layout.strides

    def train(self, mode: bool = True) -> "TimmBackbone":
        """Set the mode; frozen parts keep their statistics."""
        super().train(mode)
        for name, norm in _norms(self.network):
            if name in self._still or self.freeze_stages == STAGES:
                norm.eval()
        return self

    def forward(
        self, images: Float[Tensor, "B 3 H W"]
    ) -> tuple[Float[Tensor, "B Dl low_h low_w"], Float[Tensor, "B D high_h high_w"]]:
        """Compute features at stride 4, upsampled if there are none, and at the output stride; see ``Backbone``."""
        levels = self.levels(images)
        low, size = levels[self.layout.low], [-(-side // 4) for side in images.shape[2:]]
        if list(low.shape[2:]) != size:
            stride = self.layout.strides[self.layout.low]
            low = self.enlarge(low, size, stride=stride, anchor=self.anchor(4))
        return low, levels[-1]

    def levels(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """Compute all features used, from first to last.

        Args:
            images: RGB in [0, 1]; any size down to 1 × 1.
        """
        layout, (height, width) = self.layout, images.shape[2:]
        shown = pad(images, (0, -width % layout.unit, 0, -height % layout.unit), mode="replicate")
        if layout.patch != layout.unit:
            size = [side // layout.unit * layout.patch for side in shown.shape[2:]]
            shown = interpolate(shown, size, mode="bilinear", align_corners=False, antialias=True)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.freeze_stages < STAGES):
            levels = _levels(self.network, (shown - self.mean) / self.deviation, layout.taken)
        return [
            level[:, :, : -(-height // stride), : -(-width // stride)]
            for level, stride in zip(levels, layout.strides, strict=True)
        ]


def build_timm_backbone(
    name: str,
    *,
    output_stride: int = 16,
    weights: str = "none",
    freeze_batchnorm: bool | None = None,
    freeze_stages: int = 0,
) -> TimmBackbone:
    """Create a backbone from timm.

    Args:
        name: ``timm/<name>``, with or without the tag of its weights.
        output_stride: 32, 16 or 8, if the network can be dilated accordingly.
        weights: ``none`` (random), ``imagenet`` (timm's own for that name, downloaded), the path of a state dict of
            timm's classifier of that name, or ``CLASSIFIER``.
        freeze_batchnorm: Whether BatchNorm keeps its statistics; None freezes exactly when weights are loaded.
        freeze_stages: Number of frozen stages of the five; parameters that all features depend on belong to the first.

    Raises:
        SettingsError: If the network has no such features or stride, or the weights cannot be read or do not fit.
    """
    loaded = weights != "none"
    _check_numbers(name, output_stride, freeze_stages, loaded=loaded)
    network = _create(name, output_stride, "none" if weights == CLASSIFIER else weights)
    layout = _laid_out(name, network, output_stride)
    _check(name, layout, output_stride, freeze_stages)
    source = network.pretrained_cfg
    return TimmBackbone(
        network,
        layout,
        output_stride=output_stride,
        freeze_batchnorm=loaded if freeze_batchnorm is None else freeze_batchnorm,
        freeze_stages=freeze_stages,
        frozen=_frozen(network, layout, freeze_stages),
        mean=source["mean"],
        deviation=source["std"],
    )


def check_timm_backbone(name: str, *, output_stride: int = 16, weights: str = "none", freeze_stages: int = 0) -> None:
    """Check the arguments of ``build_timm_backbone``, as far as possible without reading weights.

    The network is created without parameter values, so that large ones take as little time and memory as small ones.

    Args:
        name: As in ``build_timm_backbone``.
        output_stride: As in ``build_timm_backbone``.
        weights: As in ``build_timm_backbone``.
        freeze_stages: As in ``build_timm_backbone``.

    Raises:
        SettingsError: If the network has no such features or stride.
    """
    _check_numbers(name, output_stride, freeze_stages, loaded=weights != "none")
    _check(name, _layout_of(name, output_stride), output_stride, freeze_stages)


@cache
def _layout_of(name: str, output_stride: int) -> Layout:
    with torch.device("meta"):
        return _laid_out(name, _create(name, output_stride, "none"), output_stride)


def _check_numbers(name: str, output_stride: int, freeze_stages: int, *, loaded: bool) -> None:
    require(name in possible_names(name), "network", "must be a network of timm", name)
    require(output_stride in (8, 16, 32), "output_stride", "must be 8, 16 or 32", output_stride)
    require(0 <= freeze_stages <= STAGES, "freeze_stages", f"must lie in [0, {STAGES}]", freeze_stages)
    require(loaded or freeze_stages == 0, "freeze_stages", "must be 0 where no weights are loaded", freeze_stages)


def _laid_out(name: str, network: Any, output_stride: int) -> Layout:  # noqa: ANN401 - see above
    """Find the positions of the features, after dilating the network if possible."""
    try:
        layout = _explore(network)
    except REFUSALS as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        cure = f"does not support images of any size ({reason}); choose another, such as {EXAMPLES}"
        raise SettingsError("network", f"{name} {cure}") from error
    return _dilated(network, layout, output_stride) if layout.strides[-1] > output_stride else layout


def _create(name: str, output_stride: int, weights: str) -> Any:  # noqa: ANN401 - see above
    """Create the network, dilated or without a fixed image size if it supports that."""
    import timm

    known = name.removeprefix(PREFIX)
    if weights == "imagenet" and not timm.is_model_pretrained(known):
        raise SettingsError("weights", f"must be none or a file for {name}, for which timm has no weights")
    network, refusal = None, ""
    for way in ({"output_stride": output_stride}, {"dynamic_img_size": True}, {"strict_img_size": False}, {}):
        try:
            network = timm.create_model(known, pretrained=weights == "imagenet", **way)
            break
        except (TypeError, AssertionError, NotImplementedError) as error:
            refusal = str(error)
        except OSError as error:
            raise _not_downloaded(name, error) from error
    if network is None:
        raise SettingsError("network", f"{name} can't be made by timm ({refusal}); choose another, such as {EXAMPLES}")
    if weights not in ("none", "imagenet"):
        heads = network.pretrained_cfg.get("classifier") or ()
        load_weights(network, name, weights, head=heads if isinstance(heads, str) else tuple(heads))
    return network


def _not_downloaded(name: str, error: OSError) -> SettingsError:
    cure = f"fetch the weights of {full_name(name)} on another machine and set weights to that file"
    reason = str(error).splitlines()[0]
    return SettingsError("weights", f"imagenet for {name} can't be downloaded ({reason}): {cure}")


def _explore(network: Any) -> Layout:  # noqa: ANN401 - see above
    """Find the positions of a network's features; layers behind them are removed."""
    reductions = [int(info["reduction"]) for info in network.feature_info]
    taken, patch = network.prune_intermediate_layers(list(_taken(reductions))), reductions[-1]
    # strides are powers of 2
    unit = 2 ** round(math.log2(patch)) if len(set(reductions)) == 1 else patch
    return _measured(network, Layout(tuple(taken), unit, patch, lean=_lean(network)))


def _lean(network: nn.Module) -> float:
    """Determine from the first strided convolution which pixel of a block a feature is centred on."""
    from timm.layers import Conv2dSame, ScaledStdConv2dSame, StdConv2dSame

    for conv in network.modules():
        if isinstance(conv, nn.Conv2d) and conv.stride[0] > 1:
            side, stride = conv.kernel_size[0], conv.stride[0]
            # TensorFlow pads so that sizes are halved, and puts odd padding at the end
            padded = isinstance(conv, Conv2dSame | StdConv2dSame | ScaledStdConv2dSame) or isinstance(conv.padding, str)
            before = max(side - stride, 0) // 2 if padded else int(conv.padding[0])
            return ((side - 1) / 2 - before) / (stride - 1)
    return 0.5


def _measured(network: Any, layout: Layout) -> Layout:  # noqa: ANN401 - see above
    with torch.no_grad():
        levels = _look(network, layout)
    strides = tuple(_stride(level, layout.unit) for level in levels)
    return replace(layout, strides=strides, channels=tuple(level.shape[1] for level in levels))


def _look(network: Any, layout: Layout) -> list[Tensor]:  # noqa: ANN401 - see above
    """Run the network on an image of 2 × 3 units."""
    network.eval()
    return _levels(network, torch.zeros(1, 3, 2 * layout.patch, 3 * layout.patch), layout.taken)


def _taken(reductions: Sequence[int]) -> tuple[int, ...]:
    """Choose features: the last ones, or, if all have the same stride, those at the ends of five equal parts."""
    count = len(reductions)
    if len(set(reductions)) == 1 and count > STAGES:
        return tuple(round((part + 1) * count / STAGES) - 1 for part in range(STAGES))
    return tuple(range(count))[-STAGES:]


def _levels(network: Any, images: Tensor, taken: Sequence[int]) -> list[Tensor]:  # noqa: ANN401 - see above
    return network.forward_intermediates(
        images, indices=list(taken), norm=True, output_fmt="NCHW", intermediates_only=True
    )


def _stride(level: Tensor, unit: int) -> int:
    """Stride of features in image pixels, for an image of 2 × 3 units.

    Raises:
        ValueError: If it is not a whole number or differs between the directions.
    """
    rows, columns = level.shape[2:]
    if 2 * unit % rows or rows * 3 != columns * 2:
        raise ValueError(f"{rows} × {columns} features for {2 * unit} × {3 * unit} pixels")
    return 2 * unit // rows


def _dilated(network: Any, layout: Layout, output_stride: int) -> Layout:  # noqa: ANN401 - see above
    """Replace strides by dilation in a network that timm cannot dilate; see ``replace_stride_with_dilation``.

    Returns:
        The new layout; the old one if the strides are not in convolutions.
    """
    at: dict[nn.Conv2d, int] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, nn.Conv2d)
        at[module] = 2 * layout.patch // inputs[0].shape[2]

    hooks = [conv.register_forward_pre_hook(note) for conv in network.modules() if isinstance(conv, nn.Conv2d)]
    with torch.no_grad():
        _look(network, layout)
    for hook in hooks:
        hook.remove()
    for conv, stride in at.items():
        if stride * conv.stride[0] > output_stride and conv.stride == (2, 2):
            conv.stride = (1, 1)
        if stride > output_stride and conv.kernel_size[0] % 2 and not isinstance(conv.padding, str):
            reach = stride // output_stride
            conv.dilation, conv.padding = (reach, reach), (conv.padding[0] * reach, conv.padding[1] * reach)
    try:
        return _measured(network, layout)
    except REFUSALS:
        return layout


def _frozen(network: nn.Module, layout: Layout, freeze_stages: int) -> frozenset[str]:
    """Names of the parameters that the features of the frozen stages depend on."""
    ends = freeze_stages - (STAGES - len(layout.taken))
    if ends <= 0:
        return frozenset()
    names, parameters = zip(*network.named_parameters(), strict=True)
    with torch.enable_grad():
        total = torch.stack([level.sum() for level in _look(network, layout)[:ends]]).sum()
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    return frozenset(name for name, gradient in zip(names, gradients, strict=True) if gradient is not None)


def _check(name: str, layout: Layout, output_stride: int, freeze_stages: int) -> None:
    stride, least = layout.strides[-1], STAGES - len(layout.strides) + 1
    if stride not in (8, 16, 32):
        raise SettingsError("network", f"{name} has features at stride {stride} only; use another, such as {EXAMPLES}")
    cure = f"so set classifier.output_stride={stride} and segmenter.output_stride={stride}"
    rule = f"must be {stride} for {name}, the only stride it has, {cure}"
    require(stride == output_stride, "output_stride", rule, output_stride)
    rule = f"must be 0 or at least {least} for {name}, whose first {least} stages are one"
    require(freeze_stages == 0 or freeze_stages >= least, "freeze_stages", rule, freeze_stages)


def _norms(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return ((name, module) for name, module in network.named_modules() if isinstance(module, _BatchNorm))
