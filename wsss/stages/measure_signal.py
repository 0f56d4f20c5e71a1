"""Quality of a segmenter on held-out training images, measured without ground truth."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from wsss.data.base import Dataset
from wsss.stages.base import Portion, Stage, Workbench, batches, for_each
from wsss.stages.segmenters import BATCH, SegmenterInference, SegmenterPlan
from wsss.store import Artefact
from wsss.types import IGNORE, LabelMap, Tags

SHRUNK = 0.75
"""Scale at which images are predicted again to test the consistency of labels."""

COUNTS = 7
"""Counts: tags found, invented and missed; consistent pixels and all pixels; seeds agreed with and all seeds."""


@dataclass(frozen=True)
class Signal:
    """Input of the stopping rule of self-training.

    Attributes:
        tag_f1: F1 score of the predicted classes against the tags, in [0, 1].
        consistency: Share of pixels whose label is unchanged when the image is mirrored or downscaled.
        seed_agreement: Share of the first round's seeds whose label is predicted.
    """

    tag_f1: float
    consistency: float
    seed_agreement: float

    @property
    def trust(self) -> float:
        """Tag F1 times consistency: consistent labels of wrong classes are worth nothing."""
        return self.tag_f1 * self.consistency

    def to_dict(self) -> dict[str, float]:
        """The signal as plain values."""
        return asdict(self) | {"trust": self.trust}


def measure_signal(plan: SegmenterPlan, segmenter: Stage, first_seeds: Stage) -> Stage:
    """Plan the measurement of a segmenter's signal.

    Args:
        plan: Plan of the segmenter; defines the watched images.
        segmenter: The stage that trains it.
        first_seeds: The stage that made the first round's seeds, for the guard.
    """
    dataset, least_area = plan.dataset, plan.self_training.least_area

    def work(bench: Workbench, out: Artefact) -> None:
        inference, seeds = SegmenterInference(plan, bench, segmenter), bench.read(first_seeds)

        def one(portion: Portion) -> None:
            views = _views(inference, portion)
            counts = torch.stack(
                [
                    _count(dataset, image, [view[index] for view in views], seeds.read_labels(image), least_area)
                    for index, image in enumerate(portion.ids)
                ]
            )
            with out.unit(portion.name) as unit:
                unit.write_tensors(f"counts/{portion.name}.safetensors", {"counts": counts.sum(0)})

        for_each(bench, out, batches(dataset, plan.split()[1], BATCH), one, description="signal")

    return Stage(
        name="signal",
        version=1,
        work=work,
        settings={"least_area": least_area, "watched": plan.self_training.watched, "precision": plan.precision},
        reads={"segmenter": segmenter, "seeds": first_seeds},
        round=segmenter.round,
    )


def _views(inference: SegmenterInference, portion: Portion) -> list[list[LabelMap]]:
    """Labels of a unit's images: original, mirrored and downscaled."""
    sizes = [inference.plan.dataset.size(image) for image in portion.ids]
    shown = (
        inference.scores(portion, scales=(1.0,), flip=False),
        inference.scores(portion, scales=(1.0,), flip=False, mirrored=True),
        inference.scores(portion, scales=(SHRUNK,), flip=False),
    )
    return [[inference.labels(one, size) for one, size in zip(scores, sizes, strict=True)] for scores in shown]


def _count(dataset: Dataset, image: str, views: list[LabelMap], seeds: LabelMap, least_area: float) -> Tensor:
    plain, mirrored, shrunk = views
    stay = (plain == mirrored).sum() + (plain == shrunk).sum()
    known = seeds != IGNORE
    tags = _count_tags(plain, *dataset.presence(image), least_area)
    return torch.tensor(
        [*tags, int(stay), 2 * plain.numel(), int((plain == seeds)[known].sum()), int(known.sum())], dtype=torch.int64
    )


def _count_tags(labels: LabelMap, tags: Tags, known: Tags, least_area: float) -> tuple[int, int, int]:
    """Count tags found, invented and missed, among the classes whose presence or absence is known."""
    areas = torch.bincount(labels.flatten().long(), minlength=256)[1 : len(tags) + 1]
    found = areas > least_area * labels.numel()
    return int((found & tags).sum()), int((found & known & ~tags).sum()), int((~found & tags).sum())


def read_signal(artefact: Artefact) -> Signal:
    """Read the measured signal; shares with denominator 0 are 0."""
    total = torch.zeros(COUNTS, dtype=torch.int64)
    for name in sorted(name for name in artefact.files if name.startswith("counts/")):
        total += artefact.read_tensors(name)["counts"]
    found, invented, missed, stay, pixels, agreed, seeds = total.tolist()
    return Signal(
        tag_f1=2 * found / max(1, 2 * found + invented + missed),
        consistency=stay / max(1, pixels),
        seed_agreement=agreed / max(1, seeds),
    )
