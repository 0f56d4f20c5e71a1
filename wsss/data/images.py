"""Reading of images and label maps into tensors."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage

from wsss.errors import DataError
from wsss.types import Image, LabelMap

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".tif", ".tiff", ".webp")
"""File suffixes of images, case-insensitive."""

LARGEST_IMAGE = 2**31
"""Maximum number of pixels of an image; files that claim more are damaged, or meant to exhaust the memory."""

ORIENTATION = 0x0112
"""Number of the EXIF orientation entry."""

MASK_CURES = {
    "1": ("mask of another depth", "convert it to 8-bit grey, with the number of the class where it is 1"),
    **dict.fromkeys(
        ("I", "I;16", "I;16B", "F"), ("mask of another depth", "convert it to 8 bits, with class numbers as values")
    ),
    **dict.fromkeys(("LA", "PA"), ("mask with transparency", "remove its transparency")),
}
"""Kind and cure of the fault of a mask, by its mode in Pillow; all other modes hold colours."""

TURNS = {
    2: PillowImage.Transpose.FLIP_LEFT_RIGHT,
    3: PillowImage.Transpose.ROTATE_180,
    4: PillowImage.Transpose.FLIP_TOP_BOTTOM,
    5: PillowImage.Transpose.TRANSPOSE,
    6: PillowImage.Transpose.ROTATE_270,
    7: PillowImage.Transpose.TRANSVERSE,
    8: PillowImage.Transpose.ROTATE_90,
}
"""Inverse of each EXIF orientation; from 5 on height and width are swapped."""


def read_image(path: Path, max_side: int | None = None) -> Image:
    """Read any image as upright RGB bytes.

    EXIF orientation is undone, grey becomes RGB, 16-bit grey is scaled from its full range, CMYK and palettes are
    converted, transparent pixels are blended with white, and the first of several frames is taken.

    Args:
        path: File to read.
        max_side: Larger images are downscaled to this longer side; None keeps the size.

    Returns:
        (3, H, W) bytes.

    Raises:
        DataError: If the file is missing, truncated or not an image, or has more than ``LARGEST_IMAGE`` pixels.
    """
    with _opened(path) as picture:
        size = fit_size((picture.height, picture.width), max_side)
        if size != (picture.height, picture.width):
            # JPEGs can be decoded at an eighth, a quarter or half of their size: several times faster for 24 megapixels
            picture.draft(None, (size[1], size[0]))
        turn = TURNS.get(_orientation(picture))
        upright = _rgb(picture, path)
        if upright.size != (size[1], size[0]):
            upright = upright.resize((size[1], size[0]), PillowImage.Resampling.BICUBIC, reducing_gap=3.0)
        if turn is not None:
            upright = upright.transpose(turn)
        # numpy uses one thread: synchronising torch's threads would take longer than the copy
        return torch.from_numpy(np.asarray(upright).transpose(2, 0, 1).copy())


def image_size(path: Path, max_side: int | None = None) -> tuple[int, int]:
    """Height and width of the result of ``read_image``, from the header alone.

    Args:
        path: File to read.
        max_side: As in ``read_image``.

    Raises:
        DataError: If the file is missing or not an image, or has more than ``LARGEST_IMAGE`` pixels.
    """
    with _opened(path) as picture:
        height, width = fit_size((picture.height, picture.width), max_side)
        return (width, height) if _orientation(picture) in range(5, 9) else (height, width)


def fit_size(size: tuple[int, int], max_side: int | None) -> tuple[int, int]:
    """Reduce a height and width, keeping their ratio, until neither exceeds ``max_side``.

    >>> fit_size((4000, 6000), 2048)
    (1365, 2048)
    """
    longer = max(size)
    if max_side is None or longer <= max_side:
        return size
    return max(1, round(size[0] * max_side / longer)), max(1, round(size[1] * max_side / longer))


def read_label_png(path: Path) -> LabelMap:
    """Read a label image whose values are class numbers: a palette or one-channel PNG of at most 8 bits.

    Returns:
        (H, W) uint8.

    Raises:
        DataError: If the file is missing, damaged or does not store one byte per pixel.
    """
    with _opened(path) as picture:
        if picture.mode not in ("P", "L"):
            kind, cure = MASK_CURES.get(picture.mode, ("mask of colours", "save the class numbers, not their colours"))
            raise DataError(
                f"'{path}' stores its labels as {picture.mode}, they must be one byte per pixel (palette or 8-bit "
                f"grey); {cure}",
                kind=kind,
            )
        # must be read before the pixels are decoded: Pillow then forgets how they were stored
        step = _grey_step(picture)
        return torch.from_numpy(np.array(picture, dtype=np.uint8) // step)


def _grey_step(picture: PillowImage.Image) -> int:
    """Factor by which Pillow scales 2 or 4 bit grey to a byte, which must be undone for class numbers."""
    tiles = getattr(picture, "tile", None)
    stored = tiles[0].args if tiles else None
    return {"L;2": 85, "L;4": 17}[stored] if stored in ("L;2", "L;4") else 1


def resize_labels(labels: LabelMap, size: tuple[int, int]) -> LabelMap:
    """Resize labels to a height and width by nearest neighbour."""
    if tuple(labels.shape) == size:
        return labels
    rows, columns = (
        ((torch.arange(new) + 0.5) * (old / new)).long().clamp_(max=old - 1)
        for new, old in zip(size, labels.shape, strict=True)
    )
    return labels[rows][:, columns]


class _LiftedLimit:
    """Lifts Pillow's own, process-wide limit, which is far below ``LARGEST_IMAGE``, while any thread reads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._readers = 0
        self._limit: int | None = None

    def __enter__(self) -> None:
        with self._lock:
            if not self._readers:
                self._limit, PillowImage.MAX_IMAGE_PIXELS = PillowImage.MAX_IMAGE_PIXELS, None
            self._readers += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._readers -= 1
            if not self._readers:
                PillowImage.MAX_IMAGE_PIXELS = self._limit


_LIFTED_LIMIT = _LiftedLimit()


@contextmanager
def _opened(path: Path) -> Iterator[PillowImage.Image]:
    """Open an image, and turn all of Pillow's errors about its content into one."""
    try:
        with _LIFTED_LIMIT, PillowImage.open(path) as picture:
            if picture.width * picture.height > LARGEST_IMAGE:
                raise DataError(
                    f"'{path}' has {picture.height} × {picture.width} pixels (rows × columns), an image may have "
                    f"{LARGEST_IMAGE}; shrink it, or leave it out"
                )
            yield picture
    except FileNotFoundError as error:
        raise DataError(f"'{path}' is missing; restore the file, or leave it out") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(
            f"'{path}' can't be decoded as an image ({error}); replace the file, or leave it out"
        ) from error


def _orientation(picture: PillowImage.Image) -> int:
    if picture.format == "TIFF":
        # Pillow rotates these itself: their size on opening, their pixels on decoding
        return 1
    # the method of the base class: that of PNG files decodes the whole image in search of a late entry
    return int(PillowImage.Image.getexif(picture).get(ORIENTATION, 1))


def _rgb(picture: PillowImage.Image, path: Path) -> PillowImage.Image:
    """Convert any Pillow mode to RGB."""
    if picture.mode.startswith("I"):
        return PillowImage.fromarray(_bytes_of_16_bits(picture, path)).convert("RGB")
    if picture.mode == "F":
        raise DataError(f"'{path}' stores floating point numbers of unknown range; save it with 8 or 16 bits")
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        return PillowImage.alpha_composite(PillowImage.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return picture.convert("RGB")


def _bytes_of_16_bits(picture: PillowImage.Image, path: Path) -> NDArray[np.uint8]:
    """Scale 16-bit grey to bytes; 65535 becomes 255."""
    values = np.array(picture).astype(np.int64)
    if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
        raise DataError(f"'{path}' stores numbers outside of 0 … 65535; save it with 8 or 16 bits")
    return ((values + 128) // 257).astype(np.uint8)
