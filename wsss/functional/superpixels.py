"""Superpixels: small segments of uniform colour (SLIC, Achanta et al., TPAMI 2012)."""

from dataclasses import dataclass

import numpy as np
import torch

from wsss.errors import require
from wsss.types import Image, Segments


@dataclass(frozen=True, kw_only=True)
class SuperpixelSettings:
    """Superpixels (SLIC, Achanta et al., TPAMI 2012)."""

    count: int = 250
    """Approximate number of superpixels per image."""

    compactness: float = 20.0
    """Weight of spatial distance relative to colour distance: larger values give more regular segments."""

    smoothing: float = 0.5
    """Standard deviation in pixels of the Gaussian smoothing beforehand; at 0 noise merges segments."""

    iterations: int = 10
    """Iterations of k-means."""

    def __post_init__(self) -> None:
        # the region graph compares all pairs of segments
        require(1 <= self.count <= 10_000, "count", "must lie in [1, 10000]", self.count)
        require(self.compactness > 0, "compactness", "must be positive", self.compactness)
        require(self.smoothing >= 0, "smoothing", "must not be negative", self.smoothing)
        require(self.iterations >= 1, "iterations", "must be at least 1", self.iterations)


def slic_segments(image: Image, settings: SuperpixelSettings) -> Segments:
    """Divide an image into connected segments of similar colour.

    Args:
        image: RGB bytes, at least one pixel.
        settings: Number and shape of the segments.

    Returns:
        Segment of each pixel, numbered 0 … S-1 without gaps, int64. S is close to ``settings.count``, and at most the
        number of pixels.
    """
    # slow to import, and every command reads the settings above
    from skimage.color import rgb2lab
    from skimage.segmentation import slic

    pixels = image.permute(1, 2, 0).contiguous().cpu().numpy()
    height, width = pixels.shape[:2]
    if min(settings.count, height * width) == 1:
        return torch.zeros(height, width, dtype=torch.int64)
    colours = rgb2lab(pixels.astype(np.float32) / 255)
    # scikit-image rescales each image to its own range; undo this, as it would amplify noise in low-contrast images
    span = float(np.ptp(colours)) or 1.0
    segments = slic(
        colours,
        n_segments=min(settings.count, height * width),
        compactness=settings.compactness / span,
        max_num_iter=settings.iterations,
        sigma=settings.smoothing,
        convert2lab=False,
        start_label=0,
        channel_axis=-1,
    )
    _, numbers = np.unique(segments, return_inverse=True)
    return torch.from_numpy(numbers.reshape(height, width))
