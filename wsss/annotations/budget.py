"""Selection of images within a labelling budget: a prefix of one order that is the same for all kinds of labels."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from wsss.errors import DataError
from wsss.types import Tags

_CANDIDATES = 32
"""Candidate images of a class compared at each step, which bounds the run time on large data sets."""

_ROUNDING = 1e-9
"""Relative tolerance when comparing sums of seconds with a budget: in floating point, ten times 2.21 is not 22.1."""


def labelling_order(ids: Sequence[str], tags: Sequence[Tags | None], seed: int) -> list[str]:
    """Order images so that the first n of them, for any n, have class frequencies like the whole data set.

    At each step, pick the class with the smallest fraction of its images selected so far, the rarest one on ties
    (Adams' method of apportionment). Each class thus gets one image before any gets a second one on its own account,
    and from then on all grow in proportion. Among the next images of that class, in a seeded random order, take the one
    that brings the counts of all classes closest to their proportion (squared distance over expected count). Images
    without any class, and those whose tags are unknown, are treated as two further classes.

    The tags are used to draw a fair sample, not to train on; their cost is not charged to any kind of label.

    Args:
        ids: Names of the images; their order has no effect.
        tags: Tags of each image.
        seed: Seed that breaks ties between images.

    Returns:
        All names.
    """
    named = sorted(range(len(ids)), key=lambda index: ids[index])
    shuffled = [named[place] for place in np.random.default_rng(seed).permutation(len(ids))]
    table = _strata([tags[index] for index in shuffled])
    return [ids[shuffled[row]] for row in _serve(table)]


def within_budget(order: Sequence[str], seconds_of: Callable[[str], float], budget_seconds: float) -> tuple[str, ...]:
    """Select images from the front of the order until the next one costs more than what is left.

    None is skipped in favour of a cheaper one behind it, so a larger budget only adds images.

    Args:
        order: Names of images by priority.
        seconds_of: Annotation cost of an image in seconds; not called beyond the first image that exceeds the budget.
        budget_seconds: Budget in seconds.

    Returns:
        Names of the images that are labelled, in the given order.

    Raises:
        DataError: If the budget is too small for the first image.
    """
    left = budget_seconds * (1 + _ROUNDING)
    for place, name in enumerate(order):
        price = seconds_of(name)
        if price > left:
            if not place:
                raise DataError(
                    f"labels.budget_seconds={budget_seconds:g} pays for no image, the first one ({name!r}) costs "
                    f"{price:g} seconds; raise the budget"
                )
            return tuple(order[:place])
        left -= price
    return tuple(order)


def _strata(tags: Sequence[Tags | None]) -> NDArray[np.bool_]:
    """Strata of each image, (N, S), the rarest first: the classes, no class at all, and unknown."""
    classes = max((len(entry) for entry in tags if entry is not None), default=0)
    table = np.zeros((len(tags), classes + 2), dtype=bool)
    for row, entry in zip(table, tags, strict=True):
        if entry is None:
            row[-1] = True
        else:
            row[:classes] = entry.numpy()
            row[-2] = not entry.any()
    sizes = table.sum(axis=0)
    return table[:, [stratum for stratum in np.argsort(sizes, kind="stable") if sizes[stratum]]]


def _serve(table: NDArray[np.bool_]) -> list[int]:
    """Order the rows so that each column is covered evenly; of equally good rows, the first one is taken."""
    sizes = table.sum(axis=0)
    rate = sizes / max(1, len(table))
    served = np.zeros_like(sizes)
    waiting = [np.flatnonzero(column)[::-1].tolist() for column in table.T]
    taken = np.zeros(len(table), dtype=bool)
    order: list[int] = []
    while len(order) < len(table):
        rows = _next_of(waiting[int((served / sizes).argmin())], taken)
        # sum of (ahead + row)^2 / rate, without terms that are the same for all rows
        ahead = served - rate * (len(order) + 1)
        best = rows[int((table[rows] @ ((2 * ahead + 1) / rate)).argmin())]
        taken[best] = True
        served += table[best]
        order.append(best)
    return order


def _next_of(queue: list[int], taken: NDArray[np.bool_]) -> list[int]:
    """Return the next rows of a queue (its front is the list's end), dropping those taken meanwhile."""
    found: list[int] = []
    while queue and len(found) < _CANDIDATES:
        row = queue.pop()
        if not taken[row]:
            found.append(row)
    queue.extend(reversed(found))
    return found
