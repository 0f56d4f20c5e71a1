"""Cutting things out of boxes by their colours (Rother et al., SIGGRAPH 2004; Khoreva et al., CVPR 2017)."""

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from wsss.types import Image


def cut_boxes(image: Image, boxes: Int64[Tensor, "N 5"]) -> UInt8[Tensor, "H W"]:
    """Label what lies inside of boxes.

    Args:
        image: RGB bytes.
        boxes: Label, top, left, bottom, right of each, half-open; later ones lie on top.

    Returns:
        Labels; ``BACKGROUND`` where no box's thing is.
    """
    labels = torch.zeros(image.shape[1:], dtype=torch.uint8)
    for label, top, left, bottom, right in boxes.tolist():
        labels[top:bottom, left:right] = label
    return labels
