"""Pictures for people: overlays, strips of every step, curves, confusion matrices.

The only module that imports matplotlib. It draws with the Agg canvas directly and never through pyplot, so the backend
that a notebook or a script has chosen stays as it is. The same input gives the same bytes.
"""

import io
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw
from torch import Tensor
from torch.nn.functional import interpolate

from wsss.annotations import Annotation, Box, Stroke
from wsss.store import voc_palette, write_atomically
from wsss.types import IGNORE, Image, LabelMap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Picture = NDArray[np.uint8]
"""RGB bytes, (H, W, 3)."""

Palette = NDArray[np.uint8]
"""The colour of each label, (256, 3)."""

DPI = 150
CELL = 1.6
"""Width of a picture in a strip, in inches."""

MARKED_SIDE = 480
"""Images are enlarged to about this side, in pixels, before labels are marked on them, so that marks stay fine."""

DARKENED = 0.35
"""How much darker an image is where labels are marked on it."""

COUNTERS = ("epoch", "step")
"""What rows of metrics count along."""

LABELS_TITLE = "given labels"
"""Title of the column that shows what training saw."""

NOTE = {"facecolor": "black", "alpha": 0.6, "linewidth": 0, "pad": 1}
"""What notes are written on."""

COLOUR_BLIND = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
"""Colours that people with any kind of colour vision tell apart (Okabe and Ito, 2002)."""


def colour_blind_palette() -> Palette:
    """Colours of Okabe and Ito for labels 1 to 7, then the same in lighter and darker shades; ``IGNORE`` white.

    Returns:
        (256, 3) bytes; background is black and no two labels share a colour.
    """
    base = np.array([[int(text[place : place + 2], 16) for place in (1, 3, 5)] for text in COLOUR_BLIND])
    label = np.arange(254)
    turn = label // len(base)
    strength = (turn + 1) // 2 / (turn[-1] // 2 + 2)  # 0 for the pure colours, then ever nearer to white or black
    end = np.where(turn % 2 == 1, 255, 0)
    shades = base[label % len(base)] * (1 - strength[:, None]) + (end * strength)[:, None]
    return np.concatenate([np.zeros((1, 3)), shades.round(), np.full((1, 3), 255)]).astype(np.uint8)


PALETTES: dict[str, Callable[[], Palette]] = {"voc": voc_palette, "colour_blind": colour_blind_palette}


def picture(image: Image) -> Picture:
    """Turn a (3, H, W) image into a picture."""
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def overlay(image: Image, labels: LabelMap, opacity: float = 0.6, *, palette: str = "voc") -> Picture:
    """Lay the colours of the labels over an image.

    Args:
        image: RGB bytes (3, H, W).
        labels: (H, W); ``IGNORE`` is white.
        opacity: 0 shows the image, 1 the colours alone.
        palette: Name of a palette in ``PALETTES``.

    Returns:
        (H, W, 3) bytes.
    """
    colours = PALETTES[palette]()[labels.numpy()]
    return _mixed(picture(image), colours, np.float32(opacity))


def write_overlay(path: Path, image: Image, labels: LabelMap) -> None:
    """Write the colours of the labels over an image as a PNG of the image's size; see ``overlay``."""
    buffer = io.BytesIO()
    PillowImage.fromarray(overlay(image, labels)).save(buffer, format="PNG", compress_level=4)
    write_atomically(path, buffer.getvalue())


def heat(image: Image, cam: Tensor, opacity: float = 0.6) -> Picture:
    """Lay activations over an image.

    Args:
        image: RGB bytes (3, H, W).
        cam: Activations in [0, 1], (h, w), or (C, h, w) of which the greatest counts; resized to the image.
        opacity: 0 shows the image, 1 the colours alone.

    Returns:
        (H, W, 3) bytes.
    """
    import matplotlib as mpl

    strongest = cam.float().amax(0) if cam.ndim == 3 else cam.float()
    size = list(image.shape[1:])
    resized = interpolate(strongest[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
    colours = mpl.colormaps["turbo"](resized.clamp(0, 1).numpy(), bytes=True)[..., :3]
    return _mixed(picture(image), colours, np.float32(opacity))


def annotated(
    image: Image, annotation: Annotation, opacity: float = 0.6, *, palette: str = "voc", side: int = MARKED_SIDE
) -> Picture:
    """Mark the labels that a person gave on a slightly darkened image, in the colours of their classes.

    A full mask lies over the image, boxes are frames, scribbles are strokes as wide as their pen or a little wider, and
    points are dots; each has a white rim. Tags have no place in an image, see ``strip_of_maps``.

    Args:
        image: RGB bytes (3, H, W).
        annotation: What was given.
        opacity: Of a full mask.
        palette: Name of a palette in ``PALETTES``.
        side: Smaller images are enlarged by the whole number that brings their longer side nearest to it.

    Returns:
        (h, w, 3) bytes, the image's size times that number.
    """
    if annotation.masks is None:
        below = _mixed(picture(image), np.zeros((1, 1, 3), np.uint8), np.float32(DARKENED))
    else:
        below = overlay(image, annotation.masks.to_labels(), opacity, palette=palette)
    zoom = max(1, round(side / max(below.shape[:2])))
    canvas = PillowImage.fromarray(below.repeat(zoom, axis=0).repeat(zoom, axis=1))
    pen = _Pen(ImageDraw.Draw(canvas), PALETTES[palette](), zoom, max(1, max(canvas.size) // 160))
    pen.mark(annotation)
    return np.array(canvas)


@dataclass(frozen=True)
class _Pen:
    """Draws labels on an enlarged image.

    Attributes:
        draw: What is drawn on.
        colours: The colour of each label.
        zoom: Pixels of the canvas along each pixel of the image.
        rim: Width of the white rim, in pixels of the canvas.
    """

    draw: ImageDraw.ImageDraw
    colours: Palette
    zoom: int
    rim: int

    def mark(self, annotation: Annotation) -> None:
        for box in annotation.boxes.boxes if annotation.boxes else ():
            self.frame(box)
        for stroke in annotation.scribbles.strokes if annotation.scribbles else ():
            self.stroke(stroke)
        for point in annotation.points.points if annotation.points else ():
            self.dot(point.label, self.place(point.row, point.column), 4 * self.rim)

    def colour(self, label: int) -> tuple[int, ...]:
        return tuple(self.colours[label].tolist())

    def place(self, row: int, column: int) -> tuple[float, float]:
        """The middle of a pixel, as x and y."""
        return (column + 0.5) * self.zoom - 0.5, (row + 0.5) * self.zoom - 0.5

    def dot(self, label: int, place: tuple[float, float], radius: float) -> None:
        self.draw.circle(place, radius + self.rim, fill="white")
        self.draw.circle(place, radius, fill=self.colour(label))

    def stroke(self, stroke: Stroke) -> None:
        places = [self.place(row, column) for row, column in stroke.path]
        width = max(stroke.width * self.zoom, 3 * self.rim)
        for wide, fill in ((width + 2 * self.rim, (255, 255, 255)), (width, self.colour(stroke.label))):
            self.draw.line(places, fill=fill, width=wide, joint="curve")
            for end in (places[0], places[-1]):
                self.draw.circle(end, wide / 2 - 0.5, fill=fill)

    def frame(self, box: Box) -> None:
        left, top, right, bottom = (self.zoom * side for side in (box.left, box.top, box.right, box.bottom))
        for outside, fill in ((0, (255, 255, 255)), (self.rim, self.colour(box.label))):
            inner = (left + outside, top + outside, right - 1 - outside, bottom - 1 - outside)
            if inner[0] <= inner[2] and inner[1] <= inner[3]:
                self.draw.rectangle(inner, outline=fill, width=4 * self.rim - 2 * outside)


def _mixed(below: Picture, above: Picture, opacity: np.float32) -> Picture:
    return (below * (1 - opacity) + above * opacity).round().astype(np.uint8)


@dataclass(frozen=True)
class Strip:
    """One image on its way through the steps: a row of a figure.

    Attributes:
        title: Name of the row.
        columns: A title and a picture for each step; None where there is none.
        labels: Labels that the row shows, for the legend.
        notes: The title of a column, and what is written into the foot of its picture.
    """

    title: str
    columns: tuple[tuple[str, Picture | None], ...]
    labels: frozenset[int] = frozenset()
    notes: tuple[tuple[str, str], ...] = ()


def strip(columns: Sequence[tuple[str, Picture | None]], title: str = "", labels: Iterable[LabelMap] = ()) -> Strip:
    """Make a row from pictures.

    Args:
        columns: A title and a picture for each step; None leaves the place empty.
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
    """Make a row from an image and what was found in it.

    Args:
        image: RGB bytes (3, H, W); the first column.
        maps: A title and a map for each step: floats are activations (see ``heat``), integers labels (see ``overlay``).
        title: Name of the row.
        palette: Name of a palette in ``PALETTES``.
        opacity: Of the colours over the image.
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
    """Show the labels that a person gave in the second column of a row, with the tags written into its picture.

    Args:
        row: The row.
        image: RGB bytes (3, H, W).
        annotation: What was given; tags alone have no place in an image, and the row stays as it is.
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
        title: What stands above the column.
        image: RGB bytes (3, H, W).
        labels: Labels of all pixels, or what a person marked in the image; None leaves the place empty.
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
    """Labels that have a place in the image."""
    return frozenset().union(*(label.labels() for label in annotation.given() if label.kind != "tags"))


def draw_strips(strips: Sequence[Strip], path: Path, *, classes: Sequence[str] = (), palette: str = "voc") -> None:
    """Draw several images on their way through the steps, one a row.

    The columns are those of all rows, each title once, in the order in which they are met.

    Args:
        strips: The rows.
        path: PNG to write.
        classes: Names of the C foreground classes; the legend names those that are shown. Without names, no legend.
        palette: Name of the palette that the pictures use.
    """
    titles = list(dict.fromkeys(name for row in strips for name, _ in row.columns))
    heights = [
        CELL * max((_aspect(shown) for _, shown in row.columns if shown is not None), default=1) for row in strips
    ]
    entries = _legend_entries(strips, classes)
    margin, foot = 0.3, 0.1 + 0.25 * -(-len(entries) // max(1, len(titles)))
    width = margin + (CELL + 0.05) * len(titles)
    height = margin + sum(heights) + 0.05 * len(heights) + foot
    figure = _figure(width, height)
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
    for row, places in zip(strips, axes, strict=True):
        _draw_row(row, titles, places)
    for title, place in zip(titles, axes[0], strict=True):
        place.set_title(title, fontsize=8, pad=3)
    _draw_legend(figure, entries, columns=len(titles), palette=palette)
    _save(figure, path)


def _aspect(shown: Picture) -> float:
    """Height over width, kept within what a figure can show."""
    return min(max(shown.shape[0] / shown.shape[1], 0.25), 4)


def _draw_row(row: Strip, titles: Sequence[str], places: "Sequence[Axes]") -> None:
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
    places[0].set_ylabel(row.title, fontsize=6)


def _legend_entries(strips: "Sequence[Strip | Tile]", classes: Sequence[str]) -> list[tuple[int, str]]:
    """Labels shown and their names; labels without a name are left out."""
    if not classes:
        return []
    names = {0: "background", **dict(enumerate(classes, start=1)), IGNORE: "unknown"}
    shown = sorted(frozenset().union(*(row.labels for row in strips)))
    return [(label, names[label]) for label in shown if label in names]


def _draw_legend(figure: "Figure", entries: Sequence[tuple[int, str]], *, columns: int, palette: str) -> None:
    from matplotlib.patches import Patch

    if not entries:
        return
    colours = PALETTES[palette]() / 255
    handles = [Patch(facecolor=colours[label], edgecolor="black", linewidth=0.4, label=name) for label, name in entries]
    figure.legend(handles=handles, loc="lower center", ncols=columns, fontsize=7, frameon=False, borderaxespad=0.2)


@dataclass(frozen=True)
class Tile:
    """One image of a contact sheet.

    Attributes:
        picture: What is shown.
        caption: What is written below.
        labels: Labels that the picture shows, for the legend.
    """

    picture: Picture
    caption: str
    labels: frozenset[int] = frozenset()


def tile(image: Image, truth: LabelMap | None, caption: str, *, palette: str = "voc", opacity: float = 0.5) -> Tile:
    """Make a small picture for a contact sheet, so that many of them fit into memory.

    Args:
        image: RGB bytes (3, H, W).
        truth: Labels (H, W) to lay over it; None shows the image alone.
        caption: What is written below.
        palette: Name of a palette in ``PALETTES``.
        opacity: Of the colours over the image.
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
    """Draw a contact sheet: images in a grid, with what is to be said of each below it.

    Args:
        tiles: The images, row by row.
        path: PNG to write.
        classes: Names of the C foreground classes; the legend names those that are shown. Without names, no legend.
        columns: Images in a row.
        palette: Name of the palette that the pictures use.
    """
    entries = _legend_entries(tiles, classes)
    rows, columns = -(-len(tiles) // columns), min(columns, max(1, len(tiles)))
    captions = ["\n".join(textwrap.wrap(shown.caption, 32, max_lines=3, placeholder=" …")) for shown in tiles]
    below = 0.12 * (1 + max((caption.count("\n") for caption in captions), default=0)) + 0.1
    foot = 0.1 + 0.25 * -(-len(entries) // columns)
    width, height = (CELL + 0.1) * columns, 0.05 + (CELL + below) * rows + foot
    figure = _figure(width, height)
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
    _draw_legend(figure, entries, columns=columns, palette=palette)
    _save(figure, path)


def draw_curves(rows: Sequence[Mapping[str, Any]], path: Path, *, along: str = "epoch") -> None:
    """Draw how metrics went, one plot a metric and one line a stage; what counts steps is no metric.

    Args:
        rows: Rows of ``metrics.jsonl``; those without ``along`` are left out. Where an epoch stands twice, because a
            killed run went on, the later row counts.
        path: PNG to write.
        along: Name of the number to draw along.
    """
    from matplotlib.ticker import MaxNLocator

    lines: dict[str, dict[str, dict[float, float]]] = {}
    for row in rows:
        for name, value in row.items():
            if (
                along in row
                and name not in (along, *COUNTERS)
                and isinstance(value, int | float)
                and not isinstance(value, bool)
            ):
                lines.setdefault(name, {}).setdefault(str(row.get("stage", "")), {})[row[along]] = value
    across = min(3, max(1, len(lines)))
    down = -(-max(1, len(lines)) // across)
    figure = _figure(4 * across, 2.8 * down, layout="constrained")
    places = figure.subplots(down, across, squeeze=False).ravel()
    for place, (name, stages) in zip(places, lines.items(), strict=False):
        for stage, points in stages.items():
            place.plot(*zip(*sorted(points.items()), strict=True), marker=".", label=stage)
        place.set_title(name, fontsize=9)
        place.set_xlabel(along, fontsize=8)
        place.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        place.tick_params(labelsize=7)
        place.legend(fontsize=7, frameon=False)
    for place in places[len(lines) :]:
        place.set_axis_off()
    _save(figure, path)


@dataclass(frozen=True)
class Curve:
    """What was measured along something, each with its interval.

    Attributes:
        name: What the legend says.
        points: Place, value, low and high end of the interval, for each measurement.
    """

    name: str
    points: tuple[tuple[float, float, float, float], ...]


WIDE = 10.0
"""From this ratio of the largest to the smallest place on, they are drawn on a logarithmic axis."""

LINES = (
    COLOUR_BLIND[4],
    COLOUR_BLIND[5],
    COLOUR_BLIND[2],
    COLOUR_BLIND[0],
    COLOUR_BLIND[6],
    COLOUR_BLIND[1],
    "#000000",
)
"""Colours of lines on white: those of Okabe and Ito, but the yellow."""

MARKERS = "osD^vPX*<>"


def draw_tradeoff(
    curves: Sequence[Curve], path: Path, *, along: str, value: str, level: Curve | None = None, title: str = ""
) -> None:
    """Draw what is reached over what is spent, one line a curve, with intervals.

    Args:
        curves: At least one measurement in all; places are positive.
        path: PNG to write.
        along: Name of what is spent.
        value: Name of what is reached.
        level: One measurement to draw as a line across the whole figure, its interval as a band.
        title: What stands above the figure.
    """
    figure = _figure(7.2, 4.2, layout="constrained")
    place = figure.subplots()
    for index, curve in enumerate(curves):
        spent, reached, low, high = np.array(sorted(curve.points)).T
        place.errorbar(
            spent,
            reached,
            yerr=(reached - low, high - reached),
            color=LINES[index % len(LINES)],
            marker=MARKERS[index % len(MARKERS)],
            linestyle="--" if index >= len(LINES) else "-",
            label=curve.name,
            markersize=5,
            linewidth=1.4,
            elinewidth=0.8,
            capsize=2.5,
        )
    if level is not None:
        _, reached, low, high = level.points[0]
        place.axhspan(low, high, color="0.5", alpha=0.15, linewidth=0)
        place.axhline(reached, color="0.3", linestyle=":", linewidth=1.2, label=level.name)
    places = [point[0] for curve in curves for point in curve.points]
    if max(places) / min(places) > WIDE:
        _logarithmic(place)
    place.set_xlabel(along, fontsize=9)
    place.set_ylabel(value, fontsize=9)
    place.set_title("\n".join(textwrap.wrap(title, 80)), fontsize=10)
    place.tick_params(labelsize=8)
    place.grid(alpha=0.25, linewidth=0.5)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    _save(figure, path)


def _logarithmic(place: "Axes") -> None:
    """Let the horizontal axis grow by factors, with plain numbers at it."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    place.set_xscale("log")
    place.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    place.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))
    place.xaxis.set_minor_formatter(NullFormatter())


def draw_confusion(confusion: Tensor, path: Path, names: Sequence[str]) -> None:
    """Draw a confusion matrix, each true class as shares of its pixels.

    Args:
        confusion: (K, K + 1) pixel counts, truth in rows, prediction in columns, the last one for no prediction.
        path: PNG to write.
        names: Names of the K labels; rows without a pixel are left out.
    """
    counts = confusion.double()
    seen = counts.sum(1) > 0
    shares = (100 * counts[seen] / counts[seen].sum(1, keepdim=True)).numpy()
    rows = [name for name, is_seen in zip(names, seen.tolist(), strict=True) if is_seen]
    columns = [*names, "unknown"]
    side = 0.28
    figure = _figure(2 + side * len(columns), 1.6 + side * max(1, len(rows)), layout="constrained")
    place = figure.subplots()
    place.imshow(shares, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    place.set_xticks(range(len(columns)), columns, rotation=90, fontsize=6)
    place.set_yticks(range(len(rows)), rows, fontsize=6)
    place.set_xlabel("label, % of the true class", fontsize=8)
    place.set_ylabel("truth", fontsize=8)
    for row, column in np.argwhere(shares >= 0.5):
        dark = shares[row, column] > 50
        place.text(
            column, row, f"{shares[row, column]:.0f}", ha="center", va="center", fontsize=5, color="w" if dark else "k"
        )
    _save(figure, path)


def _figure(width: float, height: float, layout: Any = None) -> "Figure":  # noqa: ANN401 - a name that matplotlib knows
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout=layout)


def _save(figure: "Figure", path: Path) -> None:
    """Write a PNG that says neither when nor with what it was made."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    write_atomically(path, buffer.getvalue())
