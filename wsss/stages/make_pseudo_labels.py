"""The last refiner's result as training labels, with a confidence per pixel."""

from functools import partial

import torch

from wsss.data.base import Dataset
from wsss.stages.base import Portion, Stage, Workbench, for_each, portions, science
from wsss.stages.materials import Settled, Trail, reads_of, settled_by, write_weights
from wsss.stages.settings import PseudoLabelSettings
from wsss.store import Artefact, resize_scores
from wsss.types import IGNORE


def make_pseudo_labels(dataset: Dataset, settings: PseudoLabelSettings, trail: Trail, round: int) -> Stage:
    """Plan the labels that the segmenter is trained on."""
    sparse = trail.labels is trail.seeds

    def work(bench: Workbench, out: Artefact) -> None:
        labels, scores = bench.read(trail.labels), None if sparse else bench.read(trail.scores)
        settled = settled_by(bench, trail.annotations)
        one = partial(_label_portion, dataset, settings, labels, scores, settled, out)
        for_each(bench, out, portions(dataset.ids("train")), one, description="pseudo labels", pooled=True)

    reads = {"labels": trail.labels} | ({} if sparse else {"scores": trail.scores}) | reads_of(trail.annotations)
    return Stage(
        name="pseudo_labels",
        version=3,
        work=work,
        settings=science(settings) | dataset.label_use,
        reads=reads,
        round=round,
    )


def _label_portion(
    dataset: Dataset,
    settings: PseudoLabelSettings,
    labels: Artefact,
    scores: Artefact | None,
    settled: Settled,
    out: Artefact,
    portion: Portion,
) -> None:
    with out.unit(portion.name) as unit:
        for image in portion.ids:
            chosen = settled.mend(image, labels.read_labels(image))
            confidence = torch.ones(chosen.shape)
            if scores is not None:
                found = scores.read_scores(image, len(dataset.classes) + 1)
                # between cells of two labels, neither is confident
                best = resize_scores(found, dataset.size(image)).amax(0)
                confidence = settled.confidence(image, best.clamp(0, 1))
            unit.write_labels(image, torch.where(confidence < settings.ignore_below, IGNORE, chosen))
            if settings.confidence_weights:
                write_weights(unit, image, confidence)
