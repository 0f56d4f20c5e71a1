"""Results of stages for single images, and selection of images to show."""

from collections.abc import Sequence
from typing import TypeVar

from torch import Tensor

from wsss.data.base import SPLITS, Dataset
from wsss.errors import DataError, nearest
from wsss.functional.confusion import class_iou, mean_iou
from wsss.pipeline import CEILING, Plan, Step
from wsss.stages.base import is_done
from wsss.stages.evaluate import read_each
from wsss.store import Artefact, Store

Item = TypeVar("Item")


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """Choose ``count`` items, evenly spread over the list; all of them if there are fewer."""
    chosen = min(count, len(items))
    return [items[place * len(items) // chosen] for place in range(chosen)]


def found(store: Store, step: Step, image: str, classes: int) -> Tensor | None:
    """Read the result of a stage for an image.

    Args:
        store: The store of artefacts.
        step: The stage.
        image: Name of the image.
        classes: Number C of foreground classes.

    Returns:
        Activations (C, h, w) for CAMs, labels (H, W) otherwise; None if there is nothing to show.
    """
    if step.scored is None or not is_done(store, step.stage):
        return None
    artefact = store.artefact(step.stage.name, step.stage.key)
    if step.stage.name == "cams":
        return artefact.read_scores(image, classes + 1)[1:] if _has(artefact, "scores", image, ".safetensors") else None
    return artefact.read_labels(image) if _has(artefact, "labels", image, ".png") else None


def _has(artefact: Artefact, kind: str, image: str, suffix: str) -> bool:
    return artefact.path(kind, image, suffix).exists()


def known_images(dataset: Dataset, images: Sequence[str]) -> list[str]:
    """Check that the data set has the images.

    Raises:
        DataError: If an image does not exist; the message suggests similar names.
    """
    ids = [image for split in SPLITS for image in dataset.ids(split)]
    for image in images:
        if image not in ids:
            raise DataError(f"data set '{dataset.name}' has no image '{image}'; {nearest(image, ids)}")
    return list(images)


def label_of(dataset: Dataset, name: str) -> int:
    """Find the label of a class.

    Raises:
        DataError: If there is no such class; the message suggests similar names.
    """
    if name not in dataset.classes:
        raise DataError(f"data set '{dataset.name}' has no class '{name}'; {nearest(name, dataset.classes)}")
    return dataset.classes.index(name) + 1


def tagged(dataset: Dataset, ids: Sequence[str], label: int) -> list[str]:
    """Choose the images in which a class is known to be present, by tags or other labels."""
    return [image for image in ids if dataset.presence(image)[0][label - 1]]


def last_measured(plan: Plan, store: Store, split: str, last_round: int | None = None) -> Step | None:
    """Find the last stage of a run whose labels of a split are evaluated, except for the ceiling.

    Args:
        plan: The stages.
        store: The store of their artefacts.
        split: ``train`` or ``val``.
        last_round: The round whose segmenter is the result; None takes the last one.
    """
    done = [
        step
        for step in plan
        if step.split == split
        and step.stage.name != CEILING
        and (last_round is None or step.stage.round <= last_round)
        and step.scored is not None
        and is_done(store, step.scored)
    ]
    return done[-1] if done else None


def image_ious(dataset: Dataset, store: Store, step: Step, label: int | None = None) -> dict[str, float]:
    """Compute the IoU of a stage's labels with the ground truth of each image.

    Args:
        dataset: The images.
        store: The store of artefacts.
        step: A stage whose labels are evaluated.
        label: Label whose IoU is computed; None takes the mean over the labels of the image.

    Returns:
        A share in [0, 1] for each image that has ground truth and, with ``label``, has it in ground truth or
        prediction.
    """
    if step.scored is None:
        return {}
    classes = len(dataset.classes) + 1
    confusions = list(read_each(store.artefact(step.scored.name, step.scored.key), classes))
    ids = dataset.ids(step.split)
    if len(confusions) < len(ids):
        ids = tuple(image for image in ids if dataset.truth(image) is not None)
    scores: dict[str, float] = {}
    for image, confusion in zip(ids, confusions, strict=True):
        if confusion.any():
            share = mean_iou(confusion) if label is None else class_iou(confusion)[label]
            scores |= {} if share is None else {image: share}
    return scores
