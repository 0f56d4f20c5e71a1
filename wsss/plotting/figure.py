"""Common parts of all figures: size and resolution, the legend of labels, and writing."""

import io
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsss import console
from wsss.console import elide
from wsss.plotting.pictures import PALETTES
from wsss.store import write_atomically
from wsss.types import IGNORE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 150
CELL = 1.6
"""Width of a picture in a strip or on a sheet, in inches."""


LEGEND_WIDTH = 22
"""Maximum number of letters of a class in a legend."""

FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "Noto Sans JP",
    "Noto Sans KR",
    "Noto Sans Thai",
    "Noto Sans Devanagari",
    "Noto Sans Arabic",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
    "PingFang SC",
    "Hiragino Sans",
    "Apple SD Gothic Neo",
    "Arial Unicode MS",
)
"""Fonts that are searched in this order for each letter: matplotlib's own, then common ones of other scripts."""


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
    handles = [
        Patch(facecolor=colours[label], edgecolor="black", linewidth=0.4, label=elide(name, LEGEND_WIDTH))
        for label, name in entries
    ]
    figure.legend(handles=handles, loc="lower center", ncols=columns, fontsize=7, frameon=False, borderaxespad=0.2)


def write_figure(figure: "Figure", path: Path) -> None:
    """Write a PNG without date or software metadata; ``$`` in texts is literal, not a formula.

    Letters that no installed font has are drawn as boxes, with a note.
    """
    from matplotlib.text import Text

    texts = list(figure.findobj(Text))
    foreign = any(not text.get_text().isascii() for text in texts)
    for text in texts:
        text.set_parse_math(False)
        if foreign:
            text.set_fontfamily(_fonts())
    buffer = io.BytesIO()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        figure.savefig(buffer, format="png", metadata={"Software": None})
    missing = [warning for warning in warned if "missing from" in str(warning.message)]
    for warning in warned:
        if warning not in missing:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    write_atomically(path, buffer.getvalue())
    if missing:
        console.note(f"'{path}' has letters that no installed font contains; install one that does, such as {FONTS[1]}")


@cache
def _fonts() -> list[str]:
    """The installed ones of ``FONTS``."""
    from matplotlib.font_manager import fontManager

    installed = set(fontManager.get_font_names())
    return [name for name in FONTS if name in installed]
