"""What each kind of run makes of the same images, side by side: one row an image, one column a run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from wsss.annotations import Annotation
from wsss.config import Config
from wsss.data import open_dataset
from wsss.data.base import Dataset
from wsss.gallery import spread
from wsss.plotting import Strip, draw_strips, strip_of_maps, with_column
from wsss.store import Store
from wsss.studies.results import LABELS

ROWS = 6
"""Images in a figure."""


@dataclass(frozen=True)
class Column:
    """A run that has ended, as a figure shows it.

    Attributes:
        title: What stands above it.
        config: Its configuration.
        summary: See ``summary.json``.
    """

    title: str
    config: Config
    summary: Mapping[str, Any]

    @cached_property
    def dataset(self) -> Dataset:
        """Its images."""
        return open_dataset(self.config.data, self.config.labels)

    def labels_given(self, image: str) -> Annotation | None:
        """What a person gave of an image; None where that has no place in it, as tags have none."""
        annotation = self.dataset.annotation(image)
        return annotation if set(annotation.kinds) - {"tags"} else None

    def pseudo_labels(self, image: str) -> Tensor | None:
        """What the segmenter that stands has learnt of an image; None where no pseudo labels were made."""
        return self._stored(LABELS, image)

    def predictions(self, image: str) -> Tensor | None:
        """What the segmenter that stands says of an image; None if it was not asked."""
        return self._stored("predictions", image)

    def _stored(self, stage: str, image: str) -> Tensor | None:
        """Labels of a stage of the round that stands; found by its summary, since planning it reads all images."""
        segmenter = self.summary.get("segmenter")
        rows = [
            row
            for row in self.summary["work"]
            if row["name"] == stage and (segmenter is None or row["round"] == segmenter["round"])
        ]
        if not rows:
            return None
        artefact = Store(Path(self.config.store.root)).artefact(stage, rows[-1]["key"])
        return artefact.read_labels(image) if artefact.path("labels", image, ".png").exists() else None


Shown = Tensor | Annotation | None
"""Labels of all pixels, what a person gave, or nothing."""

FIGURES: dict[str, tuple[str, Callable[[Column, str], Shown]]] = {
    "labels_given": ("train", Column.labels_given),
    "pseudo_labels": ("train", Column.pseudo_labels),
    "predictions": ("val", Column.predictions),
}
"""What there is to see of each run: the images of which split, and what is laid over them."""


def draw_study(folder: Path, columns: Sequence[Column]) -> None:
    """Draw what the runs were given, what they made of it, and what their segmenters say.

    Args:
        folder: Where the figures go, one for each of ``FIGURES``; those that no run has anything for are left out.
        columns: Runs that have ended.
    """
    for name, (split, look) in FIGURES.items():
        images = spread(columns[0].dataset.ids(split), ROWS) if columns else []
        found = {column.title: [look(column, image) for image in images] for column in columns}
        shown = {title: looks for title, looks in found.items() if any(labels is not None for labels in looks)}
        if shown:
            _draw(folder / f"{name}.png", columns[0], images, shown)


def _draw(path: Path, first: Column, images: Sequence[str], shown: Mapping[str, Sequence[Shown]]) -> None:
    dataset, palette = first.dataset, first.config.palette
    strips = [
        _row(dataset, image, {title: looks[place] for title, looks in shown.items()}, palette)
        for place, image in enumerate(images)
    ]
    draw_strips(strips, path, classes=dataset.classes, palette=palette)


def _row(dataset: Dataset, image: str, shown: Mapping[str, Shown], palette: str) -> Strip:
    truth, picture = dataset.truth(image), dataset.image(image)
    row = strip_of_maps(picture, [] if truth is None else [("truth", truth)], title=image, palette=palette)
    for title, labels in shown.items():
        row = with_column(row, title, picture, labels, palette=palette)
    return row
