"""Reading maps whose cells do not lie where a resize would take them to be.

A resize takes each cell of a coarse map to lie in the middle of the block of pixels that it stands for. The features of
a network with odd kernels and symmetric padding lie elsewhere: at stride 16, cell k is centred on pixel 16 k, almost
half a cell before the middle of its block.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Float64
from torch import Tensor


def read_between(
    maps: Float[Tensor, "B D h w"], size: Sequence[int], steps: Sequence[float], starts: Sequence[float]
) -> Float[Tensor, "B D height width"]:
    """Read maps at evenly spaced places, bilinearly; beyond the outermost cells they go on as they end.

    Both directions are products of matrices, so the backward pass adds up in the same order each time.

    Args:
        maps: Maps whose cell k lies at place k.
        size: Height and width of what is read.
        steps: Cells from one value read to the next, down and to the right.
        starts: Place of the first value.

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
    """Weights of the two cells that each place lies between."""
    places = (torch.arange(count, dtype=torch.float64) * step + start).clamp(0, cells - 1)
    return (1 - (places[:, None] - torch.arange(cells)).abs()).clamp(min=0)


def spread_over(
    maps: Float[Tensor, "B D h w"], size: Sequence[int], image: Sequence[int], *, stride: int, anchor: float
) -> Float[Tensor, "B D height width"]:
    """Resize a map of features to a map that covers the whole image, each value in the middle of its block.

    Args:
        maps: Features.
        size: Height and width of the result.
        image: Height and width of the image that the features were computed from.
        stride: Image pixels from one feature to the next.
        anchor: Where in its block a feature is centred; see ``Backbone.anchor``. With 0.5, and an image of a whole
            number of blocks, this is the usual resize (``align_corners=False``).

    Returns:
        Values in the dtype of the maps, channels last.
    """
    steps = [side / (stride * count) for side, count in zip(image, size, strict=True)]
    return read_between(maps, size, steps, [step / 2 - anchor for step in steps])
