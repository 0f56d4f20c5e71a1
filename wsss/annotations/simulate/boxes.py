"""Simulated boxes: tight, loose or noisy."""

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
    """Draw a box around each object.

    Args:
        things: The objects.
        size: Height and width of the image; boxes are clipped to it.
        settings: Placement of the boxes.
        jitter: Standard deviation of each side, as a share of the box's height or width.
        seed: Seed of the random streams.
        complete: Whether pixels outside of all boxes are background.
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
    """Round an interval to at least one pixel within [0, limit)."""
    first, last = sorted((round(start), round(end)))
    first = min(max(first, 0), limit - 1)
    return first, min(max(last, first + 1), limit)
