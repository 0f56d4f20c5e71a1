"""Training of the image classifier on tags, its evaluation, and class activation maps."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, distributed

from wsss.functional.cam import merge_views
from wsss.functional.gradcam import grad_cam, grad_cam_plus_plus
from wsss.functional.losses import tag_loss
from wsss.functional.resampling import spread_over
from wsss.networks.classifier import Classifier
from wsss.tasks.base import ImageTask, Metrics
from wsss.tasks.settings import ClassifierSettings
from wsss.tasks.views import quarter, views_of

HELD_OUT_MAP = "held_out_map"
"""Name of the mean average precision on held-out tags, a share in [0, 1]."""

GRADIENT_MAPS = {"gradcam": grad_cam, "gradcam++": grad_cam_plus_plus}
"""Methods that compute maps from gradients, without the weights of a linear layer."""


class ClassificationTask(ImageTask):
    """Multi-label classification with the soft margin loss; evaluated by mean average precision on held-out tags.

    Args:
        network: The classifier.
        settings: Training settings.
    """

    network: Classifier

    def __init__(self, network: Classifier, settings: ClassifierSettings) -> None:
        super().__init__(network, settings)
        self._seen: list[tuple[Tensor, Tensor]] = []

    def losses(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Compute the tag loss of a batch; images without tags do not count."""
        images = batch["image"].contiguous(memory_format=torch.channels_last)
        return tag_loss(self.network(images), batch["tags"], batch["known"])

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:  # noqa: ARG002 - Lightning's signature
        """Collect the logits of held-out images whose tags are completely known."""
        known = batch["known"].all(dim=1)
        if known.any():
            logits = self.network(batch["image"].contiguous(memory_format=torch.channels_last))
            self._seen.append((logits[known].float().cpu(), batch["tags"][known].cpu()))

    def held_out_metrics(self) -> Metrics:
        """Evaluate the images that passed through ``validation_step``, in all processes together."""
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
    """Compute the mean average precision over the classes (VOC 2010: precision averaged over positive images).

    Args:
        scores: Confidence that each class is present; only their order matters. Ties count as one threshold.
        tags: Which classes are present.

    Returns:
        A share in [0, 1], averaged over classes with positive images; None if there is none.
    """
    shown = tags.any(dim=0)
    if not shown.any():
        return None
    precisions = [_average_precision(scores[:, label], tags[:, label]) for label in shown.nonzero().flatten().tolist()]
    return sum(precisions) / len(precisions)


def _average_precision(scores: Float[Tensor, " N"], present: Bool[Tensor, " N"]) -> float:
    order = scores.argsort(descending=True)
    scores, hits = scores[order], present[order].double().cumsum(dim=0)
    # the last of equal scores represents all of them
    ends = torch.cat([scores[1:] != scores[:-1], torch.ones(1, dtype=torch.bool)]).nonzero().flatten()
    hits = hits[ends]
    gained = hits.diff(prepend=hits.new_zeros(1))
    return float((gained * hits / (ends + 1)).sum() / hits[-1])


def predict_cams(
    network: Classifier,
    images: Float[Tensor, "B 3 H W"],
    *,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    method: str = "cam",
    wanted: Bool[Tensor, "B C"] | None = None,
) -> Float[Tensor, "B C h w"]:
    """Sum the class activation maps over several views (scales, flips) of the same images.

    Args:
        network: A classifier in evaluation mode, on the device of the images.
        images: RGB in [0, 1].
        scales: Scales of the views.
        flip: Whether mirrored views are added.
        method: ``cam``, or a key of ``GRADIENT_MAPS``.
        wanted: Classes whose maps are needed; gradient methods skip all others, whose maps are 0. None: all.

    Returns:
        Activations >= 0 in float32, not normalised, at a quarter of the images' size, rounded up.
    """
    views: list[Tensor] = []
    flipped: list[bool] = []
    size, stride = quarter(images), network.backbone.output_stride
    for shown, mirrored in views_of(images, scales, flip=flip):
        if method == "cam":
            maps = network.activation_maps(shown)
        else:
            maps = gradient_maps(network, shown, method, None if wanted is None else wanted.repeat(len(mirrored), 1))
        maps = spread_over(maps.float(), size, shown.shape[2:], stride=stride, anchor=network.backbone.anchor(stride))
        views += maps.chunk(len(mirrored))
        flipped += mirrored
    return merge_views(views, flipped, size)


def gradient_maps(
    network: Classifier, images: Float[Tensor, "B 3 H W"], method: str, wanted: Bool[Tensor, "B C"] | None = None
) -> Float[Tensor, "B C h w"]:
    """Compute class activation maps from the gradients of the logits with respect to the last features.

    Layers before these features need no backward pass.

    Args:
        network: A classifier in evaluation mode, on the device of the images.
        images: RGB in [0, 1].
        method: A key of ``GRADIENT_MAPS``.
        wanted: Classes whose maps are needed, the others are 0; None: all.

    Returns:
        Activations >= 0 in float32, not normalised, at the output stride. Those of ``gradcam`` are multiplied by the
        number of positions, so that views of different sizes have equal weight; for a linear head they equal its CAMs.
    """
    with torch.no_grad():
        features = network.features(images).float()
    features.requires_grad_()
    with torch.enable_grad():
        logits = network.logits(features).float()
        wanted = torch.ones_like(logits, dtype=torch.bool) if wanted is None else wanted.to(logits.device)
        # images are independent, so the gradient of a sum over images consists of each image's own
        sums = logits.masked_fill(~wanted, 0).sum(dim=0).unbind()
    maps = torch.zeros(*logits.shape, *features.shape[2:], device=logits.device)
    for label in wanted.any(dim=0).nonzero().flatten().tolist():
        (gradients,) = torch.autograd.grad(sums[label], features, retain_graph=True)
        maps[:, label] = GRADIENT_MAPS[method](features.detach(), gradients)
    return maps * (features.shape[2] * features.shape[3] if method == "gradcam" else 1)
