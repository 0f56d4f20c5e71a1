"""Drawing of synthetic images: anti-aliased shapes with textures, and the owner of each pixel."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Colour = tuple[float, float, float]
Point = tuple[float, float]

TILE = 256
"""Side of the noise images that textures are cut from."""


@dataclass(frozen=True)
class Shape:
    """A region of the plane, in pixels, as points (x, y) with y pointing down.

    Attributes:
        box: Left, top, right and bottom of a bounding box.
        distance: Signed distance of points to the edge, negative inside.
    """

    box: tuple[float, float, float, float]
    distance: Callable[[Floats, Floats], Floats]


def ellipse(centre: Point, across: float, down: float, angle: float = 0.0) -> Shape:
    """Create an ellipse with the given half axes, rotated by an angle in radians."""
    reach = max(across, down)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))

    def distance(x: Floats, y: Floats) -> Floats:
        right, below = x - np.float32(centre[0]), y - np.float32(centre[1])
        along, beside = (right * cos + below * sin) / across, (below * cos - right * sin) / down
        return (np.sqrt(along * along + beside * beside) - 1) * min(across, down)

    return Shape((centre[0] - reach, centre[1] - reach, centre[0] + reach, centre[1] + reach), distance)


def polygon(corners: Sequence[Point]) -> Shape:
    """Create a convex polygon."""
    points = np.array(corners, dtype=np.float32)
    edges = np.roll(points, -1, axis=0) - points
    turning = np.float32(np.sign(edges[0, 0] * edges[1, 1] - edges[0, 1] * edges[1, 0]))
    normals = np.stack([edges[:, 1], -edges[:, 0]], axis=1) * turning / np.linalg.norm(edges, axis=1, keepdims=True)

    def distance(x: Floats, y: Floats) -> Floats:
        sides = [n[0] * (x - p[0]) + n[1] * (y - p[1]) for n, p in zip(normals, points, strict=True)]
        return np.maximum.reduce(sides)

    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return Shape((left, top, right, bottom), distance)


def stroke(start: Point, end: Point, radius: float) -> Shape:
    """Create a line with round ends."""
    along = (end[0] - start[0], end[1] - start[1])
    squared = max(along[0] ** 2 + along[1] ** 2, 1e-6)

    def distance(x: Floats, y: Floats) -> Floats:
        right, below = x - np.float32(start[0]), y - np.float32(start[1])
        share = ((right * along[0] + below * along[1]) / squared).clip(0, 1)
        return np.hypot(right - share * along[0], below - share * along[1]) - radius

    return Shape(
        (
            min(start[0], end[0]) - radius,
            min(start[1], end[1]) - radius,
            max(start[0], end[0]) + radius,
            max(start[1], end[1]) + radius,
        ),
        distance,
    )


@dataclass(frozen=True)
class Coat:
    """Paint of a shape.

    Attributes:
        colour: RGB in [0, 1].
        texture: Name of a noise image, see ``tiles``.
        strength: Amplitude of the texture's brightness changes.
        light: Difference in brightness between the top of the shape and its bottom.
    """

    colour: Colour
    texture: str = "grain"
    strength: float = 0.06
    light: float = 0.0


class Canvas:
    """An image that is being drawn.

    Args:
        height: Rows.
        width: Columns.
        rng: Random generator of the textures.

    Attributes:
        pixels: (height, width, 3) RGB in [0, 1].
        owners: (height, width) number of the last owner of each pixel.
    """

    def __init__(self, height: int, width: int, rng: np.random.Generator) -> None:
        self.pixels = np.zeros((height, width, 3), dtype=np.float32)
        self.owners = np.zeros((height, width), dtype=np.uint8)
        self.rng = rng

    def paint(self, shape: Shape, coat: Coat, owner: int | None, *, opacity: float = 1.0, blur: float = 0.5) -> None:
        """Paint a shape.

        Args:
            shape: The shape.
            coat: Its paint.
            owner: Owner of the pixels that are at least half covered; None leaves the owners unchanged.
            opacity: Opacity of the paint.
            blur: Half the width in pixels of the soft edge.
        """
        height, width = self.owners.shape
        left, top = max(0, int(shape.box[0] - blur)), max(0, int(shape.box[1] - blur))
        right, bottom = min(width, int(shape.box[2] + blur) + 2), min(height, int(shape.box[3] + blur) + 2)
        if left >= right or top >= bottom:
            return
        x = np.arange(left, right, dtype=np.float32)[None] + np.float32(0.5)
        y = np.arange(top, bottom, dtype=np.float32)[:, None] + np.float32(0.5)
        cover = (0.5 - shape.distance(x, y) / (2 * blur)).clip(0, 1)
        tone = 1 + coat.strength * self.texture(coat.texture, bottom - top, right - left)
        if coat.light:
            middle, half = (shape.box[1] + shape.box[3]) / 2, max(shape.box[3] - shape.box[1], 1) / 2
            tone = tone + coat.light * (np.float32(middle) - y) / np.float32(half)
        below = self.pixels[top:bottom, left:right]
        below += (opacity * cover)[..., None] * (tone[..., None] * np.array(coat.colour, dtype=np.float32) - below)
        if owner is not None:
            self.owners[top:bottom, left:right][cover >= 0.5] = owner

    def texture(self, name: str, height: int, width: int) -> Floats:
        """Cut a piece out of a noise image, at a random position and randomly flipped."""
        row, column, turn = self.rng.integers((TILE - height + 1, TILE - width + 1, 4)).tolist()
        piece = tiles()[name][row : row + height, column : column + width]
        return piece[:: 1 if turn & 1 else -1, :: 1 if turn & 2 else -1]


@cache
def tiles() -> dict[str, Floats]:
    """Create the noise images, each with mean 0 and standard deviation 1.

    Returns:
        ``grain`` fine, ``cloud`` of all sizes, ``mottle`` in spots, ``fur`` in short vertical streaks, ``ripple`` in
        long horizontal ones.
    """
    rng = np.random.default_rng(20)
    return {
        "grain": _noise(rng, 0.6, 0.6),
        "cloud": _standard(sum(4.0**k * _noise(rng, 2.0**k, 2.0**k) for k in range(5))),
        "mottle": _standard(np.tanh(2 * _noise(rng, 1.5, 1.5)) + 0.5 * _noise(rng, 0.7, 0.7)),
        "fur": _noise(rng, 1.6, 0.5),
        "ripple": _standard(_noise(rng, 0.7, 3.0) + _noise(rng, 1.5, 8.0)),
    }


def _noise(rng: np.random.Generator, rows: float, columns: float) -> Floats:
    """Blur white noise with given standard deviations in pixels, cyclically."""
    spectrum = np.fft.rfft2(rng.standard_normal((TILE, TILE)))
    down, across = np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE)[None]
    spectrum *= np.exp(-2 * np.pi**2 * ((down * rows) ** 2 + (across * columns) ** 2))
    return _standard(np.fft.irfft2(spectrum, (TILE, TILE)))


def _standard(picture: "NDArray[np.float64] | Floats | float") -> Floats:
    centred = np.asarray(picture, dtype=np.float64) - np.mean(picture)
    return (centred / centred.std()).astype(np.float32)
