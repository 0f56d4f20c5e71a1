"""Random views of training images, drawn from (seed, epoch, sample) and nothing else."""

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
"""Fills what lies beside the image: the mean of ImageNet, which networks normalise to 0."""

Weights = Float[Tensor, "H W"]
"""How much each pixel's label counts, at least 0."""


@dataclass(frozen=True, kw_only=True)
class TransformSettings:
    """Random scale, crop, flip and colours."""

    crop: int = 256
    """Side in pixels of the squares that are cut out."""
    scale: tuple[float, ...] = (0.5, 1.5)
    """Least and largest size, in multiples of its own, at which an image is shown."""
    flip: bool = True
    """Whether images are mirrored at random."""
    jitter: float = 0.2
    """How far brightness, contrast and saturation may change, as a share."""

    def __post_init__(self) -> None:
        require(self.crop >= 1, "crop", "must be at least 1", self.crop)
        ordered = len(self.scale) == 2 and 0 < self.scale[0] <= self.scale[-1]
        require(ordered, "scale", "must be two positive numbers, the lesser first", list(self.scale))
        require(0 <= self.jitter < 1, "jitter", "must lie in [0, 1)", self.jitter)


@dataclass(frozen=True)
class View:
    """What a network is shown of one image.

    Attributes:
        image: (3, crop, crop) float in [0, 1].
        labels: (crop, crop) int64, ``IGNORE`` beside the image; None without labels.
        weights: (crop, crop) float, 0 beside the image; None without labels.
        boxes: (N, 5) int64, label, top, left, bottom, right in pixels of the crop, which they may reach beyond; None
            without boxes.
    """

    image: Tensor
    labels: Tensor | None
    weights: Tensor | None
    boxes: Tensor | None = None


@dataclass(frozen=True)
class _Span:
    """One axis of a window: where it starts in the image, and where what it holds lies in the crop."""

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
    """Show an image at a random size, place, side and light, and its labels with it.

    The window is cut out first and only then resized, so the cost depends on the crop and not on the image. An image
    smaller than the crop lies at a random place in it.

    Args:
        image: RGB bytes.
        labels: Labels of the image's size, or None.
        weights: How much each pixel's label counts, of the image's size; None counts each as 1.
        settings: How far to go.
        seed: All that the view depends on, see ``seed_of``; the global generators are left alone.
        boxes: Label, top, left, bottom, right in pixels of the image, half-open, or None.
        sparse: Whether few pixels are labelled, so that none may be lost where the view is smaller than the image.
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
    """Lay a window along one axis: inside the image if it fits, else so that the image is inside the window."""
    slack = length - side
    start = int(draw * (abs(slack) + 1)) * (1 if slack >= 0 else -1)
    inside = min(length, side)
    place, extent = round(max(0, -start) * crop / side), max(1, round(inside * crop / side))
    return _Span(max(0, start), inside, min(place, crop - extent), extent)


def _resized(picture: Tensor, rows: _Span, columns: _Span) -> Tensor:
    """Cut the window out and resize it, an image smoothly and a mask to the nearest pixel."""
    part = functional.crop(picture, rows.start, columns.start, rows.length, columns.length)
    size = [rows.extent, columns.extent]
    if isinstance(picture, Mask):
        # torchvision's nearest pixel is the one above and to the left, which moves a mask against its image
        return interpolate(part.as_subclass(Tensor)[None], size, mode="nearest-exact")[0]
    resized: Tensor = functional.resize(part, size, antialias=True)
    return resized.as_subclass(Tensor)


def _resized_marks(labels: Mask, rows: _Span, columns: _Span) -> Tensor:
    """Cut the window out and shrink it; each pixel has the label of most of those that it shows and that have one."""
    part = functional.crop(labels, rows.start, columns.start, rows.length, columns.length).as_subclass(Tensor)
    known = part[part != IGNORE]
    classes = int(known.max()) + 1 if len(known) else 1
    return coarse_labels(part, (rows.extent, columns.extent), classes=classes)


def _placed(part: Tensor, canvas: Tensor, rows: _Span, columns: _Span, *, flip: bool) -> Tensor:
    canvas[:, rows.place : rows.place + rows.extent, columns.place : columns.place + columns.extent] = part
    return canvas.flip(-1) if flip else canvas


def _moved(boxes: Tensor, rows: _Span, columns: _Span, mirror: int | None) -> Tensor:
    """Move boxes to where the window shows what they hold, mirrored about a crop of that width."""
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
