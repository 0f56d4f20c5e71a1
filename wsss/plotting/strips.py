"""Strips: one image per row, one step per column."""

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from wsss.annotations import Annotation
from wsss.console import elide, text_width
from wsss.plotting.figure import CELL, draw_legend, legend_entries, new_figure, write_figure
from wsss.plotting.pictures import Picture, annotated, heat, overlay, picture
from wsss.types import Image, LabelMap

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LABELS_TITLE = "given labels"
"""Title of the column with the training labels."""

TITLE_WIDTH = 24
"""Maximum number of letters in the title of a column."""

SIDE_LETTERS = 18
"""Letters of a row's name that fit into an inch."""

NOTE = {"facecolor": "black", "alpha": 0.6, "linewidth": 0, "pad": 1}
"""Background of notes."""


@dataclass(frozen=True)
class Strip:
    """A row of a figure: one image at all steps.

    Attributes:
        title: Name of the row.
        columns: A title and a picture for each step; None where there is none.
        labels: Labels that the row shows, for the legend.
        notes: The title of a column, and the text at the bottom of its picture.
    """

    title: str
    columns: tuple[tuple[str, Picture | None], ...]
    labels: frozenset[int] = frozenset()
    notes: tuple[tuple[str, str], ...] = ()


def strip(columns: Sequence[tuple[str, Picture | None]], title: str = "", labels: Iterable[LabelMap] = ()) -> Strip:
    """Create a row from pictures.

    Args:
        columns: A title and a picture for each step; None leaves the cell empty.
        title: Name of the row.
        labels: Label maps that the pictures show.
    """
    shown = {int(label) for shown in labels for label in torch.unique(shown)}
    return Strip(title, tuple(columns), frozenset(shown))


def strip_of_maps(
    image: Image,
    maps: Sequence[tuple[str, Tensor | None]],
    title: str = "",
    *,
    palette: str = "voc",
    opacity: float = 0.6,
) -> Strip:
    """Create a row from an image and its maps.

    Args:
        image: RGB bytes (3, H, W); the first column.
        maps: A title and a map for each step: floats are activations (see ``heat``), integers labels (see ``overlay``).
        title: Name of the row.
        palette: Name of a palette in ``PALETTES``.
        opacity: Opacity of the colours over the image.
    """
    columns: list[tuple[str, Picture | None]] = [("image", picture(image))]
    for name, found in maps:
        if found is None:
            columns.append((name, None))
        elif found.is_floating_point():
            columns.append((name, heat(image, found, opacity)))
        else:
            columns.append((name, overlay(image, found, opacity, palette=palette)))
    labels = [found for _, found in maps if found is not None and not found.is_floating_point()]
    return strip(columns, title, labels)


def with_annotation(
    row: Strip, image: Image, annotation: Annotation, classes: Sequence[str], *, palette: str = "voc"
) -> Strip:
    """Insert the annotation as the second column of a row, with the tags written into its picture.

    Args:
        row: The row.
        image: RGB bytes (3, H, W).
        annotation: The annotation; with tags only, the row is unchanged.
        classes: Names of the C foreground classes.
        palette: Name of a palette in ``PALETTES``.
    """
    if not set(annotation.kinds) - {"tags"}:
        return row
    *before, last = with_column(row, LABELS_TITLE, image, annotation, palette=palette).columns
    tags = annotation.tags.present if annotation.tags else ()
    note = textwrap.fill("tags: " + (", ".join(classes[tag - 1] for tag in tags) or "none"), 34)
    return replace(
        row,
        columns=(before[0], last, *before[1:]),
        labels=row.labels | _marks(annotation),
        notes=(*row.notes, *([(LABELS_TITLE, note)] if annotation.tags else [])),
    )


def with_column(
    row: Strip, title: str, image: Image, labels: LabelMap | Annotation | None, *, palette: str = "voc"
) -> Strip:
    """Add a column at the end of a row.

    Args:
        row: The row.
        title: Title of the column.
        image: RGB bytes (3, H, W).
        labels: Labels of all pixels, or an annotation; None leaves the cell empty.
        palette: Name of a palette in ``PALETTES``.
    """
    shown: Picture | None = None
    named: frozenset[int] = frozenset()
    if isinstance(labels, Annotation):
        shown, named = annotated(image, labels, palette=palette), _marks(labels)
    elif labels is not None:
        shown, named = overlay(image, labels, palette=palette), frozenset(torch.unique(labels).tolist())
    return replace(row, columns=(*row.columns, (title, shown)), labels=row.labels | named)


def _marks(annotation: Annotation) -> frozenset[int]:
    """Labels that have a position in the image."""
    return frozenset().union(*(label.labels() for label in annotation.given() if label.kind != "tags"))


def draw_strips(strips: Sequence[Strip], path: Path, *, classes: Sequence[str] = (), palette: str = "voc") -> None:
    """Draw several images at all steps, one per row.

    The columns are those of all rows, each title once, in order of first occurrence.

    Args:
        strips: The rows.
        path: PNG to write.
        classes: Names of the C foreground classes; the legend shows those that occur. Without names, no legend.
        palette: Name of the palette that the pictures use.
    """
    titles = list(dict.fromkeys(name for row in strips for name, _ in row.columns))
    heights = [
        CELL * max((_aspect(shown) for _, shown in row.columns if shown is not None), default=1) for row in strips
    ]
    entries = legend_entries([row.labels for row in strips], classes)
    margin, foot = 0.3, 0.1 + 0.25 * -(-len(entries) // max(1, len(titles)))
    width = margin + (CELL + 0.05) * len(titles)
    height = margin + sum(heights) + 0.05 * len(heights) + foot
    figure = new_figure(width, height)
    axes = figure.subplots(
        len(strips),
        len(titles),
        squeeze=False,
        gridspec_kw={
            "height_ratios": heights,
            "left": margin / width,
            "right": 1,
            "top": 1 - margin / height,
            "bottom": foot / height,
            "wspace": 0.05 / CELL,
            "hspace": 0.05 * len(heights) / sum(heights),
        },
    )
    for row, places, height in zip(strips, axes, heights, strict=True):
        _draw_row(row, titles, places, height)
    for title, place in zip(titles, axes[0], strict=True):
        place.set_title(elide(title, TITLE_WIDTH), fontsize=8, pad=3)
    draw_legend(figure, entries, columns=len(titles), palette=palette)
    write_figure(figure, path)


def _aspect(shown: Picture) -> float:
    """Height over width, clipped to what a figure can show."""
    return min(max(shown.shape[0] / shown.shape[1], 0.25), 4)


def _draw_row(row: Strip, titles: Sequence[str], places: "Sequence[Axes]", height: float) -> None:
    pictures, notes = dict(row.columns), dict(row.notes)
    for title, place in zip(titles, places, strict=True):
        place.set_xticks([])
        place.set_yticks([])
        for side in place.spines.values():
            side.set_visible(False)
        shown = pictures.get(title)
        if shown is not None:
            place.imshow(shown, interpolation="nearest" if max(shown.shape) < 128 else "antialiased")
        if title in notes:
            place.text(0.02, 0.02, notes[title], transform=place.transAxes, fontsize=4.5, color="white", bbox=NOTE)
    places[0].set_ylabel(_along_side(row.title, int(height * SIDE_LETTERS)), fontsize=6)


def _along_side(title: str, width: int) -> str:
    """Fit the name of a row, and the remark below it, into two lines beside the row."""
    name, _, remark = title.partition("\n")
    if remark:
        return f"{elide(name, width)}\n{elide(remark, width)}"
    if text_width(name) <= width:
        return name
    name = elide(name, 2 * width)
    half = -(-len(name) // 2)
    return f"{name[:half]}\n{name[half:]}"
