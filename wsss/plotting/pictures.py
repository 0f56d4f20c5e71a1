"""Pictures of images, label overlays, activations and annotations."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw
from torch import Tensor
from torch.nn.functional import interpolate

from wsss.annotations import Annotation, Box, Stroke
from wsss.store import voc_palette, write_atomically
from wsss.types import Image, LabelMap

Picture = NDArray[np.uint8]
"""RGB bytes, (H, W, 3)."""

Palette = NDArray[np.uint8]
"""The colour of each label, (256, 3)."""

MARKED_SIDE = 480
"""Images are enlarged to about this side, in pixels, before annotations are drawn, so that marks stay fine."""

DARKENED = 0.35
"""How much an image is darkened below annotations."""

COLOUR_BLIND = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
"""Colours that can be told apart with any kind of colour vision (Okabe and Ito, 2002)."""


def colour_blind_palette() -> Palette:
    """Colours of Okabe and Ito for labels 1 to 7, then the same in lighter and darker shades; ``IGNORE`` white.

    Returns:
        (256, 3) bytes; background is black and no two labels share a colour.
    """
    base = np.array([[int(text[place : place + 2], 16) for place in (1, 3, 5)] for text in COLOUR_BLIND])
    label = np.arange(254)
    turn = label // len(base)
    strength = (turn + 1) // 2 / (turn[-1] // 2 + 2)  # 0 for the pure colours, then ever nearer to white or black
    end = np.where(turn % 2 == 1, 255, 0)
    shades = base[label % len(base)] * (1 - strength[:, None]) + (end * strength)[:, None]
    return np.concatenate([np.zeros((1, 3)), shades.round(), np.full((1, 3), 255)]).astype(np.uint8)


PALETTES: dict[str, Callable[[], Palette]] = {"voc": voc_palette, "colour_blind": colour_blind_palette}


def picture(image: Image) -> Picture:
    """Convert a (3, H, W) image to a picture."""
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def overlay(image: Image, labels: LabelMap, opacity: float = 0.6, *, palette: str = "voc") -> Picture:
    """Blend the colours of the labels over an image.

    Args:
        image: RGB bytes (3, H, W).
        labels: (H, W); ``IGNORE`` is white.
        opacity: 0 shows the image, 1 only the colours.
        palette: Name of a palette in ``PALETTES``.

    Returns:
        (H, W, 3) bytes.
    """
    colours = PALETTES[palette]()[labels.numpy()]
    return _mixed(picture(image), colours, np.float32(opacity))


def write_overlay(path: Path, image: Image, labels: LabelMap, *, palette: str = "voc") -> None:
    """Write a label overlay as a PNG of the image's size; see ``overlay``."""
    buffer = io.BytesIO()
    PillowImage.fromarray(overlay(image, labels, palette=palette)).save(buffer, format="PNG", compress_level=4)
    write_atomically(path, buffer.getvalue())


def heat(image: Image, cam: Tensor, opacity: float = 0.6) -> Picture:
    """Blend a heat map of activations over an image.

    Args:
        image: RGB bytes (3, H, W).
        cam: Activations in [0, 1], (h, w), or (C, h, w) of which the maximum is shown; resized to the image.
        opacity: 0 shows the image, 1 only the colours.

    Returns:
        (H, W, 3) bytes.
    """
    import matplotlib as mpl

    strongest = cam.float().amax(0) if cam.ndim == 3 else cam.float()
    size = list(image.shape[1:])
    resized = interpolate(strongest[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
    colours = mpl.colormaps["turbo"](resized.clamp(0, 1).numpy(), bytes=True)[..., :3]
    return _mixed(picture(image), colours, np.float32(opacity))


def annotated(
    image: Image, annotation: Annotation, opacity: float = 0.6, *, palette: str = "voc", side: int = MARKED_SIDE
) -> Picture:
    """Draw annotations on a slightly darkened image, in the colours of their classes.

    A full mask is an overlay, boxes are frames, scribbles are strokes at least as wide as their pen, and points are
    dots; each has a white rim. Tags have no position, see ``strip_of_maps``.

    Args:
        image: RGB bytes (3, H, W).
        annotation: The annotation.
        opacity: Opacity of a full mask.
        palette: Name of a palette in ``PALETTES``.
        side: Smaller images are enlarged by the integer factor that brings their longer side closest to it.

    Returns:
        (h, w, 3) bytes, the image's size times that factor.
    """
    if annotation.masks is None:
        below = _mixed(picture(image), np.zeros((1, 1, 3), np.uint8), np.float32(DARKENED))
    else:
        below = overlay(image, annotation.masks.to_labels(), opacity, palette=palette)
    zoom = max(1, round(side / max(below.shape[:2])))
    canvas = PillowImage.fromarray(below.repeat(zoom, axis=0).repeat(zoom, axis=1))
    pen = _Pen(ImageDraw.Draw(canvas), PALETTES[palette](), zoom, max(1, max(canvas.size) // 160))
    pen.mark(annotation)
    return np.array(canvas)


@dataclass(frozen=True)
class _Pen:
    """Draws annotations on an enlarged image.

    Attributes:
        draw: The drawing context.
        colours: The colour of each label.
        zoom: Pixels of the canvas along each pixel of the image.
        rim: Width of the white rim, in pixels of the canvas.
    """

    draw: ImageDraw.ImageDraw
    colours: Palette
    zoom: int
    rim: int

    def mark(self, annotation: Annotation) -> None:
        for box in annotation.boxes.boxes if annotation.boxes else ():
            self.frame(box)
        for stroke in annotation.scribbles.strokes if annotation.scribbles else ():
            self.stroke(stroke)
        for point in annotation.points.points if annotation.points else ():
            self.dot(point.label, self.place(point.row, point.column), 4 * self.rim)

    def colour(self, label: int) -> tuple[int, ...]:
        return tuple(self.colours[label].tolist())

    def place(self, row: int, column: int) -> tuple[float, float]:
        """The centre of a pixel, as x and y."""
        return (column + 0.5) * self.zoom - 0.5, (row + 0.5) * self.zoom - 0.5

    def dot(self, label: int, place: tuple[float, float], radius: float) -> None:
        self.draw.circle(place, radius + self.rim, fill="white")
        self.draw.circle(place, radius, fill=self.colour(label))

    def stroke(self, stroke: Stroke) -> None:
        places = [self.place(row, column) for row, column in stroke.path]
        width = max(stroke.width * self.zoom, 3 * self.rim)
        for wide, fill in ((width + 2 * self.rim, (255, 255, 255)), (width, self.colour(stroke.label))):
            self.draw.line(places, fill=fill, width=wide, joint="curve")
            for end in (places[0], places[-1]):
                self.draw.circle(end, wide / 2 - 0.5, fill=fill)

    def frame(self, box: Box) -> None:
        left, top, right, bottom = (self.zoom * side for side in (box.left, box.top, box.right, box.bottom))
        for outside, fill in ((0, (255, 255, 255)), (self.rim, self.colour(box.label))):
            inner = (left + outside, top + outside, right - 1 - outside, bottom - 1 - outside)
            if inner[0] <= inner[2] and inner[1] <= inner[3]:
                self.draw.rectangle(inner, outline=fill, width=4 * self.rim - 2 * outside)


def _mixed(below: Picture, above: Picture, opacity: np.float32) -> Picture:
    return (below * (1 - opacity) + above * opacity).round().astype(np.uint8)
