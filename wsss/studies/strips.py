"""Results of a study's runs on the same images, side by side: one row per image, one column per run."""

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
"""Number of images in a figure."""


@dataclass(frozen=True)
class Column:
    """A finished run as a column of a figure.

    Attributes:
        title: Title of the column.
        config: Its configuration.
        summary: See ``summary.json``.
    """

    title: str
    config: Config
    summary: Mapping[str, Any]

    @cached_property
    def dataset(self) -> Dataset:
        """Its data set."""
        return open_dataset(self.config.data, self.config.labels)

    def labels_given(self, image: str) -> Annotation | None:
        """The annotation of an image; None if it has no position in the image, as for tags."""
        annotation = self.dataset.annotation(image)
        return annotation if set(annotation.kinds) - {"tags"} else None

    def pseudo_labels(self, image: str) -> Tensor | None:
        """The pseudo labels of an image in the final round; None if there are none."""
        return self._stored(LABELS, image)

    def predictions(self, image: str) -> Tensor | None:
        """The final segmenter's labels of an image; None if there are none."""
        return self._stored("predictions", image)

    def _stored(self, stage: str, image: str) -> Tensor | None:
        """Labels of a stage in the final round; found by the summary, since planning would read all images."""
        final = self.summary.get("final_round")
        rows = [
            row for row in self.summary["work"] if row["name"] == stage and (final is None or row["round"] == final)
        ]
        if not rows:
            return None
        artefact = Store(Path(self.config.store.root)).artefact(stage, rows[-1]["key"])
        return artefact.read_labels(image) if artefact.path("labels", image, ".png").exists() else None


Shown = Tensor | Annotation | None
"""Labels of all pixels, an annotation, or nothing."""

FIGURES: dict[str, tuple[str, Callable[[Column, str], Shown]]] = {
    "labels_given": ("train", Column.labels_given),
    "pseudo_labels": ("train", Column.pseudo_labels),
    "predictions": ("val", Column.predictions),
}
"""Figures of a study: the split of their images, and what is drawn over them."""


def draw_study(folder: Path, columns: Sequence[Column]) -> None:
    """Draw the annotations, pseudo labels and predictions of the runs.

    Args:
        folder: Folder of the figures, one for each of ``FIGURES``; those without content are left out.
        columns: Finished runs.
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
