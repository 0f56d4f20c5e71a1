"""Boxes as people draw them: tight, loose or shaky."""

from collections.abc import Sequence

from wsss.annotations.boxes import Box, Boxes
from wsss.annotations.settings import BoxSettings
from wsss.annotations.simulate.streams import stream
from wsss.annotations.simulate.things import Thing


def simulate_boxes(
    things: Sequence[Thing],
    size: tuple[int, int],
    settings: BoxSettings,
    *,
    jitter: float,
    seed: int,
    complete: bool,
) -> Boxes:
    """Draw a box around each thing.

    Args:
        things: The things.
        size: Height and width of the image; no box leaves it.
        settings: How the boxes lie.
        jitter: How far each side strays, as a share of the box's height or width (standard deviation).
        seed: Where the strokes of chance come from.
        complete: Whether what lies outside of all boxes may be taken for background.
    """
    boxes = tuple(_box(thing, size, settings.loosen, jitter, seed) for thing in things)
    return Boxes(boxes, complete=complete, grabcut=settings.grabcut, core=settings.core)


def _box(thing: Thing, size: tuple[int, int], loosen: float, jitter: float, seed: int) -> Box:
    height, width = thing.mask.shape
    above, before, below, after = loosen + jitter * stream(seed, "boxes", thing.number).standard_normal(4)
    top, bottom = _side(thing.top - above * height, thing.top + height + below * height, size[0])
    left, right = _side(thing.left - before * width, thing.left + width + after * width, size[1])
    return Box(thing.label, top, left, bottom, right)


def _side(start: float, end: float, limit: int) -> tuple[int, int]:
    """Round an interval to at least one pixel of those below the limit."""
    first, last = sorted((round(start), round(end)))
    first = min(max(first, 0), limit - 1)
    return first, min(max(last, first + 1), limit)
