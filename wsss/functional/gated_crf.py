"""Gated CRF loss: neighbouring pixels of similar colour should agree (Obukhov et al., 2019, "Gated CRF Loss")."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import interpolate

from wsss.errors import require
from wsss.functional.losses import SumAndCount, at_least_single
from wsss.functional.quadratic_form import LEAST_EXPONENT, quadratic_form

Window = tuple[slice, slice]


@dataclass(frozen=True, kw_only=True)
class GatedCrfSettings:
    """Gated CRF loss; the defaults are the paper's for VOC, where the loss has a weight of 0.1."""

    xy: float = 6.0
    """Spatial width of the kernel, in cells of the network's output."""

    rgb: float = 0.1
    """Colour width of the kernel, for colours in [0, 1]. The number in the paper; its code first divides colours by
    ImageNet's standard deviations, so that it corresponds to 0.0225 here."""

    radius: int = 5
    """Radius of the neighbourhood (Chebyshev distance), in cells of the network's output."""

    def __post_init__(self) -> None:
        require(self.xy > 0, "xy", "must be greater than 0", self.xy)
        require(self.rgb > 0, "rgb", "must be greater than 0", self.rgb)
        require(self.radius >= 1, "radius", "must be at least 1", self.radius)


def gated_crf_loss(
    probabilities: Float[Tensor, "B K h w"],
    images: Float[Tensor, "B 3 H W"],
    sources: Bool[Tensor, "B h w"],
    learners: Bool[Tensor, "B h w"],
    settings: GatedCrfSettings,
) -> SumAndCount:
    """Compute the gated CRF loss: disagreement between neighbouring pixels of similar colour.

    The loss of a destination pixel i is the sum of Wᵢⱼ (1 - pᵢ·pⱼ) over the source pixels j ≠ i in the square window
    around it: the kernel Wᵢⱼ = exp(-|xᵢ - xⱼ|² / 2xy² - |cᵢ - cⱼ|² / 2rgb²) times the probability that labels drawn at
    i and j differ. As in the paper, gradients flow to both pixels of a pair. Positions outside of the map are no
    sources.

    Args:
        probabilities: Of each pixel, summing to 1.
        images: RGB in [0, 1]; averaged over each cell of the probabilities.
        sources: Source gate: pixels that may influence others; closed for padding outside of the image.
        learners: Destination gate: pixels whose loss is summed, for example those without a label.
        settings: Widths and radius of the kernel.

    Returns:
        Sum over the destination pixels, and their number.
    """
    probabilities = at_least_single(probabilities)
    colours = interpolate(images.to(probabilities.dtype), probabilities.shape[2:], mode="area") / settings.rgb
    with torch.no_grad():
        pulls, kernels = _pull(probabilities, colours, sources.to(colours), learners.to(colours), settings)
    each = kernels - quadratic_form(probabilities, pulls) / 2
    return each.sum(), learners.sum().to(each.dtype)


def _pull(
    probabilities: Float[Tensor, "B K h w"],
    colours: Float[Tensor, "B 3 h w"],
    sources: Float[Tensor, "B h w"],
    learners: Float[Tensor, "B h w"],
    settings: GatedCrfSettings,
) -> tuple[Float[Tensor, "B K h w"], Float[Tensor, " B"]]:
    """Sum the kernel-weighted probabilities around each pixel, and the kernels of all pairs of an image."""
    pulls, total = torch.zeros_like(probabilities), probabilities.new_zeros(len(probabilities))
    height, width = colours.shape[2:]
    for here, there, distance in _shifts(height, width, settings.radius):
        kernel = (colours[:, :, *here] - colours[:, :, *there]).square().sum(dim=1)
        kernel.add_(distance / settings.xy**2).mul_(-0.5).clamp_(min=LEAST_EXPONENT).exp_()
        kernel *= learners[:, *here] * sources[:, *there] + sources[:, *here] * learners[:, *there]
        total += kernel.flatten(1).sum(dim=1)
        pulls[:, :, *here].addcmul_(kernel[:, None], probabilities[:, :, *there])
        pulls[:, :, *there].addcmul_(kernel[:, None], probabilities[:, :, *here])
    return pulls, total


def _shifts(height: int, width: int, radius: int) -> Iterator[tuple[Window, Window, int]]:
    """Yield the two windows of all pixel pairs of each shift, and its squared length; each pair occurs once."""
    for down in range(min(radius, height - 1) + 1):
        reach = min(radius, width - 1)
        for right in range(-reach if down else 1, reach + 1):
            left, over = max(0, -right), max(0, right)
            here = slice(0, height - down), slice(left, width - over)
            there = slice(down, height), slice(over, width - left)
            yield here, there, down**2 + right**2
