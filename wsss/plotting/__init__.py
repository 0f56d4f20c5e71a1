"""Figures: overlays, strips of all steps, curves, confusion matrices.

The only package that imports matplotlib. It draws on the Agg canvas directly and never through pyplot, so that the
backend of a notebook or script is not changed. The same input gives the same bytes.
"""

from wsss.plotting.charts import LINES, Curve, draw_confusion, draw_curves, draw_tradeoff
from wsss.plotting.pictures import (
    PALETTES,
    Picture,
    annotated,
    colour_blind_palette,
    heat,
    overlay,
    picture,
    write_overlay,
)
from wsss.plotting.strips import Strip, draw_strips, strip, strip_of_maps, with_annotation, with_column
from wsss.plotting.tiles import Tile, draw_tiles, tile

__all__ = [
    "LINES",
    "PALETTES",
    "Curve",
    "Picture",
    "Strip",
    "Tile",
    "annotated",
    "colour_blind_palette",
    "draw_confusion",
    "draw_curves",
    "draw_strips",
    "draw_tiles",
    "draw_tradeoff",
    "heat",
    "overlay",
    "picture",
    "strip",
    "strip_of_maps",
    "tile",
    "with_annotation",
    "with_column",
    "write_overlay",
]
