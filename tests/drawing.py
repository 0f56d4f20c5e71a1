"""Small label maps, drawn as the tests' readers see them."""

import torch
from torch import Tensor

from wsss.types import IGNORE


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
