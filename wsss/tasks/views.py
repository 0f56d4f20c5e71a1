"""Views of the same images for test-time augmentation: rescaled and mirrored."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate


def views_of(
    images: Float[Tensor, "B 3 H W"], scales: Sequence[float], *, flip: bool
) -> list[tuple[Float[Tensor, "V 3 h w"], list[bool]]]:
    """Rescale images to several sizes, one batch per size.

    Args:
        images: RGB in [0, 1].
        scales: Scale factors.
        flip: Whether each batch also holds the mirrored images, after the others.

    Returns:
        For each scale the batch, channels-last, and for each of its parts of B images whether they are mirrored.
    """
    batches = []
    for scale in scales:
        size = [max(1, round(side * scale)) for side in images.shape[2:]]
        shown = images
        if tuple(size) != tuple(images.shape[2:]):
            shown = interpolate(images, size, mode="bilinear", align_corners=False, antialias=scale < 1)
        parts = [shown, shown.flip(-1)] if flip else [shown]
        batch = torch.cat(parts).contiguous(memory_format=torch.channels_last)
        batches.append((batch, [False, True][: len(parts)]))
    return batches


def quarter(images: Float[Tensor, "B C H W"]) -> tuple[int, int]:
    """Height and width at a quarter of the images' size, rounded up: the resolution at which scores are kept."""
    return -(-images.shape[2] // 4), -(-images.shape[3] // 4)
