"""Predictions of a segmenter: scores of training images for the next round, labels of validation images."""

from wsss.functional.seeds import restrict_scores
from wsss.refine.base import best_labels
from wsss.stages.base import Portion, Stage, Workbench, batches, for_each
from wsss.stages.materials import reads_of, settled_by
from wsss.stages.segmenters import BATCH, SegmenterInference, SegmenterPlan
from wsss.store import Artefact, resize_scores, stride_size


def make_scores(plan: SegmenterPlan, segmenter: Stage, round: int, annotations: Stage | None = None) -> Stage:
    """Plan a segmenter's scores of the training images, constrained to annotations: input of the next round."""
    dataset = plan.dataset

    def work(bench: Workbench, out: Artefact) -> None:
        inference, settled = SegmenterInference(plan, bench, segmenter), settled_by(bench, annotations)

        def one(portion: Portion) -> None:
            scores = inference.scores(portion)
            with out.unit(portion.name) as unit:
                for image, small in zip(portion.ids, scores, strict=True):
                    size, possible = dataset.size(image), dataset.possible(image)
                    known = restrict_scores(
                        resize_scores(small, stride_size(size)), dataset.tags(image), background=dataset.background
                    )
                    known = settled.scores(image, known)
                    unit.write_scores(image, known, possible, size)
                    unit.write_labels(image, best_labels(resize_scores(known, size), possible))

        for_each(bench, out, batches(dataset, dataset.ids("train"), BATCH), one, description="scores of the segmenter")

    return Stage(
        name="scores",
        version=1,
        work=work,
        settings=_viewing(plan),
        reads={"segmenter": segmenter} | reads_of(annotations),
        round=round,
    )


def make_predictions(plan: SegmenterPlan, segmenter: Stage, name: str = "predictions") -> Stage:
    """Plan a segmenter's labels of the validation images, without use of tags."""
    dataset = plan.dataset

    def work(bench: Workbench, out: Artefact) -> None:
        inference = SegmenterInference(plan, bench, segmenter)

        def one(portion: Portion) -> None:
            scores = inference.scores(portion)
            with out.unit(portion.name) as unit:
                for image, small in zip(portion.ids, scores, strict=True):
                    unit.write_labels(image, inference.labels(small, dataset.size(image)))

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
