"""Creation, storage and loading of networks in stages, and their input batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from wsss.errors import DataError, SettingsError
from wsss.networks.weights import CLASSIFIER
from wsss.store import Artefact, digest
from wsss.types import Image

if TYPE_CHECKING:
    from wsss.networks.backbones import Backbone
    from wsss.networks.classifier import Classifier
    from wsss.networks.deeplabv3plus import DeepLabV3Plus
    from wsss.tasks.settings import ImageLearningSettings, SegmenterSettings

GRID = 32
"""Network inputs are multiples of this many pixels, so that images of similar size fit into one batch."""

WEIGHTS_FILE = "network.safetensors"

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class NetworkPlan:
    """A backbone and its initial weights.

    Attributes:
        backbone: Name of the backbone.
        learning: Training settings, including output stride and frozen stages.
        weights: none, imagenet, the path of a file, or classifier, whose weights are copied from another stage.
        hidden: Channels of a classifier's hidden layer; 0: none.
    """

    backbone: str
    learning: "ImageLearningSettings"
    weights: str
    hidden: int = 0

    @property
    def _from_file(self) -> bool:
        return self.weights not in ("none", "imagenet", CLASSIFIER)

    @property
    def fingerprint(self) -> dict[str, str | int]:
        """Identity of the initial network: a weight file by its content, timm weights by their full name."""
        from wsss.networks.timm_backbones import full_name, is_timm

        backbone = full_name(self.backbone) if is_timm(self.backbone) else self.backbone
        network: dict[str, str | int] = {"backbone": backbone, "hidden": self.hidden}
        if not self._from_file:
            return network | {"weights": self.weights}
        try:
            return network | {"weights": digest(Path(self.weights).read_bytes())}
        except OSError as error:
            raise DataError(
                f"weights '{self.weights}' can't be read ({error.strerror}); give none, imagenet or the path of a file"
            ) from error

    def check(self, section: str) -> None:
        """Check that the network supports its settings, before anything is computed.

        Args:
            section: Section of its settings: ``classifier`` or ``segmenter``.

        Raises:
            SettingsError: If the backbone does not support the stride, the frozen stages or the weights, or a file of
                weights does not fit it.
        """
        from wsss.networks.backbones import check_backbone
        from wsss.networks.timm_backbones import check_timm_backbone, is_timm

        refuse = check_timm_backbone if is_timm(self.backbone) else check_backbone
        stride, freeze_stages = self.learning.output_stride, self.learning.freeze_stages
        try:
            refuse(self.backbone, output_stride=stride, weights=self.weights, freeze_stages=freeze_stages)
            if self._from_file:
                _backbone(self, trained=False)  # refuses weights of another network
        except SettingsError as error:
            name = error.field if error.field == "network" else f"{section}.{error.field}"
            raise SettingsError(name, error.reason) from None


def build_classifier(network: NetworkPlan, classes: int, *, trained: bool = False) -> "Classifier":
    """Create a classifier.

    Args:
        network: Backbone and initial weights.
        classes: Number C of foreground classes.
        trained: Whether its weights will be loaded from a finished stage, so that no others are loaded.
    """
    from wsss.networks.classifier import Classifier

    return Classifier(_backbone(network, trained=trained), classes, hidden=network.hidden)


def build_segmenter(
    network: NetworkPlan,
    settings: "SegmenterSettings",
    labels: int,
    *,
    start: Artefact | None = None,
    trained: bool = False,
) -> "DeepLabV3Plus":
    """Create a segmentation network.

    Args:
        network: Backbone and initial weights.
        settings: Width, dropout and crop.
        labels: Number K of labels, background included.
        start: Trained classifier of the same backbone, whose weights the backbone gets; None if the plan names others.
        trained: Whether its weights will be loaded from a finished stage.
    """
    from wsss.networks import NETWORKS
    from wsss.networks.deeplabv3plus import aspp_rates

    rates = aspp_rates(settings.output_stride, settings.crop)
    backbone = _backbone(network, trained=trained)
    if start is not None:
        weights = start.read_tensors(WEIGHTS_FILE)
        prefix = "backbone."
        backbone.load_state_dict(
            {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
        )
    build = NETWORKS[settings.network]
    return build(backbone, labels, width=settings.width, rates=rates, dropout=settings.dropout)


def _backbone(network: NetworkPlan, *, trained: bool) -> "Backbone":
    from wsss.networks.backbones import build_backbone
    from wsss.networks.timm_backbones import build_timm_backbone, is_timm

    learning = network.learning
    build = build_timm_backbone if is_timm(network.backbone) else build_backbone
    return build(
        network.backbone,
        output_stride=learning.output_stride,
        weights="none" if trained else network.weights,
        freeze_batchnorm=True if trained else learning.freeze_batchnorm,
        freeze_stages=0 if trained else learning.freeze_stages,
    )


def load_classifier(network: NetworkPlan, classes: int, artefact: Artefact, device: torch.device) -> "Classifier":
    """Load a trained classifier for inference."""
    return _ready(build_classifier(network, classes, trained=True), artefact.read_tensors(WEIGHTS_FILE), device)


def load_segmenter(
    network: NetworkPlan, settings: "SegmenterSettings", artefact: Artefact, device: torch.device
) -> "DeepLabV3Plus":
    """Load a trained segmenter for inference; its number of labels is read from the weights."""
    weights = artefact.read_tensors(WEIGHTS_FILE)
    return _ready(build_segmenter(network, settings, len(weights["head.bias"]), trained=True), weights, device)


def _ready(model: Network, weights: dict[str, Tensor], device: torch.device) -> Network:
    model.load_state_dict(weights)
    return model.eval().to(device).to(memory_format=torch.channels_last)


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """The weights of a network as they are stored: on the CPU, in contiguous memory."""
    return {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}


def on_grid(images: Sequence[Image], size: tuple[int, int], device: torch.device, scale: float = 1.0) -> Tensor:
    """Resize images of similar size to one batch.

    Args:
        images: RGB bytes.
        size: Common height and width of the unit, multiples of ``GRID``.
        device: Device of the batch.
        scale: Scale factor applied to the size.

    Returns:
        (B, 3, H, W) in [0, 1], channels last.
    """
    height, width = (max(GRID, round(side * scale / GRID) * GRID) for side in size)
    batch = [interpolate(image[None].float(), (height, width), mode="bilinear", antialias=True) for image in images]
    return torch.cat(batch).div(255).to(device=device, memory_format=torch.channels_last)
