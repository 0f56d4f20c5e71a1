"""The last refiner's result as labels to train on, with the confidence of each pixel."""

import io
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image as PillowImage
from torch import Tensor

from wsss.data.base import Dataset
from wsss.stages.base import Portion, Stage, Workbench, for_each, portions, science
from wsss.stages.refine import Trail
from wsss.stages.settings import PseudoLabelSettings
from wsss.store import Artefact, UnitWriter, resize_scores
from wsss.types import IGNORE, LabelMap


def make_pseudo_labels(dataset: Dataset, settings: PseudoLabelSettings, trail: Trail, turn: int) -> Stage:
    """Plan the labels that the segmenter is trained on."""
    sparse = trail.labels is trail.seeds

    def work(bench: Workbench, out: Artefact) -> None:
        labels, scores = bench.read(trail.labels), None if sparse else bench.read(trail.scores)
        one = partial(_label_portion, dataset, settings, labels, scores, out)
        for_each(bench, out, portions(dataset.ids("train")), one, description="pseudo labels")

    reads = {"labels": trail.labels} if sparse else {"labels": trail.labels, "scores": trail.scores}
    return Stage(name="pseudo_labels", version=1, work=work, settings=science(settings), reads=reads, round=turn)


def _label_portion(
    dataset: Dataset,
    settings: PseudoLabelSettings,
    labels: Artefact,
    scores: Artefact | None,
    out: Artefact,
    portion: Portion,
) -> None:
    with out.unit(portion.name) as unit:
        for image in portion.ids:
            chosen = labels.read_labels(image)
            confidence = torch.ones(chosen.shape)
            if scores is not None:
                small = scores.read_scores(image, len(dataset.classes) + 1)
                confidence = resize_scores(small.amax(0, keepdim=True), tuple(chosen.shape))[0].clamp(0, 1)
            unit.write_labels(image, torch.where(confidence < settings.ignore_below, IGNORE, chosen))
            if settings.confidence_weights:
                write_weights(unit, image, confidence)


def write_weights(unit: UnitWriter, image: str, weights: Float[Tensor, "H W"]) -> None:
    """Write weights in [0, 1] as a grey PNG of 256 steps."""
    buffer = io.BytesIO()
    PillowImage.fromarray((weights * 255).round().to(torch.uint8).numpy()).save(buffer, format="PNG", compress_level=4)
    unit.write(unit.artefact.path("weights", image, ".png"), buffer.getvalue())


def read_weights(artefact: Artefact, image: str) -> Float[Tensor, "H W"]:
    """Read weights in [0, 1]."""
    content = artefact.read(artefact.path("weights", image, ".png"))
    return torch.from_numpy(np.array(PillowImage.open(io.BytesIO(content)), dtype=np.float32)) / 255


def read_target(artefact: Artefact, image: str) -> tuple[LabelMap, Tensor | None]:
    """Read what a segmenter is trained on: labels, and the weights of their pixels if there are any."""
    labels = artefact.read_labels(image)
    weighted = artefact.path("weights", image, ".png").exists()
    return labels, read_weights(artefact, image) if weighted else None
