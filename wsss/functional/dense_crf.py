"""Fully connected CRF with Gaussian edge potentials (Krähenbühl and Koltun, NeurIPS 2011)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from wsss.errors import one_of, require

UNARIES = ("scores", "linear", "labels")
"""Unary potentials: negative log scores, negative scores, or a fixed confidence in the best label."""

_SMALLEST_SCORE = 1e-4
"""Lower bound of the scores: a score of zero would have an infinite energy."""


@dataclass(frozen=True, kw_only=True)
class CrfSettings:
    """Dense CRF; the defaults are those of IRN (Ahn et al., CVPR 2019)."""

    iterations: int = 10
    """Mean-field iterations."""

    unary: str = "scores"
    """Unary potential: ``scores`` (-log of the scores), ``linear`` (-scores) or ``labels`` (the best label only)."""

    label_confidence: float = 0.7
    """Probability of the best label in the unary potential ``labels``."""

    gaussian_sxy: float = 3.0
    """Spatial width of the smoothness kernel, in pixels of an image of the reference side."""

    gaussian_compat: float = 3.0
    """Weight of the smoothness kernel; 0 turns it off."""

    bilateral_sxy: float = 50.0
    """Spatial width of the appearance kernel, in pixels of an image of the reference side."""

    bilateral_srgb: float = 5.0
    """Colour width of the appearance kernel, in grey levels of 0 to 255."""

    bilateral_compat: float = 10.0
    """Weight of the appearance kernel; 0 turns it off."""

    reference_side: int | None = 500
    """Longer image side in pixels for which the spatial widths are given; they scale with it; None: no scaling."""

    def __post_init__(self) -> None:
        require(self.iterations >= 1, "iterations", "must be at least 1", self.iterations)
        one_of("unary", self.unary, UNARIES)
        require(0.5 <= self.label_confidence < 1, "label_confidence", "must lie in [0.5, 1)", self.label_confidence)
        for field in ("gaussian_sxy", "bilateral_sxy", "bilateral_srgb"):
            # the lattice indexes its cells with 16 bits
            require(getattr(self, field) >= 0.1, field, "must be at least 0.1", getattr(self, field))
        for field in ("gaussian_compat", "bilateral_compat"):
            require(getattr(self, field) >= 0, field, "must not be negative", getattr(self, field))
        side = self.reference_side
        require(side is None or side >= 1, "reference_side", "must be at least 1 or null", side)


def dense_crf(
    image: UInt8[Tensor, "3 H W"],
    scores: Float[Tensor, "K height width"],
    settings: CrfSettings,
    *,
    labels: Sequence[int],
) -> Float[Tensor, "K height width"]:
    """Refine scores by mean-field inference in a fully connected CRF.

    Args:
        image: RGB bytes.
        scores: Values >= 0 at the resolution of the image; only those of possible labels are used.
        settings: Widths and weights of the kernels.
        labels: The possible labels, as channels of the scores; see :func:`wsss.types.possible_labels`.

    Returns:
        Marginals in float32 on the CPU that sum to 1, zero for impossible labels. A single possible label gets
        probability 1 everywhere, without a CRF; without a possible label everything is zero.

    Raises:
        ValueError: If image and scores differ in size, a label is not a channel, or a score is not a finite number.
    """
    _check(image, scores, labels)
    marginals = torch.zeros(scores.shape)
    if len(labels) < 2:
        marginals[list(labels)] = 1
        return marginals
    rgb = image.permute(1, 2, 0).contiguous().cpu().numpy()
    marginals[list(labels)] = torch.from_numpy(_infer(rgb, _unary(scores, labels, settings), settings))
    return marginals


def _check(image: Tensor, scores: Tensor, labels: Sequence[int]) -> None:
    if image.shape[1:] != scores.shape[1:]:
        raise ValueError(f"scores must be of the image's size {tuple(image.shape[1:])}, got {tuple(scores.shape[1:])}")
    if len(set(labels)) < len(labels) or not set(labels) <= set(range(len(scores))):
        raise ValueError(f"labels must be different channels in 0 … {len(scores) - 1}, got {list(labels)}")


def _unary(scores: Tensor, labels: Sequence[int], settings: CrfSettings) -> np.ndarray:
    """Return the unary energies of the possible labels, shape (labels, pixels), float32."""
    possible = scores.detach().cpu()[list(labels)].float().flatten(1)
    if not possible.isfinite().all():
        raise ValueError("scores must be finite, got NaN or infinity")
    if settings.unary == "labels":
        beliefs = torch.full_like(possible, (1 - settings.label_confidence) / (len(labels) - 1))
        beliefs.scatter_(0, possible.max(dim=0, keepdim=True).indices, settings.label_confidence)
    else:
        total = possible.sum(dim=0).clamp(min=torch.finfo(torch.float32).tiny)
        beliefs = (possible / total).clamp(min=_SMALLEST_SCORE)
        if settings.unary == "linear":
            return np.ascontiguousarray(-beliefs.numpy())
    return np.ascontiguousarray(-beliefs.log().numpy())


def _infer(rgb: np.ndarray, unary: np.ndarray, settings: CrfSettings) -> np.ndarray:
    """Run the mean field on (H, W, 3) bytes and (labels, pixels) energies; return (labels, H, W) marginals."""
    from pydensecrf.densecrf import DenseCRF2D  # slow to import; only processes that run a CRF need it

    height, width = rgb.shape[:2]
    scale = max(height, width) / settings.reference_side if settings.reference_side else 1
    crf = DenseCRF2D(width, height, len(unary))
    crf.setUnaryEnergy(unary)
    if settings.gaussian_compat:
        crf.addPairwiseGaussian(sxy=settings.gaussian_sxy * scale, compat=settings.gaussian_compat)
    if settings.bilateral_compat:
        crf.addPairwiseBilateral(
            sxy=settings.bilateral_sxy * scale,
            srgb=settings.bilateral_srgb,
            rgbim=rgb,
            compat=settings.bilateral_compat,
        )
    return np.array(crf.inference(settings.iterations), dtype=np.float32).reshape(len(unary), height, width)
