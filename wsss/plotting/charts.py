"""Charts: training curves, score over cost, confusion matrices."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from wsss.console import elide
from wsss.plotting.figure import new_figure, write_figure
from wsss.plotting.pictures import COLOUR_BLIND

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COUNTERS = ("epoch", "step")
"""Metrics that are only counters."""

TITLES = {"held_out_map": "held-out mAP"}
"""Titles of metrics that differ from their names."""

WIDE = 10.0
"""Ratio of the largest to the smallest x value above which the axis is logarithmic."""

LINES = (
    COLOUR_BLIND[4],
    COLOUR_BLIND[5],
    COLOUR_BLIND[2],
    COLOUR_BLIND[0],
    COLOUR_BLIND[6],
    COLOUR_BLIND[1],
    "#000000",
)
"""Line colours on white: those of Okabe and Ito except for yellow."""

LONGEST_LABEL = 24
"""Maximum number of letters of a class beside a confusion matrix."""

MARKERS = "osD^vPX*<>"


def draw_curves(rows: Sequence[Mapping[str, Any]], path: Path, *, along: str = "epoch") -> None:
    """Draw training curves, one plot per metric and one line per stage; counters are left out.

    Args:
        rows: Rows of ``metrics.jsonl``; those without ``along`` are left out. If an epoch occurs twice, because a run
            was resumed, the later row counts.
        path: PNG to write.
        along: Name of the x axis.
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
    figure = new_figure(4 * across, 2.8 * down, layout="constrained")
    places = figure.subplots(down, across, squeeze=False).ravel()
    for place, (name, stages) in zip(places, lines.items(), strict=False):
        for stage, points in stages.items():
            place.plot(*zip(*sorted(points.items()), strict=True), marker=".", label=stage)
        place.set_title(TITLES.get(name, name.replace("_", " ")), fontsize=9)
        place.set_xlabel(along, fontsize=8)
        place.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        place.tick_params(labelsize=7)
        place.legend(fontsize=7, frameon=False)
    for place in places[len(lines) :]:
        place.set_axis_off()
    write_figure(figure, path)


@dataclass(frozen=True)
class Curve:
    """Measurements along an axis, each with its interval.

    Attributes:
        name: Name in the legend.
        points: x, y, lower and upper end of the interval, for each measurement.
    """

    name: str
    points: tuple[tuple[float, float, float, float], ...]


def draw_tradeoff(
    curves: Sequence[Curve], path: Path, *, along: str, value: str, level: Curve | None = None, title: str = ""
) -> None:
    """Draw scores over costs, one line per curve, with intervals.

    Args:
        curves: At least one measurement in total; x values are positive.
        path: PNG to write.
        along: Label of the x axis.
        value: Label of the y axis.
        level: A measurement drawn as a horizontal line across the figure, its interval as a band.
        title: Title of the figure.
    """
    figure = new_figure(7.2, 4.2, layout="constrained")
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
    write_figure(figure, path)


def _logarithmic(place: "Axes") -> None:
    """Make the x axis logarithmic, with plain numbers as tick labels."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    place.set_xscale("log")
    place.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    place.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))
    place.xaxis.set_minor_formatter(NullFormatter())


def draw_confusion(confusion: Tensor, path: Path, names: Sequence[str]) -> None:
    """Draw a confusion matrix, with each true class in percent of its pixels.

    Args:
        confusion: (K, K + 1) pixel counts, truth in rows, prediction in columns, the last one for no prediction.
        path: PNG to write.
        names: Names of the K labels; rows without pixels are left out.
    """
    counts = confusion.double()
    seen = counts.sum(1) > 0
    shares = (100 * counts[seen] / counts[seen].sum(1, keepdim=True)).numpy()
    rows = [name for name, is_seen in zip(names, seen.tolist(), strict=True) if is_seen]
    columns = [*names, "unknown"]
    rows, columns = ([elide(name, LONGEST_LABEL) for name in along] for along in (rows, columns))
    side = 0.28
    figure = new_figure(2 + side * len(columns), 1.6 + side * max(1, len(rows)), layout="constrained")
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
    write_figure(figure, path)
