"""Figures of a run: the results of all stages for some images."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from wsss.annotations import Annotation
from wsss.data.base import Dataset
from wsss.gallery import found, spread
from wsss.pipeline import CEILING, Plan, Step
from wsss.plotting import Strip, draw_confusion, draw_curves, draw_strips, strip_of_maps, with_annotation
from wsss.stages.base import is_done
from wsss.stages.evaluate import read_pooled
from wsss.store import Store
from wsss.tracking import read_metrics
from wsss.types import BACKGROUND, BACKGROUND_NAME

ROWS = 6
"""Number of images in the figure that every run draws."""

TITLES = {
    "growing": "grown",
    "crf": "CRF",
    "cams": "CAM",
    "pseudo_labels": "pseudo labels",
    "predictions": "prediction",
    "scores": "prediction",
}
"""Column titles that differ from the stage's name."""


def draw_run(
    folder: Path, dataset: Dataset, plan: Plan, store: Store, *, palette: str = "voc", redraw: bool = True
) -> None:
    """Draw the figures of a run: strips of both splits, training curves, and confusion matrices.

    Args:
        folder: The run's folder.
        dataset: The images.
        plan: The stages.
        store: The store of their artefacts.
        palette: Name of a palette in ``PALETTES``.
        redraw: Whether to draw existing figures again.
    """
    for split in ("train", "val"):
        path = folder / "figures" / f"strips_{split}.png"
        if dataset.ids(split) and (redraw or not path.exists()):
            draw_images(path, dataset, plan, store, spread(dataset.ids(split), ROWS), palette=palette)
    curves = folder / "figures" / "curves.png"
    rows = read_metrics(folder)
    if any("epoch" in row for row in rows) and (redraw or not curves.exists()):
        draw_curves(rows, curves)
    for current in plan.rounds:
        path = folder / "figures" / f"confusion_{current.index}.png"
        confusion = _confusion(store, current.predictions, len(dataset.classes))
        if confusion is not None and (redraw or not path.exists()):
            names, first = (BACKGROUND_NAME, *dataset.classes), 0 if dataset.background else BACKGROUND + 1
            draw_confusion(confusion[first:, first:], path, names[first:])


def _confusion(store: Store, step: Step, classes: int) -> Tensor | None:
    """Confusion matrix of a step's labels, (K, K + 1); None if not evaluated, or no image has ground truth."""
    if step.scored is None or not is_done(store, step.scored):
        return None
    pooled = read_pooled(store.artefact(step.scored.name, step.scored.key), classes + 1)
    return pooled if pooled is not None and pooled.any() else None


def draw_images(
    path: Path,
    dataset: Dataset,
    plan: Plan,
    store: Store,
    images: Sequence[str],
    remarks: Mapping[str, str] | None = None,
    *,
    palette: str = "voc",
) -> None:
    """Draw the strips of the given images.

    Args:
        path: PNG to write.
        dataset: The images.
        plan: The stages.
        store: The store of their artefacts.
        images: Names of training or validation images.
        remarks: Text below the name of an image.
        palette: Name of a palette in ``PALETTES``.
    """
    strips = [_strip(dataset, plan, store, image, (remarks or {}).get(image, ""), palette) for image in images]
    draw_strips(strips, path, classes=dataset.classes, palette=palette)


def _strip(dataset: Dataset, plan: Plan, store: Store, image: str, remark: str, palette: str) -> Strip:
    known = [
        (_title(step, plan), shown)
        for step in plan
        if (shown := found(store, step, image, len(dataset.classes))) is not None
    ]
    title = f"{image}\n{remark}" if remark else image
    row = strip_of_maps(dataset.image(image), [*known, *_truth(dataset, image)], title=title, palette=palette)
    seen = dataset.annotation(image) if image in dataset.ids("train") else Annotation()
    return with_annotation(row, dataset.image(image), seen, dataset.classes, palette=palette)


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
