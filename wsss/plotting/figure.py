"""Common parts of all figures: size and resolution, the legend of labels, and writing."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsss.plotting.pictures import PALETTES
from wsss.store import write_atomically
from wsss.types import IGNORE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 150
CELL = 1.6
"""Width of a picture in a strip or on a sheet, in inches."""


def new_figure(width: float, height: float, layout: Any = None) -> "Figure":  # noqa: ANN401 - a name that matplotlib knows
    """Create a figure; its sides are in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout=layout)


def legend_entries(shown: Sequence[frozenset[int]], classes: Sequence[str]) -> list[tuple[int, str]]:
    """Labels shown and their names; labels without a name are left out."""
    if not classes:
        return []
    names = {0: "background", **dict(enumerate(classes, start=1)), IGNORE: "unknown"}
    return [(label, names[label]) for label in sorted(frozenset().union(*shown)) if label in names]


def draw_legend(figure: "Figure", entries: Sequence[tuple[int, str]], *, columns: int, palette: str) -> None:
    """Draw the legend of label colours at the bottom of a figure."""
    from matplotlib.patches import Patch

    if not entries:
        return
    colours = PALETTES[palette]() / 255
    handles = [Patch(facecolor=colours[label], edgecolor="black", linewidth=0.4, label=name) for label, name in entries]
    figure.legend(handles=handles, loc="lower center", ncols=columns, fontsize=7, frameon=False, borderaxespad=0.2)


def write_figure(figure: "Figure", path: Path) -> None:
    """Write a PNG without date or software metadata; ``$`` in texts is literal, not a formula."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    write_atomically(path, buffer.getvalue())
