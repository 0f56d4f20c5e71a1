"""The segmenters of a run: their common plan, and prediction with a trained one."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from wsss.data.base import Dataset
from wsss.data.holdout import stratified_holdout
from wsss.refine.base import best_labels
from wsss.stages.base import Portion, Stage, Workbench, repeats, science
from wsss.stages.networks import NetworkPlan, load_segmenter, on_grid
from wsss.stages.settings import SelfTrainingSettings
from wsss.store import resize_scores
from wsss.tasks.settings import LOSSES, SegmenterSettings
from wsss.types import BACKGROUND

BATCH = 8
"""Maximum number of images of similar size that are computed together."""

WATCH_SEED = 1
"""Added to the seed that chooses the watched images, so that they differ from those held out for the classifier."""


@dataclass(frozen=True)
class SegmenterPlan:
    """Common plan of all segmenters of a run, including the ceiling's: same network, images, schedule and seed.

    Attributes:
        dataset: The images.
        network: Backbone and initial weights.
        settings: Training and prediction.
        self_training: Share of images that no segmenter is trained on.
        rounds: Rounds of the run; with a single one no images are watched, and all are trained on.
        seed: Seed of all randomness.
        precision: The resolved precision.
        start: The stage that trains the classifier whose weights all segmenters start from; None for other weights.
    """

    dataset: Dataset
    network: NetworkPlan
    settings: SegmenterSettings
    self_training: SelfTrainingSettings
    rounds: int
    seed: int
    precision: str
    start: Stage | None = None

    @property
    def reads(self) -> dict[str, Stage]:
        """Inputs of a training, in addition to its target."""
        return {"start": self.start} if self.start else {}

    def split(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the images to train on, and those to watch."""
        ids = self.dataset.ids("train")
        if self.rounds == 1:
            return ids, ()
        tags = [self.dataset.named(image) for image in ids]
        kept, watched = stratified_holdout(tags, self.self_training.watched, self.seed + WATCH_SEED)
        return tuple(ids[index] for index in kept), tuple(ids[index] for index in watched)

    def science(self) -> dict[str, object]:
        """The settings that the training depends on."""
        # the supervision is part of the stages that are read
        unused = ("weights", "test_scales", "test_flip", "supervision", *self._other_losses())
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

    def _other_losses(self) -> set[str]:
        """Settings of losses that are not used."""
        return {name for names in LOSSES.values() for name in names} - {*LOSSES[self.settings.loss]}


class SegmenterInference:
    """Predicts units of images with a trained segmenter.

    Args:
        plan: The segmenter's plan.
        bench: Environment of the stage.
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
            scales: Scales to average over; None takes those of the settings.
            flip: Whether mirrored images are included in the average; None takes the setting.
            mirrored: Whether to predict the mirrored image; the scores are mirrored back.
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
        """Return the best label at each pixel of an image of that size, ignoring its tags."""
        allowed = range(0 if self.plan.dataset.background else BACKGROUND + 1, len(scores))
        return best_labels(resize_scores(scores, size), list(allowed))
