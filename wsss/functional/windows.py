"""Sliding windows over images that are too large to be processed whole, and their seamless merging."""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor


def window_starts(length: int, window: int, overlap: int) -> list[int]:
    """Return where windows begin along one side.

    Args:
        length: Pixels of the side.
        window: Pixels of a window.
        overlap: Minimum overlap of neighbouring windows in pixels, in [0, ``window``).

    Returns:
        Starts in ascending order; the first is 0, the last window ends with the side. One start if the side fits into a
        window.

    Raises:
        ValueError: If the overlap is not smaller than the window.
    """
    if not 0 <= overlap < window:
        raise ValueError(f"overlap must lie in [0, {window}), got {overlap}")
    if length <= window:
        return [0]
    return [*range(0, length - window, window - overlap), length - window]


def merge_windows(
    look: Callable[[Tensor], Float[Tensor, "1 K h w"]],
    images: Float[Tensor, "1 3 H W"],
    *,
    window: int,
    overlap: int,
    stride: int,
) -> Float[Tensor, "K small_h small_w"]:
    """Apply a function to overlapping windows of an image and average the results.

    The weight falls off linearly from the middle of a window to its edges, so that no seams are visible.

    Args:
        look: Maps a window to scores at a ``stride``-th of its size.
        images: One image, whose sides are multiples of ``stride``.
        window: Longest side of a window in pixels, a multiple of ``stride``.
        overlap: Minimum overlap of neighbouring windows in pixels.
        stride: Pixels from one score to the next.

    Returns:
        Scores at a ``stride``-th of the image's size.
    """
    height, width = images.shape[2] // stride, images.shape[3] // stride
    merged, weight = torch.zeros(()), torch.zeros(height, width)
    for top, left in _corners((height, width), window // stride, -(-overlap // stride)):
        rows, columns = (slice(start, start + window // stride) for start in (top, left))
        shown = images[:, :, rows.start * stride : rows.stop * stride, columns.start * stride : columns.stop * stride]
        seen = look(shown)[0].float().cpu()
        taper = _taper(seen.shape[1])[:, None] * _taper(seen.shape[2])
        if not merged.ndim:
            merged = torch.zeros(len(seen), height, width)
        merged[:, rows, columns] += seen * taper
        weight[rows, columns] += taper
    return merged / weight


def _corners(size: tuple[int, int], window: int, overlap: int) -> Iterator[tuple[int, int]]:
    for top in window_starts(size[0], window, overlap):
        for left in window_starts(size[1], window, overlap):
            yield top, left


def _taper(length: int) -> Float[Tensor, " length"]:
    """Weights that rise from the edges to the middle, nowhere 0."""
    place = torch.arange(length)
    return (torch.minimum(place, length - 1 - place) + 1).float()
