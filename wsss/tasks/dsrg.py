"""Segmentation training with deep seeded region growing (Huang et al., CVPR 2018)."""

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from wsss.functional.dsrg import DsrgSettings, Spread, grow_online
from wsss.functional.losses import balanced_seed_loss, constrain_loss, floored_softmax, recoverable_softmax
from wsss.functional.settled import coarse_labels
from wsss.tasks.base import ImageTask
from wsss.tasks.segmentation import cover, middles, without_background
from wsss.tasks.settings import SegmenterSettings
from wsss.types import BACKGROUND, IGNORE


class DsrgTask(ImageTask):
    """Balanced loss on grown seeds plus the constrain-to-boundary loss; every image has the same weight.

    At each step the original seeds are grown again, so that mistakes can be undone. A view without a seed does not
    count: nothing in it ties the network and the CRF to a class.

    Args:
        network: Maps images to logits (B, K, h, w) at any stride.
        settings: Training settings.
        dsrg: Settings of the seed growing.
        background: Whether the data set has a background class; if not, its channel is excluded.
        spread: Maps the CRF, which takes some milliseconds per image, over the images of a batch.
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
        """Compute the losses of a batch; ``labels`` holds the original seeds."""
        images = batch["image"]
        logits = self.network(images.contiguous(memory_format=torch.channels_last)).float()
        size = tuple(-(-side // self.dsrg.stride) for side in images.shape[2:])
        logits = cover(logits, size, images.shape[2:])
        logits = logits if self.background else without_background(logits)
        probabilities = floored_softmax(logits)
        # if the network outputs NaN, the check of the loss gives a clearer error than the CRF
        shown = probabilities.detach().nan_to_num()
        seeds = coarse_labels(batch["labels"], size, classes=logits.shape[1])
        inside = middles(batch["weights"], size) > 0
        refined, grown = grow_online(
            shown, seeds, images, self._possible(batch), self.dsrg, inside=inside, spread=self.spread
        )
        grown = grown.where(inside, IGNORE)
        seeded = (grown != IGNORE).flatten(1).any(dim=1)
        total, count = balanced_seed_loss(recoverable_softmax(logits), grown)
        pull, _ = constrain_loss(probabilities, refined, inside & seeded[:, None, None])
        return total + self.dsrg.constrain_weight * pull, count

    def _possible(self, batch: dict[str, Tensor]) -> Bool[Tensor, "B K"]:
        """Mark the labels that the tags of each image allow."""
        possible = torch.ones(len(batch["tags"]), batch["tags"].shape[1] + 1, dtype=torch.bool)
        possible[:, BACKGROUND] = self.background
        possible[:, 1:] = (batch["tags"] | ~batch["known"]).cpu()
        return possible
