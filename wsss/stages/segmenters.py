"""The segmenters of a run: how all of them are made, and how a trained one looks at images."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from wsss.data.base import Dataset
from wsss.data.holdout import stratified_holdout
from wsss.refine.base import best_labels
from wsss.stages.base import Portion, Stage, Workbench, repeats, science
from wsss.stages.networks import NetworkSettings, load_segmenter, on_grid
from wsss.stages.settings import SelfTrainingSettings
from wsss.store import resize_scores
from wsss.tasks.settings import LOSSES, SegmenterSettings
from wsss.types import BACKGROUND

BATCH = 8
"""Most images of like size that are computed together."""

WATCH_SEED = 1
"""Added to the seed that chooses the watched images, so that they are not those held out from the classifier."""


@dataclass(frozen=True)
class SegmenterPlan:
    """How every segmenter of a run is made, the ceiling's too: same network, images, schedule and seed.

    Attributes:
        dataset: The images.
        network: Backbone and start.
        settings: How it is trained and predicts.
        self_training: Which images no segmenter is trained on.
        rounds: Rounds of the run; with a single one there is nothing to watch, and all images are trained on.
        seed: Where the randomness comes from.
        precision: The resolved precision.
    """

    dataset: Dataset
    network: NetworkSettings
    settings: SegmenterSettings
    self_training: SelfTrainingSettings
    rounds: int
    seed: int
    precision: str

    def split(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The training images to learn from, and those to watch."""
        ids = self.dataset.ids("train")
        if self.rounds == 1:
            return ids, ()
        tags = [self.dataset.named(image) for image in ids]
        kept, watched = stratified_holdout(tags, self.self_training.watched, self.seed + WATCH_SEED)
        return tuple(ids[index] for index in kept), tuple(ids[index] for index in watched)

    def science(self) -> dict[str, object]:
        """The settings that steer the training."""
        # who supervises shows in what the stage reads
        unused = ("weights", "test_scales", "test_flip", "supervision", *_plain_loss(self.settings))
        learning = science(self.settings, *unused)
        watched = self.self_training.watched if self.rounds > 1 else 0.0
        return (
            learning
            | self.network.fingerprint
            | repeats(self.dataset)
            | {
                "watched": watched,
                "seed": self.seed,
                "precision": self.precision,
            }
        )


def _plain_loss(settings: SegmenterSettings) -> set[str]:
    """Settings of the loss that change nothing as they stand, so that a key outlives settings that came later."""
    told = {name for name, published in LOSSES[settings.loss].items() if getattr(settings, name) != published}
    if settings.loss != "cross_entropy":
        told.add("loss")
    return {"loss", *(name for chosen in LOSSES.values() for name in chosen)} - told


class Seer:
    """A trained segmenter that looks at units of images.

    Args:
        plan: How the segmenter was made.
        bench: What stages work with.
        segmenter: The stage that trained it.
    """

    def __init__(self, plan: SegmenterPlan, bench: Workbench, segmenter: Stage) -> None:
        from wsss.tasks.segmentation import predict_scores

        self.plan, self.bench = plan, bench
        self.network = load_segmenter(plan.network, plan.settings, bench.read(segmenter), bench.device)
        self._predict = partial(predict_scores, self.network, background=plan.dataset.background)

    def scores(
        self,
        portion: Portion,
        *,
        scales: tuple[float, ...] | None = None,
        flip: bool | None = None,
        mirrored: bool = False,
    ) -> Tensor:
        """Scores of a unit over all labels, (B, K, h, w) float32 on the CPU, at a quarter of the unit's size.

        Args:
            portion: The unit.
            scales: Sizes to average over; those of the settings if not given.
            flip: Whether mirrored images join the average; as in the settings if not given.
            mirrored: Whether to look at the mirror image; the scores are mirrored back.
        """
        images = [self.plan.dataset.image(image) for image in portion.ids]
        batch = on_grid(images, portion.size, self.bench.device)
        with torch.inference_mode(), self.bench.autocast():
            scores = self._predict(
                batch.flip(-1) if mirrored else batch,
                scales=self.plan.settings.test_scales if scales is None else scales,
                flip=self.plan.settings.test_flip if flip is None else flip,
            )
        return (scores.flip(-1) if mirrored else scores).float().cpu()

    def labels(self, scores: Tensor, size: tuple[int, int]) -> Tensor:
        """The best label at each pixel of an image of that size, whatever its tags say."""
        allowed = range(0 if self.plan.dataset.background else BACKGROUND + 1, len(scores))
        return best_labels(resize_scores(scores, size), list(allowed))
