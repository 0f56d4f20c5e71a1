"""Objects of the synthetic images: a small discriminative part and a large ambiguous body."""

from dataclasses import dataclass

import numpy as np

from wsss.data.canvas import Canvas, Coat, Colour, Point, Shape, ellipse, polygon, stroke

FUR: tuple[Colour, ...] = (
    (0.55, 0.35, 0.20),
    (0.84, 0.50, 0.20),
    (0.47, 0.47, 0.50),
    (0.90, 0.82, 0.68),
    (0.22, 0.18, 0.17),
)
PAINT: tuple[Colour, ...] = (
    (0.17, 0.32, 0.74),
    (0.16, 0.55, 0.47),
    (0.94, 0.54, 0.18),
    (0.92, 0.92, 0.92),
    (0.26, 0.27, 0.33),
)
LEAVES: tuple[Colour, ...] = ((0.13, 0.34, 0.14), (0.20, 0.42, 0.12), (0.10, 0.30, 0.22))
ROCKS: tuple[Colour, ...] = ((0.45, 0.43, 0.42), (0.60, 0.55, 0.50), (0.36, 0.36, 0.40))
BALLS: tuple[Colour, ...] = ((0.25, 0.45, 0.85), (0.95, 0.55, 0.15), (0.94, 0.94, 0.94))
WOOD: Colour = (0.40, 0.26, 0.15)
DARK: Colour = (0.08, 0.08, 0.09)
GLASS: Colour = (0.50, 0.90, 0.95)


@dataclass(frozen=True)
class Figure:
    """An object at its position; shapes are given in its own units, with the origin at its foot.

    Attributes:
        canvas: The canvas to draw on.
        foot: Position of its foot, (x, y) in pixels.
        unit: Its width in pixels.
        mirror: 1, or -1 if it faces left.
        owner: Owner of its pixels; None for shadows.
    """

    canvas: Canvas
    foot: Point
    unit: float
    mirror: int
    owner: int

    def blob(self, at: Point, across: float, down: float, coat: Coat, angle: float = 0.0) -> None:
        """Paint an ellipse."""
        self._paint(ellipse(self._place(at), across * self.unit, down * self.unit, angle * self.mirror), coat)

    def plate(self, corners: list[Point], coat: Coat) -> None:
        """Paint a convex polygon."""
        self._paint(polygon([self._place(corner) for corner in corners]), coat)

    def limb(self, start: Point, end: Point, radius: float, coat: Coat) -> None:
        """Paint a thick line."""
        self._paint(stroke(self._place(start), self._place(end), max(0.5, radius * self.unit)), coat)

    def shadow(self, reach: float) -> None:
        """Darken the ground below it."""
        shape = ellipse(self._place((0, 0)), reach * self.unit, 0.07 * self.unit)
        self.canvas.paint(shape, Coat((0.05, 0.06, 0.10)), None, opacity=0.35, blur=2.0)

    def _place(self, point: Point) -> Point:
        return self.foot[0] + self.mirror * point[0] * self.unit, self.foot[1] + point[1] * self.unit

    def _paint(self, shape: Shape, coat: Coat) -> None:
        self.canvas.paint(shape, coat, self.owner)


def paint_cat(figure: Figure, rng: np.random.Generator, colour: Colour) -> None:
    """Paint striped fur with pointed ears and green eyes."""
    fur = _animal(figure, rng, colour)
    stripe = Coat(_mixed(colour, DARK, 0.6), "fur", 0.10)
    for x in (-0.32, -0.18, -0.04, 0.10):
        figure.limb((x, -0.48), (x + 0.03, -0.30), 0.022, stripe)
    pink = Coat((0.95, 0.45, 0.62))
    for x in (0.27, 0.51):
        figure.plate([(x - 0.09, -0.70), (x + 0.09, -0.70), (x + 0.01, -0.97)], fur)
        figure.plate([(x - 0.045, -0.72), (x + 0.045, -0.72), (x + 0.01, -0.88)], pink)
    figure.blob((0.40, -0.64), 0.21, 0.18, fur)
    for x in (0.31, 0.49):
        figure.blob((x, -0.66), 0.065, 0.065, Coat((0.60, 0.90, 0.25)))
        figure.limb((x, -0.70), (x, -0.62), 0.014, Coat(DARK))


def paint_dog(figure: Figure, rng: np.random.Generator, colour: Colour) -> None:
    """Paint spotted fur with hanging ears and a long snout."""
    fur = _animal(figure, rng, colour)
    spot = Coat(_mixed(colour, (1.0, 0.97, 0.90), 0.55), "fur", 0.12)
    for x, y in ((-0.30, -0.40), (-0.10, -0.30), (0.06, -0.44)):
        figure.blob((x + rng.uniform(-0.03, 0.03), y), 0.10, 0.075, spot)
    figure.blob((0.40, -0.64), 0.18, 0.16, fur)
    figure.blob((0.55, -0.58), 0.15, 0.09, Coat(_mixed(colour, (1.0, 0.95, 0.85), 0.5), "fur", 0.08))
    figure.blob((0.67, -0.61), 0.05, 0.045, Coat(DARK))
    figure.blob((0.27, -0.60), 0.08, 0.17, Coat(_mixed(colour, DARK, 0.55), "fur", 0.10), 0.25)
    figure.blob((0.44, -0.69), 0.035, 0.04, Coat(DARK))


def _animal(figure: Figure, rng: np.random.Generator, colour: Colour) -> Coat:
    """Paint the body that cats and dogs share."""
    fur = Coat(colour, "fur", 0.20, 0.18)
    figure.shadow(0.5)
    lift = rng.uniform(-0.75, -0.35)
    figure.limb((-0.38, -0.36), (-0.60, lift), 0.045, fur)
    for x, sway in zip((-0.34, -0.20, 0.18, 0.32), rng.uniform(-0.07, 0.07, 4), strict=True):
        figure.limb((x, -0.25), (x + sway, -0.04), 0.055, fur)
    figure.blob((-0.02, -0.36), 0.44, rng.uniform(0.17, 0.23), fur)
    return fur


def paint_apple_tree(figure: Figure, rng: np.random.Generator, colour: Colour) -> None:
    """Paint a tree with a few red fruits."""
    _fruit_tree(figure, rng, colour, (0.92, 0.10, 0.12))


def paint_lemon_tree(figure: Figure, rng: np.random.Generator, colour: Colour) -> None:
    """Paint the same tree with yellow fruits."""
    _fruit_tree(figure, rng, colour, (1.0, 0.88, 0.10))


def _fruit_tree(figure: Figure, rng: np.random.Generator, colour: Colour, fruit: Colour) -> None:
    leaves = Coat(colour, "mottle", 0.28, 0.15)
    figure.shadow(0.35)
    figure.limb((0, -0.5), (0, -0.02), 0.06, Coat(WOOD, "fur", 0.15))
    for x, y in ((-0.22, -0.55), (0.22, -0.58), (0.0, -0.82), (0.0, -0.60)):
        figure.blob((x + rng.uniform(-0.04, 0.04), y), rng.uniform(0.24, 0.31), 0.26, leaves)
    # the fruits are clustered, so that part of the crown is not discriminative
    side = rng.uniform(-0.15, 0.15)
    for angle in np.arange(5) * 1.26 + rng.uniform(0, 1.2):
        x, y = side + 0.21 * np.cos(angle), -0.62 + 0.19 * np.sin(angle)
        figure.blob((float(x), float(y)), 0.065, 0.065, Coat(fruit, light=0.2))


def paint_car(figure: Figure, rng: np.random.Generator, colour: Colour) -> None:
    """Paint a lacquered body with windows, wheels and a lamp."""
    lacquer = Coat(colour, "grain", 0.04, 0.16)
    figure.shadow(0.55)
    roof = rng.uniform(0.66, 0.76)
    figure.plate([(-0.38, -0.38), (0.32, -0.38), (0.18, -roof), (-0.26, -roof)], lacquer)
    figure.plate([(-0.30, -0.42), (-0.06, -0.42), (-0.06, -roof + 0.05), (-0.22, -roof + 0.05)], Coat(GLASS))
    figure.plate([(0.00, -0.42), (0.24, -0.42), (0.14, -roof + 0.05), (0.00, -roof + 0.05)], Coat(GLASS))
    figure.plate([(-0.52, -0.12), (0.52, -0.12), (0.50, -0.38), (0.30, -0.42), (-0.46, -0.42), (-0.52, -0.34)], lacquer)
    figure.blob((0.46, -0.30), 0.06, 0.06, Coat((1.0, 0.95, 0.55)))
    for x in (-0.29, 0.29):
        figure.blob((x, -0.15), 0.15, 0.15, Coat(DARK))
        figure.blob((x, -0.15), 0.07, 0.07, Coat((0.97, 0.97, 1.0)))


def paint_boat(figure: Figure, rng: np.random.Generator, colour: Colour) -> None:
    """Paint a hull with a striped sail."""
    figure.shadow(0.5)
    tall = rng.uniform(0.80, 0.95)
    figure.limb((0.02, -0.15), (0.02, -tall), 0.022, Coat(WOOD))
    canvas, stripe = Coat((0.97, 0.95, 0.88)), Coat((0.18, 0.30, 0.78))
    for low, high, coat in ((0.28, 0.48, canvas), (0.48, 0.66, stripe), (0.66, tall, canvas)):
        reach = [0.50 * (tall - height) / (tall - 0.28) for height in (low, high)]
        figure.plate([(0.05, -low), (0.05 + reach[0], -low), (0.051 + reach[1], -high), (0.05, -high)], coat)
    figure.plate([(-0.50, -0.22), (0.50, -0.22), (0.36, 0.0), (-0.38, 0.0)], Coat(colour, "grain", 0.05, 0.16))


def paint_rock(figure: Figure, rng: np.random.Generator) -> None:
    """Paint a rock."""
    figure.shadow(0.4)
    figure.blob((0, -0.20), 0.42, rng.uniform(0.18, 0.28), Coat(_one(ROCKS, rng), "cloud", 0.14, 0.2))


def paint_bush(figure: Figure, rng: np.random.Generator) -> None:
    """Paint leaves like those of the trees, without fruit."""
    figure.shadow(0.4)
    leaves = Coat(_one(LEAVES, rng), "mottle", 0.28, 0.15)
    for x in (-0.2, 0.2, 0.0):
        figure.blob((x, -0.18), 0.24, rng.uniform(0.16, 0.26), leaves)


def paint_crate(figure: Figure, rng: np.random.Generator) -> None:
    """Paint a box in the colours of cars and boats."""
    figure.shadow(0.4)
    colour, tall = _one(PAINT, rng), rng.uniform(0.4, 0.7)
    figure.plate([(-0.35, 0), (0.35, 0), (0.35, -tall), (-0.35, -tall)], Coat(colour, "grain", 0.05, 0.12))
    band = Coat(_mixed(colour, DARK, 0.4))
    figure.limb((-0.35, -tall), (0.35, 0), 0.04, band)
    figure.limb((0.35, -tall), (-0.35, 0), 0.04, band)


def paint_ball(figure: Figure, rng: np.random.Generator) -> None:
    """Paint a ball."""
    figure.shadow(0.3)
    figure.blob((0, -0.25), 0.25, 0.25, Coat(_one(BALLS, rng), light=0.3))
    figure.blob((-0.08, -0.33), 0.06, 0.06, Coat((1.0, 1.0, 1.0)))


def paint_post(figure: Figure, rng: np.random.Generator) -> None:
    """Paint a thin post in front of everything."""
    lean = rng.uniform(-0.08, 0.08)
    figure.limb((0, 0), (lean, -1.1), 0.035, Coat(WOOD, "fur", 0.12))


def _one(colours: tuple[Colour, ...], rng: np.random.Generator) -> Colour:
    return colours[int(rng.integers(len(colours)))]


def _mixed(colour: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (a + share * (b - a) for a, b in zip(colour, other, strict=True))
    return red, green, blue
