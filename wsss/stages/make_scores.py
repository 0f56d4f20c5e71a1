"""What a segmenter sees: scores of the training images for the next round, labels of the validation images."""

from functools import partial

import torch
from torch import Tensor

from wsss.functional.seeds import restrict_scores
from wsss.refine.base import best_labels
from wsss.stages.base import Portion, Stage, Workbench, batches, for_each
from wsss.stages.networks import load_segmenter, on_grid
from wsss.stages.train_segmenter import SegmenterPlan
from wsss.store import Artefact, resize_scores, stride_size
from wsss.types import BACKGROUND

BATCH = 8
"""Most images of like size that are computed together."""


def make_scores(plan: SegmenterPlan, segmenter: Stage, turn: int) -> Stage:
    """Plan a segmenter's scores of the training images, restricted to the known tags: the next round's raw material."""
    dataset = plan.dataset

    def work(bench: Workbench, out: Artefact) -> None:
        seer = Seer(plan, bench, segmenter)

        def one(portion: Portion) -> None:
            scores = seer.scores(portion)
            with out.unit(portion.name) as unit:
                for image, small in zip(portion.ids, scores, strict=True):
                    size, possible = dataset.size(image), dataset.possible(image)
                    known = restrict_scores(
                        resize_scores(small, stride_size(size)), dataset.tags(image), background=dataset.background
                    )
                    unit.write_scores(image, known, possible, size)
                    unit.write_labels(image, best_labels(resize_scores(known, size), possible))

        for_each(bench, out, batches(dataset, dataset.ids("train"), BATCH), one, description="scores of the segmenter")

    return Stage(
        name="scores", version=1, work=work, settings=_viewing(plan), reads={"segmenter": segmenter}, round=turn
    )


def make_predictions(plan: SegmenterPlan, segmenter: Stage, name: str = "predictions") -> Stage:
    """Plan a segmenter's labels of the validation images; no tag helps it there."""
    dataset = plan.dataset

    def work(bench: Workbench, out: Artefact) -> None:
        seer = Seer(plan, bench, segmenter)

        def one(portion: Portion) -> None:
            scores = seer.scores(portion)
            with out.unit(portion.name) as unit:
                for image, small in zip(portion.ids, scores, strict=True):
                    unit.write_labels(image, seer.labels(small, dataset.size(image)))

        for_each(bench, out, batches(dataset, dataset.ids("val"), BATCH), one, description="predictions")

    return Stage(
        name=name,
        version=1,
        work=work,
        settings=_viewing(plan),
        reads={"segmenter": segmenter},
        data={"val": dataset.fingerprint("val")},
        round=segmenter.round,
    )


def _viewing(plan: SegmenterPlan) -> dict[str, object]:
    return {
        "scales": list(plan.settings.test_scales),
        "flip": plan.settings.test_flip,
        "precision": plan.precision,
        "background_class": plan.dataset.background,
    }


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
        classes = len(plan.dataset.classes) + 1
        self.network = load_segmenter(plan.network, plan.settings, classes, bench.read(segmenter), bench.device)
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
