"""Synthetic data set drawn from a seed: no files, with typical difficulties of weak supervision.

Cats and dogs share a body, apple and lemon trees a crown, cars and boats their paint: they differ mostly in a small
part, so class activation maps find that first. Boats occur only on water; rocks, bushes, crates and balls are clutter;
objects occlude each other, and most images show more than one class.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from wsss.data import things
from wsss.data.base import SPLITS, Dataset, DatasetSettings, digest
from wsss.data.canvas import TILE, Canvas, Coat, Colour, polygon
from wsss.data.things import Figure
from wsss.errors import require
from wsss.types import BACKGROUND, IGNORE, Image, LabelMap, Tags

Painter = Callable[[Figure, np.random.Generator, Colour], None]


@dataclass(frozen=True)
class Kind:
    """A foreground class.

    Attributes:
        painter: Function that draws it.
        colours: Colours that its body can have.
        frequencies: Relative frequency of each colour; a weak hint at the class.
    """

    painter: Painter
    colours: tuple[Colour, ...]
    frequencies: tuple[int, ...]


THINGS = {
    "cat": Kind(things.paint_cat, things.FUR, (1, 8, 8, 1, 2)),
    "dog": Kind(things.paint_dog, things.FUR, (8, 1, 1, 8, 2)),
    "apple tree": Kind(things.paint_apple_tree, things.LEAVES, (3, 1, 3)),
    "lemon tree": Kind(things.paint_lemon_tree, things.LEAVES, (3, 4, 1)),
    "car": Kind(things.paint_car, things.PAINT, (1, 1, 1, 1, 1)),
    "boat": Kind(things.paint_boat, things.PAINT, (1, 1, 1, 1, 1)),
}
"""The foreground classes by name."""

GROUNDS: dict[str, Coat] = {
    "sky": Coat((0.56, 0.75, 0.93), "cloud", 0.05, 0.10),
    "water": Coat((0.16, 0.42, 0.62), "ripple", 0.12, -0.10),
    "grass": Coat((0.40, 0.62, 0.24), "fur", 0.10, -0.08),
    "sand": Coat((0.86, 0.74, 0.50), "grain", 0.06, -0.06),
    "stone": Coat((0.62, 0.61, 0.60), "cloud", 0.09, -0.06),
    "snow": Coat((0.90, 0.92, 0.96), "cloud", 0.03, -0.05),
}
"""Ground types; classes of their own if there is no background class."""

CLUTTER = (things.paint_rock, things.paint_bush, things.paint_crate, things.paint_ball)

SHAPES = ((1.0, 1.0), (1.0, 1.2), (1.2, 1.0), (1.0, 1.4), (1.4, 1.0), (1.2, 1.2))
"""Height and width of the images, in multiples of ``size``."""

CLUTTER_OWNER = len(GROUNDS)
FIRST_THING = CLUTTER_OWNER + 1

LARGEST = int(TILE / max(max(shape) for shape in SHAPES))
"""Maximum ``size``: textures are cut from images that must be at least as large as the longest side."""

FEWEST_PIXELS = 24
"""An object with fewer visible pixels is not tagged, and its pixels are unknown."""

KEPT = 1024
"""Number of drawn images kept in memory, because each epoch needs them again: 20 MB at the default size."""

VERSION = 2
"""Incremented whenever the same settings give other images."""


@dataclass(frozen=True, kw_only=True)
class SyntheticSettings(DatasetSettings):
    """Images drawn from a seed: six classes with discriminative parts, clutter, occlusion, boats only on water."""

    train: int = 320
    """Number of training images."""
    val: int = 80
    """Number of validation images."""
    size: int = 64
    """Shortest side in pixels; sides have up to 1.4 times as many."""
    seed: int = 0
    """Seed of the images; another seed gives another data set of the same kind."""

    def __post_init__(self) -> None:
        require(self.train >= 1, "train", "must be at least 1", self.train)
        require(self.val >= 0, "val", "must not be negative", self.val)
        require(32 <= self.size <= LARGEST, "size", f"must lie in [32, {LARGEST}]", self.size)
        require(self.seed >= 0, "seed", "must not be negative", self.seed)


class SyntheticDataset(Dataset):
    """Images drawn on access; the same id gives the same image.

    Args:
        settings: Number and size of the images, and the seed.
    """

    def __init__(self, settings: SyntheticSettings) -> None:
        counts = {"train": settings.train, "val": settings.val}
        ids = {split: tuple(f"{split}_{index:05d}" for index in range(count)) for split, count in counts.items()}
        classes = tuple(THINGS) if settings.background else (*THINGS, *GROUNDS)
        super().__init__("synthetic", classes, background=settings.background, ids=ids)
        self._settings = settings

    def size(self, id: str) -> tuple[int, int]:
        """Height and width of an image."""
        return _size(_generator(self._settings, id), self._settings.size)

    def image(self, id: str) -> Image:
        """Draw an image, (3, H, W) uint8."""
        pixels, _ = _draw(self._settings, id)
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))

    def tags(self, id: str) -> Tags:
        """Return which classes are visible."""
        _, labels = _draw(self._settings, id)
        return torch.from_numpy(np.bincount(labels.ravel(), minlength=256)[1 : len(self.classes) + 1] > 0)

    def truth(self, id: str) -> LabelMap:
        """Draw the ground truth, (H, W) uint8."""
        _, labels = _draw(self._settings, id)
        return torch.from_numpy(labels.copy())

    def _input_digest(self, id: str) -> bytes:
        return self._recipe(id)

    def _truth_digest(self, id: str) -> bytes:
        return self._recipe(id)

    def _recipe(self, id: str) -> bytes:
        """Hash the inputs of an image, which is faster than drawing it."""
        settings = self._settings
        return digest(repr((VERSION, np.__version__, settings.background, settings.size, settings.seed, id)).encode())


@lru_cache(maxsize=KEPT)
def _draw(settings: SyntheticSettings, id: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw an image and its labels."""
    rng = _generator(settings, id)
    scene = Scene(*_size(rng, settings.size), rng)
    scene.compose()
    return scene.develop(), scene.labels(background=settings.background)


def _generator(settings: SyntheticSettings, id: str) -> np.random.Generator:
    split, _, index = id.partition("_")
    return np.random.default_rng([VERSION, settings.seed, SPLITS.index(split), int(index)])


def _size(rng: np.random.Generator, side: int) -> tuple[int, int]:
    height, width = SHAPES[int(rng.integers(len(SHAPES)))]
    return round(height * side), round(width * side)


class Scene:
    """A landscape with objects.

    Args:
        height: Rows.
        width: Columns.
        rng: Random generator of the scene.
    """

    def __init__(self, height: int, width: int, rng: np.random.Generator) -> None:
        self.canvas = Canvas(height, width, rng)
        self.height = height
        self.width = width
        self.rng = rng
        self.owners: list[str] = []

    def compose(self) -> None:
        """Draw the ground, clutter, objects from far to near, and foreground occluders."""
        rng = self.rng
        horizon = self.height * rng.uniform(0.22, 0.38)
        self._ground("sky", 0, self.height)
        ground = str(rng.choice(["grass", "sand", "stone", "snow"]))
        sea = rng.random() < 0.60
        shore = self.height * rng.uniform(0.68, 0.80) if sea else horizon
        if sea:
            self._ground("water", horizon, self.height)
        self._ground(ground, shore, self.height)
        for _ in range(rng.integers(1, 3)):
            self._clutter(shore)
        count = int(rng.choice([0, 1, 2, 3], p=[0.03, 0.47, 0.35, 0.15]))
        for name, place, foot in self._plan(count, sea, horizon, shore):
            self._thing(name, place, foot, count, "water" if name == "boat" else ground)
        if rng.random() < 0.35:
            x, y = rng.uniform(0, self.width), rng.uniform(0.85, 1.0) * self.height
            things.paint_post(Figure(self.canvas, (x, y), 0.6 * self.height, 1, CLUTTER_OWNER), rng)

    def develop(self) -> NDArray[np.uint8]:
        """Apply illumination and sensor noise; (H, W, 3) bytes."""
        rng = self.rng
        light = rng.uniform(0.82, 1.12) * rng.uniform(0.94, 1.06, 3)
        noisy = self.canvas.pixels * light.astype(np.float32)
        noisy += 0.018 * rng.standard_normal(noisy.shape, dtype=np.float32)
        return (noisy.clip(0, 1) * 255 + 0.5).astype(np.uint8)

    def labels(self, *, background: bool) -> NDArray[np.uint8]:
        """Return the label of each pixel's owner, (H, W)."""
        names = list(THINGS) if background else [*THINGS, *GROUNDS]
        table = np.full(256, IGNORE, dtype=np.uint8)
        for owner, name in enumerate(GROUNDS):
            table[owner] = BACKGROUND if background else names.index(name) + 1
        table[CLUTTER_OWNER] = BACKGROUND if background else IGNORE
        visible = np.bincount(self.canvas.owners.ravel(), minlength=256)
        for owner, name in enumerate(self.owners, FIRST_THING):
            table[owner] = names.index(name) + 1 if visible[owner] >= FEWEST_PIXELS else IGNORE
        return table[self.canvas.owners]

    def _ground(self, name: str, top: float, bottom: float) -> None:
        tilt = 0.0 if name in ("sky", "water") else self.rng.uniform(-0.06, 0.06) * self.height
        corners = [
            (-9.0, top - tilt),
            (self.width + 9.0, top + tilt),
            (self.width + 9.0, bottom + 9),
            (-9.0, bottom + 9),
        ]
        self.canvas.paint(polygon(corners), GROUNDS[name], list(GROUNDS).index(name))

    def _clutter(self, shore: float) -> None:
        x, y = self.rng.uniform(0, self.width), self.rng.uniform(shore + 4, self.height)
        painter = CLUTTER[int(self.rng.integers(len(CLUTTER)))]
        unit = self.rng.uniform(0.14, 0.30) * min(self.height, self.width)
        painter(Figure(self.canvas, (x, y), unit, 1, CLUTTER_OWNER), self.rng)

    def _plan(self, count: int, sea: bool, horizon: float, shore: float) -> list[tuple[str, float, float]]:
        """Choose objects and positions, side by side with some overlap, from far to near."""
        rng = self.rng
        slots = (np.arange(count) + 0.5 + rng.uniform(-0.22, 0.22, count)) / max(count, 1)
        names = rng.choice([name for name in THINGS if name != "boat"], count).tolist()
        if sea and count and rng.random() < 0.38:
            names[0] = "boat"
        plan = []
        for name, slot in zip(names, rng.permutation(slots), strict=True):
            near = (horizon + 0.62 * (shore - horizon), shore) if name == "boat" else (shore, self.height)
            low, high = near[0] + 0.45 * (near[1] - near[0]), near[1] - 0.02 * self.height
            plan.append((name, float(slot) * self.width, rng.uniform(low, max(low, high))))
        return sorted(plan, key=lambda entry: entry[2])

    def _thing(self, name: str, place: float, foot: float, count: int, ground: str) -> None:
        rng = self.rng
        kind = THINGS[name]
        colours = np.array(kind.colours)
        # a body in the colour of its ground would be invisible
        apart = np.abs(colours - np.array(GROUNDS[ground].colour)).mean(axis=1) > 0.15
        chance = np.array(kind.frequencies) * apart
        red, green, blue = (rng.choice(colours, p=chance / chance.sum()) * rng.uniform(0.9, 1.1, 3)).tolist()
        unit = rng.uniform(0.65, 0.90) * (1.0, 1.0, 0.85, 0.72)[count] * min(self.height, self.width)
        # not so large that the top leaves the image, nor so far to the side that the head does
        unit = min(unit, foot / 0.8)
        inside = min(0.42 * unit, self.width / 2)
        place = min(max(place, inside), self.width - inside)
        mirror = 1 if rng.random() < 0.5 else -1
        self.owners.append(name)
        figure = Figure(self.canvas, (place, foot), unit, mirror, FIRST_THING + len(self.owners) - 1)
        kind.painter(figure, rng, (red, green, blue))
