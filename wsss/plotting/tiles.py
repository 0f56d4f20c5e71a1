"""Contact sheets: many small images in a grid."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PillowImage

from wsss.plotting.figure import CELL, DPI, draw_legend, legend_entries, new_figure, write_figure
from wsss.plotting.pictures import Picture, overlay, picture
from wsss.types import Image, LabelMap


@dataclass(frozen=True)
class Tile:
    """One image of a contact sheet.

    Attributes:
        picture: The picture.
        caption: Text below the picture.
        labels: Labels that the picture shows, for the legend.
    """

    picture: Picture
    caption: str
    labels: frozenset[int] = frozenset()


def tile(image: Image, truth: LabelMap | None, caption: str, *, palette: str = "voc", opacity: float = 0.5) -> Tile:
    """Create a small picture for a contact sheet, so that many of them fit into memory.

    Args:
        image: RGB bytes (3, H, W).
        truth: Labels (H, W) drawn over it; None shows only the image.
        caption: Text below the picture.
        palette: Name of a palette in ``PALETTES``.
        opacity: Opacity of the colours over the image.
    """
    shown = picture(image) if truth is None else overlay(image, truth, opacity, palette=palette)
    small = PillowImage.fromarray(shown)
    side = round(2 * CELL * DPI)
    small.thumbnail((side, side), PillowImage.Resampling.LANCZOS)
    labels = frozenset() if truth is None else frozenset(torch.unique(truth).tolist())
    return Tile(np.asarray(small), caption, labels)


def draw_tiles(
    tiles: Sequence[Tile], path: Path, *, classes: Sequence[str] = (), columns: int = 8, palette: str = "voc"
) -> None:
    """Draw a contact sheet: images in a grid, with captions.

    Args:
        tiles: The images, row by row.
        path: PNG to write.
        classes: Names of the C foreground classes; the legend shows those that occur. Without names, no legend.
        columns: Images in a row.
        palette: Name of the palette that the pictures use.
    """
    entries = legend_entries([shown.labels for shown in tiles], classes)
    rows, columns = -(-len(tiles) // columns), min(columns, max(1, len(tiles)))
    captions = ["\n".join(textwrap.wrap(shown.caption, 32, max_lines=3, placeholder=" …")) for shown in tiles]
    below = 0.12 * (1 + max((caption.count("\n") for caption in captions), default=0)) + 0.1
    foot = 0.1 + 0.25 * -(-len(entries) // columns)
    width, height = (CELL + 0.1) * columns, 0.05 + (CELL + below) * rows + foot
    figure = new_figure(width, height)
    for place, (shown, caption) in enumerate(zip(tiles, captions, strict=True)):
        row, column = divmod(place, columns)
        left, bottom = (CELL + 0.1) * column + 0.05, height - 0.05 - (CELL + below) * (row + 1) + below
        cell = figure.add_axes((left / width, bottom / height, CELL / width, CELL / height), anchor="N")
        cell.imshow(shown.picture, interpolation="nearest" if max(shown.picture.shape) < 128 else "antialiased")
        cell.set_xticks([])
        cell.set_yticks([])
        for side in cell.spines.values():
            side.set_visible(False)
        cell.set_xlabel(caption, fontsize=6, labelpad=2)
    draw_legend(figure, entries, columns=columns, palette=palette)
    write_figure(figure, path)
