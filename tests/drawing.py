"""Small label maps and images, drawn as the tests' readers see them."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor

from wsss.plotting import Picture
from wsss.types import IGNORE, Image


def picture(*rows: str) -> Tensor:
    """Draw a label map.

    Args:
        rows: One string a row, one character a pixel: ``0``-``9``, then ``a``-``z`` for 10-35; ``.`` is ``IGNORE``.

    Returns:
        uint8 labels, shape (rows, columns).
    """
    return torch.tensor(
        [[IGNORE if pixel == "." else int(pixel, 36) for pixel in row] for row in rows], dtype=torch.uint8
    )


def grey(height: int = 2, width: int = 2, value: int = 100) -> Image:
    return torch.full((3, height, width), value, dtype=torch.uint8)


def read(path: Path) -> Picture:
    return np.asarray(PillowImage.open(path).convert("RGB"))
