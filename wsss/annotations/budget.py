"""Which images are labelled within a budget: the first ones of an order that is the same for every kind of label."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from wsss.errors import DataError
from wsss.types import Tags

_CANDIDATES = 32
"""So many images of a class are weighed against each other at each step, so that large data sets stay quick."""

_ROUNDING = 1e-9
"""Sums of seconds may exceed a budget by this share of it: ten times 2.21 is not 22.1 to a computer."""


def labelling_order(ids: Sequence[str], tags: Sequence[Tags | None], seed: int) -> list[str]:
    """Order images so that the first n of them, for any n, show the classes as the whole data set does.

    At each step the class is served of which the smallest share of images was taken so far, the rarest one first
    (Adams' method of apportionment): each class comes once before any comes for a second time on its own account, and
    from then on all in proportion. Of the next images of that class, in an order drawn from the seed, the one is taken
    that brings the counts of all classes nearest to their proportion (squared distance over expected count). Images
    without any class, and those whose tags are unknown, count as a class each.

    The tags serve to draw a fair sample, not to train on; no kind of label is paid for to know them.

    Args:
        ids: Names of the images; in which order they come makes no difference.
        tags: Tags of each image.
        seed: Decides between images that serve equally well.

    Returns:
        All names.
    """
    named = sorted(range(len(ids)), key=lambda index: ids[index])
    shuffled = [named[place] for place in np.random.default_rng(seed).permutation(len(ids))]
    table = _strata([tags[index] for index in shuffled])
    return [ids[shuffled[row]] for row in _serve(table)]


def within_budget(order: Sequence[str], seconds_of: Callable[[str], float], budget_seconds: float) -> tuple[str, ...]:
    """Take images from the front of the order until the next one would cost more than is left.

    None is skipped to fit in a cheaper one behind it: a larger budget only ever adds images.

    Args:
        order: Names of images, the first to be labelled first.
        seconds_of: Seconds that the labels of an image cost; asked of no image beyond the first that is too dear.
        budget_seconds: Seconds that may be spent.

    Returns:
        Names of the images that are labelled, in the given order.

    Raises:
        DataError: If the budget does not pay for the first image.
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
    """Which strata each image lies in, (N, S), the rarest first: the classes, no class at all, and unknown."""
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
    """Order the rows so that each column is served evenly; of rows that serve equally well, the first one first."""
    sizes = table.sum(axis=0)
    rate = sizes / max(1, len(table))
    served = np.zeros_like(sizes)
    waiting = [np.flatnonzero(column)[::-1].tolist() for column in table.T]
    taken = np.zeros(len(table), dtype=bool)
    order: list[int] = []
    while len(order) < len(table):
        rows = _next_of(waiting[int((served / sizes).argmin())], taken)
        # sum of (ahead + row)^2 / rate, less what is the same for all rows
        ahead = served - rate * (len(order) + 1)
        best = rows[int((table[rows] @ ((2 * ahead + 1) / rate)).argmin())]
        taken[best] = True
        served += table[best]
        order.append(best)
    return order


def _next_of(queue: list[int], taken: NDArray[np.bool_]) -> list[int]:
    """Look at the next rows of a queue, whose front is its end, and drop those that were taken meanwhile."""
    found: list[int] = []
    while queue and len(found) < _CANDIDATES:
        row = queue.pop()
        if not taken[row]:
            found.append(row)
    queue.extend(reversed(found))
    return found
