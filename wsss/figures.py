"""Figures of a run: what became of an image on its way through the stages."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import Tensor

from wsss.data.base import Dataset
from wsss.pipeline import CEILING, Plan, Step
from wsss.plotting import Strip, draw_curves, draw_strips, strip_of_maps
from wsss.stages.base import is_done
from wsss.store import Artefact, Store
from wsss.tracking import read_metrics

ROWS = 6
"""Images in the figure that every run draws."""

TITLES = {
    "growing": "grown",
    "crf": "CRF",
    "cams": "CAM",
    "pseudo_labels": "pseudo labels",
    "predictions": "prediction",
    "scores": "prediction",
}
"""Column titles that differ from the stage's name."""


def draw_run(folder: Path, dataset: Dataset, plan: Plan, store: Store, *, redraw: bool = True) -> None:
    """Draw the figures of a run: strips of training and of validation images, and the curves of its trainings.

    Args:
        folder: The run's folder.
        dataset: The images.
        plan: The stages.
        store: Where their artefacts lie.
        redraw: Whether to draw figures that are there already.
    """
    for split in ("train", "val"):
        path = folder / "figures" / f"strips_{split}.png"
        if dataset.ids(split) and (redraw or not path.exists()):
            draw_images(path, dataset, plan, store, spread(dataset.ids(split), ROWS))
    curves = folder / "figures" / "curves.png"
    rows = read_metrics(folder)
    if any("epoch" in row for row in rows) and (redraw or not curves.exists()):
        draw_curves(rows, curves)


def draw_images(path: Path, dataset: Dataset, plan: Plan, store: Store, images: Sequence[str]) -> None:
    """Draw the strips of the given images.

    Args:
        path: PNG to write.
        dataset: The images.
        plan: The stages.
        store: Where their artefacts lie.
        images: Names of training or validation images.
    """
    strips = [_strip(dataset, plan, store, image) for image in images]
    draw_strips(strips, path, classes=dataset.classes)


def spread(ids: Sequence[str], count: int) -> list[str]:
    """Choose so many images, evenly spread over the list."""
    step = max(1, len(ids) // max(1, count))
    return list(ids[::step][:count])


def _strip(dataset: Dataset, plan: Plan, store: Store, image: str) -> Strip:
    known = [
        (_title(step, plan), found)
        for step in plan
        if (found := _found(store, step, image, len(dataset.classes))) is not None
    ]
    return strip_of_maps(dataset.image(image), [*known, *_truth(dataset, image)], title=image)


def _truth(dataset: Dataset, image: str) -> Iterator[tuple[str, Tensor]]:
    truth = dataset.truth(image)
    if truth is not None:
        yield "truth", truth


def _title(step: Step, plan: Plan) -> str:
    stage = step.stage
    if stage.name == CEILING:
        return "ceiling"
    title = TITLES.get(stage.name, stage.name)
    return f"{title} {stage.round}" if len(plan.rounds) > 1 and stage.name != "cams" else title


def _found(store: Store, step: Step, image: str, classes: int) -> Tensor | None:
    """What a stage found in an image: activations for CAMs, labels otherwise; None where it found nothing to show."""
    if step.scored is None or not is_done(store, step.stage):
        return None
    artefact = store.artefact(step.stage.name, step.stage.key)
    if step.stage.name == "cams":
        return artefact.read_scores(image, classes + 1)[1:] if _has(artefact, "scores", image, ".safetensors") else None
    return artefact.read_labels(image) if _has(artefact, "labels", image, ".png") else None


def _has(artefact: Artefact, kind: str, image: str, suffix: str) -> bool:
    return artefact.path(kind, image, suffix).exists()
