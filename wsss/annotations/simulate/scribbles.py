"""Simulated strokes: smooth, along the middle of an object, without its ends (Lin et al., CVPR 2016)."""

from collections.abc import Iterator, Sequence

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, uniform_filter1d
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from skimage.draw import line
from skimage.morphology import skeletonize

from wsss.annotations.scribbles import Scribbles, Stroke
from wsss.annotations.settings import ScribbleSettings
from wsss.annotations.simulate.streams import stream
from wsss.annotations.simulate.things import Thing

CORNER = 6
"""Minimum distance between corners of a stroke in pixels."""

MOST_CORNERS = 32
"""Maximum number of corners of a stroke."""

NARROW = 0.25
"""Strokes avoid parts of an object that are narrower than this share of its thickness."""

DRIFT = 0.2
"""Standard deviation of a stroke's position along its path, as a share of the length left out."""

SMOOTH = 0.5
"""Corners are averaged over this share of the object's thickness, or of a quarter of the stroke if that is longer."""

BEND = 0.06
"""Standard deviation of a stroke's bend, as a share of its length."""

Path = NDArray[np.float64]
"""Rows of (row, column), in pixels."""


def simulate_scribbles(
    things: Sequence[Thing],
    ground: Thing | None,
    size: tuple[int, int],
    settings: ScribbleSettings,
    *,
    jitter: float,
    seed: int,
) -> Scribbles:
    """Draw strokes along each object and along the background; large parts far from the others get further strokes.

    Args:
        things: The objects.
        ground: The background; None if there is none.
        size: Height and width of the image; strokes are clipped to it.
        settings: Length, width and number of strokes.
        jitter: Standard deviation of the corners in pixels; without it, strokes stay inside their object.
        seed: Seed of the random streams.
    """
    drawn_on = [ground, *things] if ground is not None and settings.background else list(things)
    strokes = []
    for thing in drawn_on:
        for place, path in enumerate(_strokes(thing, size, settings, seed)):
            # the random streams of the first stroke are not numbered, as when it was the only one
            further = (place,) if place else ()
            away = jitter * _wobble(len(path), stream(seed, "stroke_jitter", thing.number, *further))
            corners = np.rint(path + away).clip(0, np.array(size) - 1).astype(int)
            ways = tuple((row, column) for row, column in corners.tolist())
            strokes.append(Stroke(thing.label, ways, settings.width))
    return Scribbles(tuple(strokes))


def _strokes(thing: Thing, size: tuple[int, int], settings: ScribbleSettings, seed: int) -> Iterator[Path]:
    """Draw on an object, then on the part far from all strokes so far, as long as that is large."""
    left: Thing | None = thing
    far = settings.spacing * max(size)
    away = np.full(thing.mask.shape, np.inf)
    for place in range(settings.strokes):
        if left is None:
            return
        further = (place,) if place else ()
        path = _stroke(left, settings.length, stream(seed, "scribbles", thing.number, *further))
        yield path
        away = np.minimum(away, _distances(thing, path))
        left = _far_part(thing, away > far, far)


def _distances(thing: Thing, path: Path) -> NDArray[np.float64]:
    """Compute the distance of each pixel of an object's box from a stroke."""
    corners = path.astype(int) - (thing.top, thing.left)
    ink = np.zeros(thing.mask.shape, dtype=bool)
    for start, end in zip(corners, corners[1:] if len(corners) > 1 else corners, strict=False):
        ink[line(*start, *end)] = True
    return distance_transform_edt(~ink)


def _far_part(thing: Thing, far: NDArray[np.bool_], least_side: float) -> Thing | None:
    """Return the largest connected part of the far pixels as an object of its own; None if it is too small."""
    parts = cc3d.connected_components(thing.mask & far, connectivity=4)
    found = cc3d.statistics(parts)
    if len(found["voxel_counts"]) < 2:
        return None
    largest = 1 + int(found["voxel_counts"][1:].argmax())
    rows, columns = found["bounding_boxes"][largest][:2]
    part = Thing(
        thing.label, thing.number, thing.top + rows.start, thing.left + columns.start, parts[rows, columns] == largest
    )
    return part if part.area >= least_side**2 else None


def _wobble(corners: int, rng: np.random.Generator) -> Path:
    """Draw the noise of corners with a standard deviation of 1, correlated between neighbours like that of a hand."""
    window = max(1, min(3, corners - 1))
    return uniform_filter1d(rng.standard_normal((corners, 2)), window, axis=0, mode="wrap") * np.sqrt(window)


def _stroke(thing: Thing, share: float, rng: np.random.Generator) -> Path:
    """Draw the smoothest stroke that stays inside an object."""
    drift, bend = rng.standard_normal(2)
    part = _part(thing.pixels(_way(thing)).astype(float), share, drift)
    corners = next(tried for tried in _tries(part, thing.thickness, bend) if _stays_inside(thing, tried))
    return corners + np.array([thing.top, thing.left])


def _way(thing: Thing) -> NDArray[np.int64]:
    """Return the longest path through the middle of an object: along its skeleton, or straight if that is longer."""
    along, across = _along_skeleton(thing), _across(thing)
    return max(along, across, key=lambda way: _lengths(way.astype(float))[-1])


def _along_skeleton(thing: Thing) -> NDArray[np.int64]:
    """Follow the longest shortest path between two blocks of the skeleton (found by two searches)."""
    skeleton = skeletonize(np.pad(thing.coarse, 1))[1:-1, 1:-1] & (thing.depth >= NARROW * thing.depth.max())
    blocks = np.argwhere(skeleton)
    if len(blocks) < 2:
        return np.array([thing.middle])
    graph = _graph(skeleton, blocks)
    away = dijkstra(graph, indices=int(thing.depth[skeleton].argmax()))
    start = int(np.where(np.isfinite(away), away, -1).argmax())
    away, before = dijkstra(graph, indices=start, return_predecessors=True)
    way = [int(np.where(np.isfinite(away), away, -1).argmax())]
    while way[-1] != start:
        way.append(int(before[way[-1]]))
    return blocks[way]


def _graph(skeleton: NDArray[np.bool_], blocks: NDArray[np.int64]) -> csr_array:
    """Connect neighbouring blocks of a skeleton, diagonal ones included."""
    numbers = np.full(np.add(skeleton.shape, 2), -1)
    numbers[1:-1, 1:-1][skeleton] = np.arange(len(blocks))
    rows, columns = blocks.T + 1
    starts, ends, lengths = [], [], []
    for down, right in ((0, 1), (1, -1), (1, 0), (1, 1)):
        neighbours = numbers[rows + down, columns + right]
        joined = np.flatnonzero(neighbours >= 0)
        starts += [joined, neighbours[joined]]
        ends += [neighbours[joined], joined]
        lengths.append(np.full(2 * len(joined), np.hypot(down, right)))
    places = (np.concatenate(starts), np.concatenate(ends))
    return csr_array((np.concatenate(lengths), places), shape=(len(blocks), len(blocks)))


def _across(thing: Thing) -> NDArray[np.int64]:
    """Return the straight path through the middle of an object, along its principal axis."""
    blocks = np.argwhere(thing.coarse)
    spread = np.cov(blocks.T) if len(blocks) > 1 else np.eye(2)
    direction = np.linalg.eigh(spread)[1][:, -1] * np.hypot(*thing.coarse.shape)
    back, ahead = (_until_outside(thing, thing.middle + sign * direction) for sign in (-1, 1))
    return np.concatenate([back[:0:-1], ahead])


def _until_outside(thing: Thing, end: NDArray[np.float64]) -> NDArray[np.int64]:
    row, column = np.rint(end).astype(int)
    way = np.stack(line(*thing.middle, row, column), axis=1)
    height, width = thing.coarse.shape
    within = (way >= 0).all(axis=1) & (way < (height, width)).all(axis=1)
    inside = within & thing.coarse[way[:, 0].clip(0, height - 1), way[:, 1].clip(0, width - 1)]
    return way[: len(way) if inside.all() else int(inside.argmin())]


def _lengths(path: Path) -> NDArray[np.float64]:
    """Distance of each corner from the start, along the path."""
    return np.concatenate([[0.0], np.hypot(*np.diff(path, axis=0).T).cumsum()])


def _part(path: Path, share: float, drift: float) -> Path:
    """Return the middle part of a path, with a random shift."""
    lengths = _lengths(path)
    left_out = (1 - share) * lengths[-1]
    start = left_out * np.clip(0.5 + DRIFT * drift, 0, 1)
    inside = (lengths >= start - 1e-9) & (lengths <= start + share * lengths[-1] + 1e-9)
    return path[inside] if inside.any() else path[[len(path) // 2]]


def _tries(path: Path, thickness: float, bend: float) -> Iterator[Path]:
    """Yield candidate strokes along a path: smooth and bent ones, the path itself, and a dot that always fits."""
    total = _lengths(path)[-1]
    if total > 0:
        window = SMOOTH * max(thickness, total / 4) * (len(path) - 1) / total
        corners = int(np.clip(total / CORNER, 2, MOST_CORNERS))
        for smooth, bent in ((1.0, bend), (1.0, bend / 2), (1.0, 0.0), (0.5, 0.0), (0.2, 0.0)):
            bow = _bow(_smoothed(path, round(smooth * window)), BEND * total * bent)
            yield np.rint(_resampled(bow, corners))
        yield np.rint(_resampled(path, 2 * corners))
    yield _without_straights(path)
    # the line between two diagonal blocks may touch a pixel that is not the thing's; the middle of a block never does
    yield path[[len(path) // 2]]


def _smoothed(path: Path, window: int) -> Path:
    """Average each corner with its neighbours along the path."""
    return uniform_filter1d(path, min(max(1, window), len(path)), axis=0, mode="nearest")


def _bow(path: Path, height: float) -> Path:
    """Bend a path to one side, most in its middle."""
    lengths = _lengths(path)
    ahead = path[-1] - path[0]
    aside = np.array([-ahead[1], ahead[0]]) / max(float(np.hypot(*ahead)), 1.0)
    return path + height * np.sin(np.pi * lengths / max(lengths[-1], 1.0))[:, None] * aside


def _resampled(path: Path, corners: int) -> Path:
    """Resample a path with equidistant corners."""
    lengths = _lengths(path)
    steps = np.linspace(0, lengths[-1], corners)
    return np.stack([np.interp(steps, lengths, path[:, axis]) for axis in (0, 1)], axis=1)


def _without_straights(path: Path) -> Path:
    """Remove the corners at which a path does not turn."""
    turns = np.diff(path, n=2, axis=0).any(axis=1)
    return path[np.concatenate([[True], turns, [True]])] if len(path) > 1 else path


def _stays_inside(thing: Thing, path: Path) -> bool:
    corners = path.astype(int)
    ways = [
        line(*start, *end) for start, end in zip(corners, corners[1:] if len(corners) > 1 else corners, strict=False)
    ]
    rows, columns = (np.concatenate(along) for along in zip(*ways, strict=True))
    return bool(thing.holds(rows, columns).all())
