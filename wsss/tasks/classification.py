"""Learning which classes an image shows, from its tags alone."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, distributed

from wsss.functional.cam import merge_views
from wsss.functional.losses import tag_loss
from wsss.networks.classifier import Classifier
from wsss.tasks.base import ImageTask, Metrics
from wsss.tasks.settings import ClassifierSettings
from wsss.tasks.views import quarter, views_of

HELD_OUT_MAP = "held_out_map"
"""Name of the mean average precision on held-out tags, a share in [0, 1]."""


class ClassificationTask(ImageTask):
    """Multi-label soft margin loss; mean average precision on held-out tags.

    Args:
        network: The classifier.
        settings: How it learns.
    """

    network: Classifier

    def __init__(self, network: Classifier, settings: ClassifierSettings) -> None:
        super().__init__(network, settings)
        self._seen: list[tuple[Tensor, Tensor]] = []

    def losses(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Judge the tags of a batch; images without tags do not count."""
        images = batch["image"].contiguous(memory_format=torch.channels_last)
        return tag_loss(self.network(images), batch["tags"], batch["known"])

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:  # noqa: ARG002 - Lightning's signature
        """Keep the logits of held-out images whose tags are known."""
        known = batch["known"]
        if known.any():
            logits = self.network(batch["image"].contiguous(memory_format=torch.channels_last))
            self._seen.append((logits[known].float().cpu(), batch["tags"][known].cpu()))

    def held_out_metrics(self) -> Metrics:
        """Measure the images that passed through ``validation_step``, in all processes together."""
        seen, self._seen = self._seen, []
        if self.trainer.world_size > 1:
            everywhere: list[Any] = [None] * self.trainer.world_size
            distributed.all_gather_object(everywhere, seen)
            seen = [pair for part in everywhere for pair in part]
        if not seen:
            return {}
        score = mean_average_precision(*(torch.cat(part) for part in zip(*seen, strict=True)))
        return {} if score is None else {HELD_OUT_MAP: score}


def mean_average_precision(scores: Float[Tensor, "N C"], tags: Bool[Tensor, "N C"]) -> float | None:
    """Average over the classes the precision at each image that shows the class (VOC 2010).

    Args:
        scores: How present each class seems; only their order counts. Images of equal score count as one step.
        tags: Which classes are present.

    Returns:
        A share in [0, 1] over the classes that some image shows; None if no image shows any.
    """
    shown = tags.any(dim=0)
    if not shown.any():
        return None
    precisions = [_average_precision(scores[:, label], tags[:, label]) for label in shown.nonzero().flatten().tolist()]
    return sum(precisions) / len(precisions)


def _average_precision(scores: Float[Tensor, " N"], present: Bool[Tensor, " N"]) -> float:
    order = scores.argsort(descending=True)
    scores, hits = scores[order], present[order].double().cumsum(dim=0)
    # the last of equal scores stands for all of them
    ends = torch.cat([scores[1:] != scores[:-1], torch.ones(1, dtype=torch.bool)]).nonzero().flatten()
    hits = hits[ends]
    gained = hits.diff(prepend=hits.new_zeros(1))
    return float((gained * hits / (ends + 1)).sum() / hits[-1])


def predict_cams(
    network: Classifier, images: Float[Tensor, "B 3 H W"], *, scales: Sequence[float] = (1.0,), flip: bool = False
) -> Float[Tensor, "B C h w"]:
    """Sum the class activation maps of several views of the same images.

    Args:
        network: A classifier in evaluation mode, where the images are.
        images: RGB in [0, 1].
        scales: Sizes at which they are shown, as multiples of their own.
        flip: Whether they are shown mirrored as well.

    Returns:
        Activations >= 0 in float32, not normalised, at a quarter of the images' size, rounded up.
    """
    views: list[Tensor] = []
    flipped: list[bool] = []
    for shown, mirrored in views_of(images, scales, flip=flip):
        maps = network.activation_maps(shown).relu()
        views += maps.chunk(len(mirrored))
        flipped += mirrored
    return merge_views(views, flipped, quarter(images))
