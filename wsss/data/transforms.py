"""Random views of training images, determined by (seed, epoch, sample)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms.v2 import functional
from torchvision.tv_tensors import Mask

from wsss.errors import require
from wsss.functional.settled import coarse_labels
from wsss.types import IGNORE, Image, LabelMap

MEAN_COLOUR = (0.485, 0.456, 0.406)
"""Padding colour: the mean of ImageNet, which networks normalise to 0."""

Weights = Float[Tensor, "H W"]
"""Weight of each pixel, at least 0."""


@dataclass(frozen=True, kw_only=True)
class TransformSettings:
    """Random scale, crop, flip and colour jitter."""

    crop: int = 256
    """Side in pixels of the square crops."""
    scale: tuple[float, ...] = (0.5, 1.5)
    """Minimum and maximum scale of an image."""
    flip: bool = True
    """Whether images are randomly mirrored."""
    jitter: float = 0.2
    """Maximum relative change of brightness, contrast and saturation."""

    def __post_init__(self) -> None:
        require(self.crop >= 1, "crop", "must be at least 1", self.crop)
        ordered = len(self.scale) == 2 and 0 < self.scale[0] <= self.scale[-1]
        require(ordered, "scale", "must be two positive numbers, the lesser first", list(self.scale))
        require(0 <= self.jitter < 1, "jitter", "must lie in [0, 1)", self.jitter)


@dataclass(frozen=True)
class View:
    """A network's view of one image.

    Attributes:
        image: (3, crop, crop) float in [0, 1].
        labels: (crop, crop) int64, ``IGNORE`` outside of the image; None without labels.
        weights: (crop, crop) float, 0 outside of the image; None without labels.
        boxes: (N, 5) int64, label, top, left, bottom, right in pixels of the crop, beyond which they may extend; None
            without boxes.
    """

    image: Tensor
    labels: Tensor | None
    weights: Tensor | None
    boxes: Tensor | None = None


@dataclass(frozen=True)
class _Span:
    """One axis of a window: its extent in the image, and the extent of its content in the crop."""

    start: int
    length: int
    place: int
    extent: int


def random_view(
    image: Image,
    labels: LabelMap | None,
    weights: Weights | None,
    settings: TransformSettings,
    *,
    seed: int,
    boxes: Int64[Tensor, "N 5"] | None = None,
    sparse: bool = False,
) -> View:
    """Create a random view of an image, and of its labels: scale, position, mirroring and colours.

    The window is cropped before it is resized, so the cost depends on the crop and not on the image. An image smaller
    than the crop is placed at a random position in it.

    Args:
        image: RGB bytes.
        labels: Labels of the image's size, or None.
        weights: Weight of each pixel, of the image's size; None weights all by 1.
        settings: Ranges of the random changes.
        seed: Determines the view, see ``seed_of``; the global generators are not used.
        boxes: Label, top, left, bottom, right in pixels of the image, half-open, or None.
        sparse: Whether few pixels are labelled, so that none may be lost when downscaling.
    """
    draws = torch.rand(7, generator=torch.Generator().manual_seed(seed)).tolist()
    low, high = settings.scale[0], settings.scale[-1]
    side = max(1, round(settings.crop / (low + (high - low) * draws[0])))
    rows = _span(image.shape[1], side, settings.crop, draws[1])
    columns = _span(image.shape[2], side, settings.crop, draws[2])
    flip = settings.flip and draws[3] < 0.5

    shown = _jittered(_resized(image, rows, columns).float().div_(255), settings.jitter, draws[4:])
    canvas = torch.tensor(MEAN_COLOUR)[:, None, None].repeat(1, settings.crop, settings.crop)
    picture = _placed(shown, canvas, rows, columns, flip=flip)
    moved = None if boxes is None else _moved(boxes, rows, columns, settings.crop if flip else None)
    if labels is None:
        return View(picture, None, None, moved)
    unknown = torch.full((1, settings.crop, settings.crop), IGNORE)
    resized = _resized_marks if sparse and side > settings.crop else _resized
    placed = _placed(resized(Mask(labels[None]), rows, columns).long(), unknown, rows, columns, flip=flip)[0]
    counts = torch.zeros(1, settings.crop, settings.crop)
    given = Mask(torch.ones_like(labels, dtype=torch.float32)[None] if weights is None else weights[None].float())
    counted = _placed(_resized(given, rows, columns), counts, rows, columns, flip=flip)[0]
    return View(picture, placed, counted, moved)


def _span(length: int, side: int, crop: int, draw: float) -> _Span:
    """Place a window along one axis: inside the image if it fits, else so that the image is inside the window."""
    slack = length - side
    start = int(draw * (abs(slack) + 1)) * (1 if slack >= 0 else -1)
    inside = min(length, side)
    place, extent = round(max(0, -start) * crop / side), max(1, round(inside * crop / side))
    return _Span(max(0, start), inside, min(place, crop - extent), extent)


def _resized(picture: Tensor, rows: _Span, columns: _Span) -> Tensor:
    """Crop and resize, images with interpolation and masks by nearest neighbour."""
    part = functional.crop(picture, rows.start, columns.start, rows.length, columns.length)
    size = [rows.extent, columns.extent]
    if isinstance(picture, Mask):
        # torchvision's nearest neighbour is the pixel above and to the left, which shifts a mask against its image
        return interpolate(part.as_subclass(Tensor)[None], size, mode="nearest-exact")[0]
    resized: Tensor = functional.resize(part, size, antialias=True)
    return resized.as_subclass(Tensor)


def _resized_marks(labels: Mask, rows: _Span, columns: _Span) -> Tensor:
    """Crop and downscale; each pixel gets the majority label of the labelled pixels that it covers."""
    part = functional.crop(labels, rows.start, columns.start, rows.length, columns.length).as_subclass(Tensor)
    known = part[part != IGNORE]
    classes = int(known.max()) + 1 if len(known) else 1
    return coarse_labels(part, (rows.extent, columns.extent), classes=classes)


def _placed(part: Tensor, canvas: Tensor, rows: _Span, columns: _Span, *, flip: bool) -> Tensor:
    canvas[:, rows.place : rows.place + rows.extent, columns.place : columns.place + columns.extent] = part
    return canvas.flip(-1) if flip else canvas


def _moved(boxes: Tensor, rows: _Span, columns: _Span, mirror: int | None) -> Tensor:
    """Transform boxes to the crop; if mirrored, ``mirror`` is the width of the crop."""
    top, bottom = (_along(boxes[:, side], rows) for side in (1, 3))
    left, right = (_along(boxes[:, side], columns) for side in (2, 4))
    if mirror is not None:
        left, right = mirror - right, mirror - left
    return torch.stack([boxes[:, 0], top, left, bottom, right], dim=1)


def _along(places: Tensor, span: _Span) -> Tensor:
    return ((places - span.start) * (span.extent / span.length)).round().long() + span.place


def _jittered(image: Tensor, jitter: float, draws: list[float]) -> Tensor:
    """Change brightness, contrast and saturation by factors from [1 - jitter, 1 + jitter]."""
    if not jitter:
        return image
    brightness, contrast, saturation = (1 + jitter * (2 * draw - 1) for draw in draws)
    lit = functional.adjust_brightness(image, brightness)
    jittered: Tensor = functional.adjust_saturation(functional.adjust_contrast(lit, contrast), saturation)
    return jittered
