"""Segmentation training on pseudo labels, which may be missing, wrong or uncertain, and prediction."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn.functional import interpolate

from wsss.functional.losses import SumAndCount, pixel_cross_entropy
from wsss.functional.noise_robust import generalised_cross_entropy, symmetric_cross_entropy
from wsss.functional.resampling import spread_over
from wsss.tasks.base import ImageTask
from wsss.tasks.settings import SegmenterSettings
from wsss.tasks.views import quarter, views_of
from wsss.types import BACKGROUND

STRIDE = 4
"""Pixels from one logit of DeepLabv3+ to the next."""

PixelLoss = Callable[[Tensor, Tensor, Tensor | None], SumAndCount]
"""Loss of logits, given labels and pixel weights."""


class SegmentationTask(ImageTask):
    """Segmentation with the pixel loss of the settings; ``IGNORE`` does not count, other pixels are weighted.

    Args:
        network: Maps images to logits (B, K, h, w) at any stride.
        settings: Training settings.
        background: Whether the data set has a background class; if not, its channel is excluded.
        class_weights: Weight of the pixels of each label, see ``balance_weights``; None weights all equally.
    """

    class_weights: Tensor | None

    settings: SegmenterSettings

    def __init__(
        self,
        network: nn.Module,
        settings: SegmenterSettings,
        *,
        background: bool = True,
        class_weights: Float[Tensor, " K"] | None = None,
    ) -> None:
        super().__init__(network, settings)
        self.background = background
        self.judge = pixel_loss(settings)
        self.register_buffer("class_weights", class_weights, persistent=False)

    def losses(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Compute the loss of a batch."""
        labels = batch["labels"]
        logits = self.network(batch["image"].contiguous(memory_format=torch.channels_last))
        logits = cover(logits, labels.shape[1:], labels.shape[1:])
        logits = without_background(logits.float()) if not self.background else logits
        return self.judge(logits, labels, self._weights(labels, batch.get("weights")))

    def _weights(self, labels: Tensor, weights: Tensor | None) -> Tensor | None:
        """Multiply the pixel weights by the class weights."""
        if self.class_weights is None:
            return weights
        by_label = self.class_weights[labels.clamp(max=len(self.class_weights) - 1)]
        return by_label if weights is None else weights * by_label


def pixel_loss(settings: SegmenterSettings) -> PixelLoss:
    """Return the pixel loss that the settings select."""
    forward, reverse = settings.symmetric_forward, settings.symmetric_reverse
    losses: dict[str, PixelLoss] = {
        "cross_entropy": pixel_cross_entropy,
        "generalised": partial(generalised_cross_entropy, exponent=settings.generalised_exponent),
        "symmetric": partial(symmetric_cross_entropy, forward=forward, reverse=reverse),
    }
    return losses[settings.loss]


def balance_weights(counts: Float[Tensor, " K"], exponent: float) -> Float[Tensor, " K"]:
    """Weight labels by frequency to the power of minus the exponent; the mean over all pixels is 1.

    Args:
        counts: Pixels of each label; a label without pixels is weighted like the rarest of the others.
        exponent: 0 gives all pixels the same weight, 1 all labels.
    """
    if not counts.any():
        return torch.ones_like(counts)
    weights = counts.clamp(min=float(counts[counts > 0].min())) ** -exponent
    return weights * counts.sum() / (weights * counts).sum()


def overhang(cells: Sequence[int], shown: Sequence[int]) -> tuple[int, int]:
    """Rows and columns of pixels by which the last cells of a stride-4 map extend beyond the input image."""
    at_stride = list(cells) == [-(-side // STRIDE) for side in shown]
    rows, columns = (STRIDE * count - side if at_stride else 0 for count, side in zip(cells, shown, strict=True))
    return rows, columns


def cover(
    maps: Float[Tensor, "B K h w"], size: Sequence[int], shown: Sequence[int], *, mirrored: bool = False
) -> Float[Tensor, "B K H W"]:
    """Resize a segmenter's output so that it covers exactly the input image.

    Args:
        maps: Logits or probabilities.
        size: Height and width of the result.
        shown: Height and width of the segmenter's input.
        mirrored: Whether the input was mirrored; the result is mirrored back.
    """
    if not any(overhang(maps.shape[2:], shown)):
        upright = maps.flip(-1) if mirrored else maps
        return interpolate(upright, tuple(size), mode="bilinear", align_corners=False)
    covering = spread_over(maps, size, shown, stride=STRIDE, anchor=0.5)
    return covering.flip(-1) if mirrored else covering


def middles(values: Shaped[Tensor, "B H W"], size: tuple[int, ...]) -> Shaped[Tensor, "B h w"]:
    """Sample maps at the centre of each cell of a grid of another size."""
    return interpolate(values[:, None].float(), size, mode="nearest-exact")[:, 0].to(values.dtype)


def without_background(logits: Float[Tensor, "B K h w"]) -> Float[Tensor, "B K h w"]:
    """Set the background logit to the lowest finite value."""
    mask = torch.zeros(logits.shape[1], dtype=torch.bool, device=logits.device)
    mask[BACKGROUND] = True
    return logits.masked_fill(mask[None, :, None, None], torch.finfo(logits.dtype).min)


def predict_scores(
    network: nn.Module,
    images: Float[Tensor, "B 3 H W"],
    *,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    background: bool = True,
) -> Float[Tensor, "B K h w"]:
    """Average a segmenter's probabilities over several views (scales, flips) of the same images.

    Args:
        network: A segmenter in evaluation mode, on the device of the images.
        images: RGB in [0, 1].
        scales: Scales of the views.
        flip: Whether mirrored views are added.
        background: Whether the data set has a background class; if not, its channel is 0.

    Returns:
        Probabilities in float32 at a quarter of the images' size, rounded up; they sum to 1.
    """
    total = torch.zeros(())
    size, views = quarter(images), 0
    for shown, mirrored in views_of(images, scales, flip=flip):
        logits = network(shown).float()
        probabilities = (logits if background else without_background(logits)).softmax(dim=1)
        for part, is_mirrored in zip(probabilities.chunk(len(mirrored)), mirrored, strict=True):
            total = total.to(part.device) + cover(part, size, shown.shape[2:], mirrored=is_mirrored)
            views += 1
    return total / views
