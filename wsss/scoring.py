"""Evaluation of label maps against ground truth: from two folders, or from counts."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from wsss import console
from wsss.data.images import read_label_png
from wsss.errors import DataError
from wsss.functional.boundary import boundary_counts, boundary_iou
from wsss.functional.confusion import (
    Confusion,
    Confusions,
    Convention,
    bootstrap_interval,
    class_iou,
    confusion_matrix,
    coverage,
    mean_iou,
    pixel_accuracy,
    precision,
)
from wsss.types import BACKGROUND, BACKGROUND_NAME, IGNORE, LabelMap


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Quality of a set of label maps; all scores are percent.

    Attributes:
        images: Number of label maps.
        convention: Which classes the mean counts; see ``mean_iou``.
        miou: Mean intersection over union, pooled over the images.
        interval95: 95 % bootstrap interval of the mean IoU over images.
        pixel_accuracy: Correctly labelled pixels.
        coverage: Labelled pixels.
        precision: Labelled pixels that are correct; None if none is labelled.
        boundary_iou: Mean intersection over union of the boundary bands.
        per_class: Intersection over union by class name; None if the class occurs in neither map.
    """

    images: int
    convention: Convention
    miou: float
    interval95: tuple[float, float]
    pixel_accuracy: float
    coverage: float
    precision: float | None
    boundary_iou: float
    per_class: dict[str, float | None]

    def rows(self) -> list[tuple[str, float | None]]:
        """Return the scores as rows of name and percent."""
        return [
            ("mIoU", self.miou),
            ("pixel accuracy", self.pixel_accuracy),
            ("coverage", self.coverage),
            ("precision", self.precision),
            ("boundary IoU", self.boundary_iou),
            *((f"IoU {name}", share) for name, share in self.per_class.items()),
        ]

    def table(self) -> str:
        """Format the scores as text."""
        low, high = self.interval95
        title = (
            f"{self.images} label maps, classes counted: {self.convention}; "
            f"95 % interval of mIoU {low:.1f} – {high:.1f}"
        )
        return console.format_table(title, ["score", "%"], self.rows())

    def to_dict(self) -> dict[str, Any]:
        """Return the scores as JSON-compatible values."""
        return asdict(self)


def score_folders(
    labels: str | Path,
    truth: str | Path,
    *,
    classes: Sequence[str] | None = None,
    convention: Convention = "union",
    background: bool = True,
    workers: int | None = None,
) -> Scores:
    """Score every PNG of a folder against the ground truth of the same name.

    Args:
        labels: Folder of the predicted label PNGs, one byte per pixel; 255 for unlabelled pixels.
        truth: Folder of the ground truth PNGs; 255 for pixels that do not count.
        classes: Names of the C foreground classes; None derives their number from the highest label.
        convention: Which classes the mean counts; see ``mean_iou``.
        background: Whether label 0 is a class of its own; if not, it means unknown in the ground truth, and unlabelled
            in the prediction.
        workers: Number of threads; None takes as many as torch does.

    Raises:
        DataError: If a ground truth is missing, sizes differ, a PNG is not a label map or a label is not a class.
    """
    labels, truth = Path(labels), Path(truth)
    pairs = pair_up(labels, truth)
    left = len(_label_files(truth)) - len(pairs)
    if left:
        console.note(f"{left} of the PNGs in '{truth}' have no counterpart in '{labels}', and do not count")
    names = None if classes is None else (BACKGROUND_NAME, *classes)
    count = partial(_count_files, classes=None if names is None else len(names), background=background)
    workers = workers or torch.get_num_threads()
    with console.progress("scoring", len(pairs)) as advance, _single_threaded_torch():
        counts = list(_in_threads(count, pairs, workers, advance))
    if names is None:
        names = (BACKGROUND_NAME, *map(str, range(1, max(len(confusion) for confusion, _ in counts))))
    confusions = torch.stack([_widened(confusion, len(names)) for confusion, _ in counts])
    boundaries = torch.stack([pad(boundary, (0, 0, 0, len(names) - len(boundary))) for _, boundary in counts])
    if not background:
        names, confusions, boundaries = names[1:], confusions[:, 1:, 1:], boundaries[:, 1:]
    if not confusions.any():
        raise DataError(f"the ground truth in '{truth}' is {IGNORE} everywhere; nothing can be scored against it")
    return score_confusions(confusions, boundaries.sum(0), names, convention=convention)


def score_confusions(
    confusions: Confusions, boundary: Tensor, names: Sequence[str], *, convention: Convention = "union"
) -> Scores:
    """Compute all scores from the counts of the images.

    Args:
        confusions: The confusion of each image, (N, K, K + 1).
        boundary: Intersection and union of the boundary bands, summed over the images, (K, 2).
        names: Names of the K labels, background included.
        convention: Which classes the mean counts; see ``mean_iou``.

    Raises:
        ValueError: If no pixel has ground truth.
    """
    pooled = confusions.sum(0)
    low, high = bootstrap_interval(confusions, convention=convention)
    shares = class_iou(pooled)
    return Scores(
        images=len(confusions),
        convention=convention,
        miou=100 * mean_iou(pooled, convention=convention),
        interval95=(100 * low, 100 * high),
        pixel_accuracy=100 * pixel_accuracy(pooled),
        coverage=100 * coverage(pooled),
        precision=100 * precision(pooled) if pooled[:, :-1].any() else None,
        boundary_iou=100 * boundary_iou(boundary),
        per_class={name: None if share is None else 100 * share for name, share in zip(names, shares, strict=True)},
    )


def pair_up(labels: Path, truth: Path) -> list[tuple[Path, Path]]:
    """Find the ground truth of every PNG of a folder.

    Returns:
        Pairs of a label file and a ground truth file, sorted by name.

    Raises:
        DataError: If a folder or a ground truth is missing, or there is nothing to score.
    """
    for folder in (labels, truth):
        if not folder.is_dir():
            raise DataError(f"'{folder}' is not a folder; give one that contains label PNGs")
    files = _label_files(labels)
    if not files:
        raise DataError(f"'{labels}' contains no PNG; give the folder that contains the label PNGs directly")
    missing = [path.name for path in files if not (truth / path.name).is_file()]
    if missing:
        others = f" (and {len(missing) - 1} others)" if len(missing) > 1 else ""
        raise DataError(
            f"'{truth / missing[0]}'{others} is missing, the ground truth of '{labels / missing[0]}'; "
            "add it, or move the labels without ground truth elsewhere"
        )
    return [(path, truth / path.name) for path in files]


def _label_files(folder: Path) -> list[Path]:
    """The PNGs of a folder, sorted by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() == ".png" and not path.name.startswith("."))


def _count_files(pair: tuple[Path, Path], classes: int | None, *, background: bool) -> tuple[Confusion, Tensor]:
    labels, truth = (_read(path, classes) for path in pair)
    if labels.shape != truth.shape:
        (height, width), (true_height, true_width) = labels.shape, truth.shape
        raise DataError(
            f"'{pair[0]}' has {height} × {width} pixels (rows × columns), its ground truth '{pair[1]}' has "
            f"{true_height} × {true_width}; resize the labels to the ground truth, by nearest neighbour"
        )
    known = classes or 1 + max(_highest(labels), _highest(truth))
    if not background:
        labels, truth = (part.masked_fill(part == BACKGROUND, IGNORE) for part in (labels, truth))
    return confusion_matrix(labels, truth, classes=known), boundary_counts(labels, truth, classes=known)


def _read(path: Path, classes: int | None) -> LabelMap:
    labels = read_label_png(path)
    if classes is not None and _highest(labels) >= classes:
        raise DataError(
            f"'{path}' holds label {_highest(labels)}; labels must be below {classes} or {IGNORE}, "
            "so name all classes in the --classes file"
        )
    return labels


def _highest(labels: LabelMap) -> int:
    """The highest label that is not ``IGNORE``; 0 if there is none."""
    return int(torch.where(labels == IGNORE, 0, labels).max())


def _widened(confusion: Confusion, classes: int) -> Confusion:
    """Pad with zeros for classes that this image does not have."""
    more = classes - len(confusion)
    return torch.cat([pad(confusion[:, :-1], (0, more, 0, more)), pad(confusion[:, -1:], (0, 0, 0, more))], dim=1)


def _in_threads(
    count: Callable[[tuple[Path, Path]], tuple[Confusion, Tensor]],
    pairs: Sequence[tuple[Path, Path]],
    workers: int,
    advance: console.Advance,
) -> Iterator[tuple[Confusion, Tensor]]:
    # Pillow and torch release the interpreter lock while they work, and threads, unlike processes, start at once
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as threads:
        for counted in threads.map(count, pairs):
            advance()
            yield counted


@contextmanager
def _single_threaded_torch() -> Iterator[None]:
    """Run each operation on one core: maps this small do not benefit from several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
