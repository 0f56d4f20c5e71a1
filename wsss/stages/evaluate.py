"""Evaluation of label maps against ground truth; the results are never used by a method."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from wsss.data.base import Dataset
from wsss.errors import StoreError
from wsss.functional.boundary import boundary_counts
from wsss.functional.confusion import confusion_matrix
from wsss.functional.seeds import SeedSettings, Thresholds, cam_scores
from wsss.refine.base import best_labels
from wsss.stages.base import Portion, Stage, Workbench, for_each, portions
from wsss.stages.materials import image_thresholds, training_thresholds
from wsss.store import Artefact, resize_scores
from wsss.types import BACKGROUND, LabelMap

ORACLE_STEPS = 100
"""Number of constant thresholds tried, 0.00 to 0.99."""

CHUNK = 64
"""Images per file of counts."""


def evaluate(dataset: Dataset, labels: Stage, split: str, *, boundary: bool = False) -> Stage:
    """Plan the evaluation of a stage's labels.

    Args:
        dataset: Ground truth and classes.
        labels: The stage that wrote ``labels``.
        split: The split of the labels.
        boundary: Whether to compute boundary IoU too.
    """

    def work(bench: Workbench, out: Artefact) -> None:
        one = partial(_count_labels, dataset, bench.read(labels), boundary, out)
        planned = portions(dataset.ids(split), CHUNK)
        for_each(bench, out, planned, one, description=f"scores of {labels.name}", pooled=True)

    return Stage(
        name="evaluate",
        version=1,
        work=work,
        settings={"boundary": boundary, "split": split},
        reads={"labels": labels},
        data={"truth": dataset.fingerprint(split, truth=True)},
        round=labels.round,
    )


def _count_labels(dataset: Dataset, labels: Artefact, boundary: bool, out: Artefact, portion: Portion) -> None:
    classes = len(dataset.classes) + 1
    matrices: list[Tensor] = []
    bands: list[Tensor] = []
    for image in portion.ids:
        truth = dataset.truth(image)
        if truth is None:
            continue
        predicted = labels.read_labels(image)
        matrices.append(confusion_matrix(predicted, truth, classes=classes))
        if boundary:
            bands.append(boundary_counts(predicted, truth, classes=classes))
    with out.unit(portion.name) as unit:
        counts = _pack(matrices, classes)
        if boundary:
            counts["boundary"] = torch.stack(bands) if bands else torch.zeros((0, classes, 2), dtype=torch.int64)
        unit.write_tensors(f"counts/{portion.name}.safetensors", counts)


def _pack(matrices: Sequence[Tensor], classes: int) -> dict[str, Tensor]:
    """Store only the non-zero cells of the matrices: an image has few classes."""
    stacked = torch.stack(list(matrices)) if matrices else torch.zeros((0, classes, classes + 1), dtype=torch.int64)
    cells = stacked.nonzero()
    return {"cells": cells.to(torch.int32), "counts": stacked[tuple(cells.T)], "images": torch.tensor(len(matrices))}


def evaluate_cams(dataset: Dataset, settings: SeedSettings, cams: Stage) -> Stage:
    """Plan the evaluation of CAMs: with the configured background rule, and at every constant threshold."""

    def work(bench: Workbench, out: Artefact) -> None:
        thresholds = training_thresholds(bench, bench.read(cams), settings)
        one = partial(_count_cams, dataset, settings, thresholds, bench.read(cams), out)
        for_each(bench, out, portions(dataset.ids("train"), CHUNK), one, description="scores of cams", pooled=True)

    return Stage(
        name="evaluate_cams",
        version=4,
        work=work,
        settings=settings.of_scores(),
        reads={"cams": cams},
        data={"truth": dataset.fingerprint("train", truth=True)},
    )


def _count_cams(
    dataset: Dataset,
    settings: SeedSettings,
    training: Thresholds | None,
    cams: Artefact,
    out: Artefact,
    portion: Portion,
) -> None:
    classes = len(dataset.classes) + 1
    matrices: list[Tensor] = []
    oracle = torch.zeros((ORACLE_STEPS, classes, classes + 1), dtype=torch.int64)
    for image in portion.ids:
        truth = dataset.truth(image)
        if truth is None:
            continue
        full, labels = cam_labels(dataset, settings, training, cams, image)
        matrices.append(confusion_matrix(labels, truth, classes=classes))
        oracle += threshold_confusions(full, truth, possible=dataset.possible(image))
    with out.unit(portion.name) as unit:
        unit.write_tensors(f"counts/{portion.name}.safetensors", _pack(matrices, classes) | {"oracle": oracle})


def cam_labels(
    dataset: Dataset, settings: SeedSettings, training: Thresholds | None, cams: Artefact, image: str
) -> tuple[Tensor, LabelMap]:
    """Label every pixel of an image by its CAMs and the configured background rule.

    Args:
        dataset: The image and its tags.
        settings: The rule.
        training: Result of ``training_thresholds``.
        cams: Artefact of the CAMs.
        image: Name of the image.

    Returns:
        The CAMs at the image's size, (C, H, W) in [0, 1], and the labels, (H, W).
    """
    small, tags = cams.read_scores(image, len(dataset.classes) + 1), dataset.tags(image)
    full = resize_scores(small, dataset.size(image))[1:].clamp(0, 1)
    thresholds = training or image_thresholds(small[1:], tags, settings)
    scores = cam_scores(full, tags, settings, background=dataset.background, thresholds=thresholds)
    return full, best_labels(scores, dataset.possible(image))


def threshold_confusions(cams: Tensor, truth: LabelMap, *, possible: Sequence[int]) -> Tensor:
    """Compute the confusion matrix at every constant background threshold in one pass over the pixels.

    Args:
        cams: (C, H, W) in [0, 1].
        truth: (H, W).
        possible: Labels that the tags allow.

    Returns:
        (``ORACLE_STEPS``, K, K + 1); in step t, pixels whose best CAM is at most t / ``ORACLE_STEPS`` are background,
        or, without a background class, unlabelled. In the latter case step 0 labels all pixels, like the configured
        rule.
    """
    classes = len(cams) + 1
    foreground = [label for label in possible if label != BACKGROUND]
    labels = torch.zeros(truth.shape, dtype=torch.int64)
    peaks = torch.zeros(truth.shape)
    if foreground:
        peaks, best = cams[[label - 1 for label in foreground]].max(0)
        labels = torch.tensor(foreground)[best]
    # the first step in which the pixel is background; before it, the pixel has its label
    least = 1 if foreground and BACKGROUND not in possible else 0
    turns = torch.searchsorted(torch.arange(ORACLE_STEPS) / ORACLE_STEPS, peaks).clamp(least, ORACLE_STEPS)
    valid = truth.long() < classes
    codes = ((turns * classes + truth.long()) * classes + labels)[valid]
    counted = torch.bincount(codes, minlength=(ORACLE_STEPS + 1) * classes**2).view(-1, classes, classes)
    before = counted.flip(0).cumsum(0).flip(0)[1:]
    confusions = torch.zeros((ORACLE_STEPS, classes, classes + 1), dtype=torch.int64)
    confusions[:, :, :classes] = before
    # the last column is for pixels without a label
    confusions[:, :, BACKGROUND if BACKGROUND in possible else classes] += (counted.sum(0) - before).sum(2)
    return confusions


@dataclass(frozen=True)
class Counts:
    """Counts of each image that has ground truth.

    Attributes:
        confusions: (N, K, K + 1).
        boundary: (N, K, 2), intersections and unions of boundary bands; None if not computed.
    """

    confusions: Tensor
    boundary: Tensor | None

    @property
    def pooled(self) -> Tensor:
        """One confusion matrix for all images, (K, K + 1)."""
        return self.confusions.sum(0)


def read_pooled(artefact: Artefact, classes: int) -> Tensor | None:
    """Sum the confusion over all images, (K, K + 1); None if no image has ground truth."""
    pooled, images = torch.zeros((classes, classes + 1), dtype=torch.int64), 0
    for counts in _files(artefact):
        cells = counts["cells"].long()
        pooled.index_put_((cells[:, 1], cells[:, 2]), counts["counts"], accumulate=True)
        images += int(counts["images"])
    return pooled if images else None


def read_each(artefact: Artefact, classes: int) -> Iterator[Tensor]:
    """Yield the confusion of each image, (K, K + 1); images without ground truth are left out."""
    for counts in _files(artefact):
        cells = counts["cells"].long()
        for image in range(int(counts["images"])):
            mine = cells[:, 0] == image
            confusion = torch.zeros((classes, classes + 1), dtype=torch.int64)
            confusion[cells[mine, 1], cells[mine, 2]] = counts["counts"][mine]
            yield confusion


def read_oracle(artefact: Artefact) -> Tensor:
    """Sum the confusion over all images at each threshold, (``ORACLE_STEPS``, K, K + 1)."""
    return torch.stack([counts["oracle"] for counts in _files(artefact)]).sum(0)


def read_counts(artefact: Artefact, classes: int) -> Counts | None:
    """Read the counts of every image; None if no image has ground truth."""
    matrices: list[Tensor] = []
    bands: list[Tensor] = []
    for counts in _files(artefact):
        dense = torch.zeros((int(counts["images"]), classes, classes + 1), dtype=torch.int64)
        dense[tuple(counts["cells"].long().T)] = counts["counts"]
        matrices.append(dense)
        if "boundary" in counts:
            bands.append(counts["boundary"])
    confusions = torch.cat(matrices) if matrices else torch.zeros((0, classes, classes + 1))
    return Counts(confusions, torch.cat(bands) if bands else None) if len(confusions) else None


def _files(artefact: Artefact) -> Iterator[dict[str, Tensor]]:
    if not artefact.complete:
        raise StoreError(f"'{artefact.folder}' is not finished; run the same command again")
    for name in sorted(name for name in artefact.files if name.startswith("counts/")):
        yield artefact.read_tensors(name)
