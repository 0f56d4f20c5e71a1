"""Simulated clicks: near the middle of an object, sometimes beside it (Bearman et al., ECCV 2016)."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from wsss.annotations.points import Point, Points
from wsss.annotations.settings import PointSettings
from wsss.annotations.simulate.streams import stream
from wsss.annotations.simulate.things import Thing, largest_of_each
from wsss.types import IGNORE

WAYS_BACK = (1.0, 0.75, 0.5, 0.25, 0.0)
"""Scales of the random offset: if a click lands outside of the object, it is moved back towards the middle."""

GLANCES = 2
"""Each click is the deepest of this many samples: people deviate along an object rather than towards its border."""

REACH = 12
"""Distance in pixels within which a missed click looks for a pixel with another known label."""

BESIDE = 3
"""Width in pixels of the strip around an object in which missed clicks land."""

CHOICES = 12
"""Each background click is the sample, out of this many, that is farthest from the previous clicks."""

DEEP_ENOUGH = 0.12
"""Sufficient distance of a background click from objects and borders, as a share of the image's shorter side."""


def simulate_points(
    labels: NDArray[np.uint8],
    things: tuple[Thing, ...],
    ground: Thing | None,
    settings: PointSettings,
    *,
    missed: float,
    seed: int,
) -> Points:
    """Simulate clicks on objects and on the background.

    Args:
        labels: Ground truth, (H, W).
        things: Objects that may be clicked on.
        ground: The background, None for no background clicks.
        settings: Number and placement of the clicks.
        missed: Share of the clicks on objects that land just outside of them.
        seed: Seed of the random streams.
    """
    chosen = things if settings.per == "instance" else largest_of_each(things)
    clicks = [] if ground is None else list(_ground_clicks(ground, settings.background, seed))
    for thing in chosen:
        beside = stream(seed, "missed_clicks", thing.number)
        place = _beside(thing, labels, beside) if beside.random() < missed else None
        clicks.append(place or _inside(thing, settings.spread, stream(seed, "points", thing.number)))
    return Points(tuple(clicks), radius=settings.radius)


def _inside(thing: Thing, spread: float, rng: np.random.Generator) -> Point:
    """Click near the middle of an object."""
    away = spread * thing.thickness * rng.standard_normal((GLANCES, 1, 2))
    tries = thing.pixels(np.array(thing.middle)) + np.array(WAYS_BACK)[:, None] * away
    rows, columns = np.moveaxis(np.rint(tries).astype(np.int64), 2, 0)
    first = thing.holds(rows, columns).argmax(axis=1)
    rows, columns = (places[np.arange(GLANCES), first] for places in (rows, columns))
    deepest = thing.depth_at(rows, columns).argmax()
    return Point(thing.label, thing.top + int(rows[deepest]), thing.left + int(columns[deepest]))


def _beside(thing: Thing, labels: NDArray[np.uint8], rng: np.random.Generator) -> Point | None:
    """Click just outside of an object, preferably on another known label; None if there is no other pixel."""
    top, left = max(0, thing.top - REACH), max(0, thing.left - REACH)
    height, width = thing.mask.shape
    near = labels[top : thing.top + height + REACH, left : thing.left + width + REACH]
    away = np.ones(near.shape, dtype=bool)
    away[thing.top - top :, thing.left - left :][:height, :width] = ~thing.mask
    distance = distance_transform_edt(away)
    other = near != thing.label
    known = other & (near != IGNORE) & (distance <= REACH)
    place = known if known.any() else other
    if not place.any():
        return None
    strip = np.argwhere(place & (distance < distance[place].min() + BESIDE))
    row, column = strip[rng.integers(len(strip))]
    return Point(thing.label, top + int(row), left + int(column))


def _ground_clicks(ground: Thing, count: int, seed: int) -> Iterator[Point]:
    blocks = np.argwhere(ground.coarse)
    enough = max(1.0, DEEP_ENOUGH * min(ground.mask.shape) / ground.stride)
    depth = ground.depth[ground.coarse].clip(max=enough)
    weights = np.where(2 * depth >= depth.max(), depth, 0.0)
    earlier = np.empty((0, 2))
    for number in range(count):
        rng = stream(seed, "background_points", number)
        choices = blocks[rng.choice(len(blocks), CHOICES, p=weights / weights.sum())]
        gaps = ((choices[:, None] - earlier[None]) ** 2).sum(axis=2).min(axis=1, initial=np.inf)
        block = choices[gaps.argmax()]
        earlier = np.concatenate([earlier, block[None]])
        row, column = block * ground.stride + rng.integers(ground.stride, size=2)
        yield Point(ground.label, int(row), int(column))
