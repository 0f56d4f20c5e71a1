"""Learning the label of each pixel from seeds that grow while the network learns (Huang et al., CVPR 2018)."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import interpolate

from wsss.functional.dense_crf import CrfSettings, dense_crf
from wsss.functional.losses import balanced_seed_loss, constrain_loss, floored_softmax
from wsss.functional.region_growing import grow_regions
from wsss.tasks.base import ImageTask
from wsss.tasks.segmentation import without_background
from wsss.tasks.settings import DsrgSettings, SegmenterSettings
from wsss.types import IGNORE, possible_labels

Crop = tuple[np.ndarray, np.ndarray]
"""What the CRF sees of a training view: RGB bytes (3, h, w), and scores (k, h, w) of its possible labels."""

Spread = Callable[[Callable[[Crop], np.ndarray], Sequence[Crop]], Iterable[np.ndarray]]
"""Applies a picklable function to each crop, in order: ``map``, or that of a pool of workers."""


class DsrgTask(ImageTask):
    """Balanced loss on the grown seeds, and the pull towards the CRF; an image counts as one, whatever its seeds.

    At each step the network's probabilities pass through the CRF on a coarse grid, and the seeds that were given grow
    into what is confident and connected with them. They grow anew from the same seeds each time, so that a mistake can
    be taken back. A view without a seed does not count: nothing in it holds the network and the CRF to a class.

    Args:
        network: From images to logits (B, K, h, w) at any stride.
        settings: How it learns.
        dsrg: How seeds grow.
        background: Whether the data set has a background class; if not, its channel takes no part.
        spread: How the crops of a batch are shared out to the CRF, which takes some milliseconds for each.
    """

    def __init__(
        self,
        network: nn.Module,
        settings: SegmenterSettings,
        dsrg: DsrgSettings,
        *,
        background: bool = True,
        spread: Spread = map,
    ) -> None:
        super().__init__(network, settings)
        self.dsrg = dsrg
        self.background = background
        self.spread = spread

    def losses(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Judge the views of a batch by the seeds of their images, which stand in ``labels``."""
        logits = self.network(batch["image"].contiguous(memory_format=torch.channels_last)).float()
        size = self._grid(batch["image"])
        logits = interpolate(logits, size, mode="bilinear", align_corners=False)
        probabilities = floored_softmax(logits if self.background else without_background(logits))
        seeds, inside = _nearest(batch["labels"], size), _nearest(batch["weights"], size) > 0
        refined = self.refined(probabilities.detach(), batch) * inside[:, None]
        grown = self.grown(refined, seeds, batch)
        total, count = balanced_seed_loss(probabilities, grown)
        seeded = (grown != IGNORE).flatten(1).any(dim=1)
        pull, _ = constrain_loss(probabilities, refined, inside & seeded[:, None, None])
        return total + self.dsrg.constrain_weight * pull, count

    def refined(self, probabilities: Float[Tensor, "B K h w"], batch: dict[str, Tensor]) -> Float[Tensor, "B K h w"]:
        """Pass probabilities on the grid through the CRF, among the labels that the tags of each image allow."""
        size = probabilities.shape[2:]
        images = interpolate(batch["image"].float(), size, mode="area").mul(255).round().byte().cpu().numpy()
        # of a network that has lost its numbers the loss will tell, in better words than the CRF
        scores = probabilities.nan_to_num().cpu()
        allowed = [self._possible(tags, known) for tags, known in zip(batch["tags"], batch["known"], strict=True)]
        crops = [
            (image, one[labels].numpy()) for image, one, labels in zip(images, scores, allowed, strict=True) if labels
        ]
        refined = torch.zeros_like(scores)
        found = iter(self.spread(partial(_refine_crop, self.dsrg.crf), crops))
        for place, labels in enumerate(allowed):
            if labels:
                refined[place, labels] = torch.from_numpy(next(found))
        return refined.to(probabilities.device)

    def grown(
        self, refined: Float[Tensor, "B K h w"], seeds: Int[Tensor, "B h w"], batch: dict[str, Tensor]
    ) -> Int[Tensor, "B h w"]:
        """Grow the seeds into what is confident after the CRF."""
        return grow_regions(
            refined,
            seeds,
            batch["tags"] | ~batch["known"][:, None],
            foreground_threshold=self.dsrg.foreground_threshold,
            background_threshold=self.dsrg.background_threshold,
        )

    def _grid(self, images: Tensor) -> tuple[int, int]:
        return -(-images.shape[2] // self.dsrg.stride), -(-images.shape[3] // self.dsrg.stride)

    def _possible(self, tags: Bool[Tensor, " C"], known: Bool[Tensor, ""]) -> list[int]:
        return possible_labels(tags.cpu() if known else None, len(tags), background=self.background)


def _nearest(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Read a map at the middle of each cell."""
    return interpolate(values[:, None].float(), size, mode="nearest-exact")[:, 0].to(values.dtype)


def _refine_crop(settings: CrfSettings, crop: Crop) -> np.ndarray:
    """Refine the scores of possible labels; plain arrays travel between processes more cheaply than tensors."""
    image, scores = crop
    return dense_crf(torch.from_numpy(image), torch.from_numpy(scores), settings, labels=range(len(scores))).numpy()
