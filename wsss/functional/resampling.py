"""Resampling of feature maps whose cell centres are not where a usual resize assumes them.

A resize assumes that each cell of a coarse map is centred on the block of pixels that it covers. The features of a
network with odd kernels and symmetric padding are not: at stride 16, cell k is centred on pixel 16 k, almost half a
cell before the middle of its block.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Float64
from torch import Tensor


def read_between(
    maps: Float[Tensor, "B D h w"], size: Sequence[int], steps: Sequence[float], starts: Sequence[float]
) -> Float[Tensor, "B D height width"]:
    """Sample maps bilinearly at evenly spaced positions, extending them with their border values.

    Both directions are matrix products, so the backward pass is deterministic.

    Args:
        maps: Maps whose cell k lies at position k.
        size: Height and width of the output.
        steps: Distance between samples in cells, down and to the right.
        starts: Position of the first sample in each direction.

    Returns:
        Values in the dtype of the maps, channels last.
    """
    batch, channels, rows, columns = maps.shape
    with torch.autocast(maps.device.type, enabled=False):
        down, across = (
            _hats(count, cells, step, start).to(maps)
            for count, cells, step, start in zip(size, (rows, columns), steps, starts, strict=True)
        )
        last = maps.permute(0, 2, 3, 1).reshape(batch, rows, columns * channels)
        lines = torch.bmm(down.expand(batch, -1, -1), last).view(batch * size[0], columns, channels)
        read = torch.bmm(across.expand(len(lines), -1, -1), lines)
    return read.view(batch, *size, channels).permute(0, 3, 1, 2)


def _hats(count: int, cells: int, step: float, start: float) -> Float64[Tensor, "{count} {cells}"]:
    """Bilinear weights of the two cells around each position."""
    places = (torch.arange(count, dtype=torch.float64) * step + start).clamp(0, cells - 1)
    return (1 - (places[:, None] - torch.arange(cells)).abs()).clamp(min=0)


def spread_over(
    maps: Float[Tensor, "B D h w"], size: Sequence[int], image: Sequence[int], *, stride: int, anchor: float
) -> Float[Tensor, "B D height width"]:
    """Resize a feature map to cover the whole image, with each value at the centre of its block.

    Args:
        maps: Features.
        size: Height and width of the result.
        image: Height and width of the image that the features were computed from.
        stride: Image pixels from one feature to the next.
        anchor: Position of a feature's centre in its block; see ``Backbone.anchor``. With 0.5, and an image of a whole
            number of blocks, this is the usual resize (``align_corners=False``).

    Returns:
        Values in the dtype of the maps, channels last.
    """
    steps = [side / (stride * count) for side, count in zip(image, size, strict=True)]
    return read_between(maps, size, steps, [step / 2 - anchor for step in steps])
