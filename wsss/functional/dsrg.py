"""Deep seeded region growing: seeds that grow during training (Huang et al., CVPR 2018)."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor
from torch.nn.functional import interpolate

from wsss.errors import require
from wsss.functional.dense_crf import CrfSettings, dense_crf
from wsss.functional.region_growing import grow_regions
from wsss.types import BACKGROUND

Crop = tuple[np.ndarray, np.ndarray]
"""Input of the CRF for one image: RGB bytes (3, h, w), and the scores (k, h, w) of all labels."""

Spread = Callable[[Callable[[Crop], np.ndarray], Sequence[Crop]], Iterable[np.ndarray]]
"""Applies a picklable function to each crop, in order: ``map``, or that of a pool of workers."""


@dataclass(frozen=True, kw_only=True)
class DsrgSettings:
    """Deep seeded region growing, used with segmenter.supervision=dsrg (Huang et al., CVPR 2018)."""

    stride: int = 8
    """Stride in image pixels of the grid on which seeds grow."""
    foreground_threshold: float = 0.85
    """Score after the CRF above which a cell of a present class is confident."""
    background_threshold: float = 0.99
    """Score after the CRF above which a background cell is confident."""
    constrain_weight: float = 1.0
    """Weight of the constrain-to-boundary loss relative to the seed loss."""
    crf: CrfSettings = field(
        default_factory=lambda: CrfSettings(
            unary="linear", gaussian_sxy=3 / 12, bilateral_sxy=80 / 12, bilateral_srgb=13.0, reference_side=None
        )
    )
    """The CRF used during training; its spatial widths are in grid cells unless a reference side is set."""

    def __post_init__(self) -> None:
        require(1 <= self.stride <= 32, "stride", "must lie in [1, 32]", self.stride)
        for name in ("foreground_threshold", "background_threshold"):
            require(0 <= getattr(self, name) <= 1, name, "must lie in [0, 1]", getattr(self, name))
        weight = self.constrain_weight
        require(weight >= 0, "constrain_weight", "must not be negative", weight)


def grow_online(
    probabilities: Float[Tensor, "B K h w"],
    seeds: Integer[Tensor, "B h w"],
    images: Float[Tensor, "B 3 H W"],
    possible: Bool[Tensor, "B K"],
    settings: DsrgSettings,
    *,
    inside: Bool[Tensor, "B h w"] | None = None,
    spread: Spread = map,
) -> tuple[Float[Tensor, "B K h w"], Integer[Tensor, "B h w"]]:
    """Refine a network's probabilities with the dense CRF, and grow seeds into the confident cells.

    Args:
        probabilities: The network's output on a coarse grid; no gradient flows back.
        seeds: The original seeds (not previously grown ones) on the same grid, ``IGNORE`` where unlabelled.
        images: RGB in [0, 1]; averaged over each cell of the grid.
        possible: Labels that the tags of each image allow; seeds grow into no others.
        settings: Thresholds and CRF.
        inside: Cells that show a part of the image; seeds do not grow into or through the others. None: all cells do.
        spread: Function that maps the CRF over the images.

    Returns:
        The result of ``refine_online``, and the grown seeds.
    """
    refined = refine_online(probabilities, images, possible, settings, spread=spread)
    grown = grow_regions(
        refined if inside is None else refined.where(inside[:, None], 0),
        seeds,
        possible[:, 1:].cpu(),
        foreground_threshold=settings.foreground_threshold,
        background_threshold=settings.background_threshold,
    )
    return refined, grown


def refine_online(
    probabilities: Float[Tensor, "B K h w"],
    images: Float[Tensor, "B 3 H W"],
    possible: Bool[Tensor, "B K"],
    settings: DsrgSettings,
    *,
    spread: Spread = map,
) -> Float[Tensor, "B K h w"]:
    """Refine a network's probabilities with the dense CRF.

    The CRF considers all labels, also those that the tags rule out: restricted to the few possible labels, even an
    untrained network would be confident in one of them.

    Args:
        probabilities: The network's output on a coarse grid; no gradient flows back.
        images: RGB in [0, 1]; averaged over each cell of the grid.
        possible: Labels that the tags of each image allow.
        settings: The CRF.
        spread: Function that maps the CRF over the images.

    Returns:
        Probabilities that sum to 1; zero for the background if no image allows it, and for all labels of an image that
        allows none.
    """
    pictures = interpolate(images.float(), probabilities.shape[2:], mode="area").mul(255).round().byte().cpu().numpy()
    scores, marks = probabilities.detach().float().cpu(), possible.cpu()
    seen = marks.any(dim=1).nonzero().flatten().tolist()
    first = int(not marks[:, BACKGROUND].any())
    crops = [(pictures[place], scores[place, first:].numpy()) for place in seen]
    refined = torch.zeros_like(scores)
    for place, found in zip(seen, spread(partial(_refine_crop, settings.crf), crops), strict=True):
        refined[place, first:] = torch.from_numpy(found)
    return refined.to(probabilities.device)


def _refine_crop(settings: CrfSettings, crop: Crop) -> np.ndarray:
    """Refine the scores of one image; NumPy arrays are cheaper to send between processes than tensors."""
    image, scores = crop
    refined = dense_crf(torch.from_numpy(image), torch.from_numpy(scores), settings, labels=range(len(scores)))
    return refined.numpy()
