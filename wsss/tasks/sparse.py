"""Segmentation training from sparsely annotated pixels."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64, Integer
from torch import Tensor
from torch.nn.functional import pad

from wsss.functional.box_tightness import box_tightness_loss
from wsss.functional.crf_loss import crf_loss
from wsss.functional.dsrg import DsrgSettings, Spread, refine_online
from wsss.functional.gated_crf import gated_crf_loss
from wsss.functional.losses import (
    SumAndCount,
    balanced_seed_loss,
    constrain_loss,
    floored_softmax,
    pixel_cross_entropy,
    pixel_entropy_loss,
    recoverable_softmax,
)
from wsss.functional.settled import coarse_labels
from wsss.functional.size_loss import bounds_of_tags, size_loss
from wsss.functional.tree_energy import tree_energy_loss
from wsss.networks.deeplabv3plus import DeepLabV3Plus
from wsss.tasks.base import ImageTask
from wsss.tasks.segmentation import cover, middles, overhang, without_background
from wsss.tasks.settings import SegmenterSettings
from wsss.tasks.sparse_settings import SparseSettings
from wsss.types import IGNORE


@dataclass(frozen=True)
class Seen:
    """Input of the losses: a batch and the network's output on it.

    Attributes:
        logits: Output of the network, at stride 4.
        probabilities: The logits as probabilities greater than 0.
        features: Input of the network's last layer; no gradient flows into it.
        images: RGB in [0, 1].
        labels: Labels of the settled (annotated) pixels, ``IGNORE`` elsewhere.
        coarse: The same at the stride of the logits.
        inside: Pixels that belong to the image rather than padding, at the stride of the logits.
        possible: Labels that the tags of each image allow.
        boxes: Label, top, left, bottom, right in pixels; rows of ``IGNORE`` are padding. None without boxes.
        sparse: Settings of the losses.
        dsrg: Stride and CRF of the constrain loss.
        spread: Maps that CRF over the images.
    """

    logits: Float[Tensor, "B K h w"]
    probabilities: Float[Tensor, "B K h w"]
    features: Float[Tensor, "B D h w"]
    images: Float[Tensor, "B 3 H W"]
    labels: Integer[Tensor, "B H W"]
    coarse: Integer[Tensor, "B h w"]
    inside: Bool[Tensor, "B h w"]
    possible: Bool[Tensor, "B K"]
    boxes: Int64[Tensor, "B N 5"] | None
    sparse: SparseSettings
    dsrg: DsrgSettings
    spread: Spread

    @property
    def open(self) -> Bool[Tensor, "B h w"]:
        """Image pixels without annotation."""
        return self.inside & (self.coarse == IGNORE)


def _partial_cross_entropy(seen: Seen) -> SumAndCount:
    full = cover(seen.logits, seen.labels.shape[1:], seen.labels.shape[1:])
    return pixel_cross_entropy(full, seen.labels)


def _balanced_seed(seen: Seen) -> SumAndCount:
    return balanced_seed_loss(recoverable_softmax(seen.logits), seen.coarse)


def _constrain(seen: Seen) -> SumAndCount:
    size = tuple(-(-side // seen.dsrg.stride) for side in seen.images.shape[2:])
    shares = cover(seen.probabilities, size, seen.images.shape[2:])
    shown = shares.detach().nan_to_num()
    refined = refine_online(shown, seen.images, seen.possible, seen.dsrg, spread=seen.spread)
    # images without a possible label are not refined
    some = seen.possible.any(dim=1).to(seen.inside.device)[:, None, None]
    return constrain_loss(shares, refined, middles(seen.inside, size) & some)


def _tree_energy(seen: Seen) -> SumAndCount:
    return tree_energy_loss(
        seen.probabilities,
        seen.open,
        seen.images,
        seen.features,
        sigma=seen.sparse.tree_sigma,
        fixed_target=True,
        inside=seen.inside,
    )


def _gated_crf(seen: Seen) -> SumAndCount:
    return gated_crf_loss(seen.probabilities, seen.images, seen.inside, seen.open, seen.sparse.gated)


def _dense_crf(seen: Seen) -> SumAndCount:
    return crf_loss(seen.probabilities, seen.images, seen.inside, seen.sparse.dense)


def _entropy(seen: Seen) -> SumAndCount:
    return pixel_entropy_loss(seen.probabilities, seen.open)


def _size(seen: Seen) -> SumAndCount:
    possible = seen.possible.to(seen.inside.device)
    least, most = bounds_of_tags(possible[:, 1:], torch.ones_like(possible[:, 0]), present=0.0)
    return size_loss(seen.probabilities, least, most, seen.inside)


def _box_tightness(seen: Seen) -> SumAndCount:
    boxes = seen.labels.new_zeros(0, 5).long() if seen.boxes is None else seen.boxes.flatten(0, 1)
    owners = torch.arange(len(boxes), device=boxes.device) // max(1, 0 if seen.boxes is None else seen.boxes.shape[1])
    given = boxes[:, 0] != IGNORE
    rows, _ = overhang(seen.logits.shape[2:], seen.images.shape[2:])
    stride = (seen.images.shape[2] + rows) / seen.logits.shape[2]
    corners = (boxes[given, 1:] / stride).round().long()
    return box_tightness_loss(recoverable_softmax(seen.logits), corners, boxes[given, 0], owners[given])


LOSSES: Mapping[str, Callable[[Seen], SumAndCount]] = {
    "partial_cross_entropy": _partial_cross_entropy,
    "balanced_seed": _balanced_seed,
    "constrain": _constrain,
    "tree_energy": _tree_energy,
    "gated_crf": _gated_crf,
    "dense_crf": _dense_crf,
    "entropy": _entropy,
    "size": _size,
    "box_tightness": _box_tightness,
}
"""All losses for sparse annotations, by the names of their weights in ``SparseSettings``."""


class SparseTask(ImageTask):
    """Weighted sum of losses: some fit the annotated pixels, others propagate their labels to similar pixels.

    Args:
        network: The segmenter.
        settings: Training settings.
        sparse: Settings of the losses.
        weights: Weight of each loss, by its name in ``LOSSES``.
        dsrg: Stride and CRF of the constrain loss.
        background: Whether the data set has a background class; if not, its channel is excluded.
        spread: Maps that CRF over the images of a batch.
    """

    network: DeepLabV3Plus

    def __init__(
        self,
        network: DeepLabV3Plus,
        settings: SegmenterSettings,
        sparse: SparseSettings,
        weights: Mapping[str, float],
        *,
        dsrg: DsrgSettings | None = None,
        background: bool = True,
        spread: Spread = map,
    ) -> None:
        super().__init__(network, settings)
        self.sparse, self.weights = sparse, dict(weights)
        self.dsrg = dsrg or DsrgSettings()
        self.background = background
        self.spread = spread

    def losses(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Compute the losses of a batch; each loss is averaged over its own count."""
        seen = self.look(batch)
        found = [(weight, *LOSSES[name](seen)) for name, weight in self.weights.items()]
        return torch.stack([weight * total for weight, total, _ in found]), torch.stack([count for *_, count in found])

    def look(self, batch: dict[str, Tensor]) -> Seen:
        """Run the network on a batch."""
        images = batch["image"]
        logits, features = self.network.look(images.contiguous(memory_format=torch.channels_last))
        logits = logits.float() if self.background else without_background(logits.float())
        size = (logits.shape[2], logits.shape[3])
        rows, columns = overhang(size, images.shape[2:])
        beyond = (0, columns, 0, rows)
        possible = torch.cat([torch.full_like(batch["tags"][:, :1], self.background), batch["tags"]], dim=1)
        possible[:, 1:] |= ~batch["known"]
        return Seen(
            logits=logits,
            probabilities=floored_softmax(logits),
            features=features.detach().float(),
            images=images,
            labels=batch["labels"],
            coarse=coarse_labels(pad(batch["labels"], beyond, value=IGNORE), size, classes=logits.shape[1]),
            inside=middles(pad(batch["weights"], beyond), size) > 0,
            possible=possible,
            boxes=batch.get("boxes"),
            sparse=self.sparse,
            dsrg=self.dsrg,
            spread=self.spread,
        )
