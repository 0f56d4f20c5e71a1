"""Dense CRF loss: pixels of similar colour should agree (Tang et al., ECCV 2018, "On Regularized Losses")."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import interpolate

from wsss.errors import require
from wsss.functional.losses import SumAndCount, at_least_single
from wsss.functional.quadratic_form import LEAST_EXPONENT, quadratic_form

_ROWS = 64
"""Points whose kernels are computed at a time: 1 MB on a grid of 64 × 64, which fits into the cache."""


@dataclass(frozen=True, kw_only=True)
class CrfLossSettings:
    """Dense CRF loss; the kernel widths are the paper's for VOC."""

    xy: float = 100.0
    """Width of the kernel in space, in pixels of the image."""

    rgb: float = 15.0
    """Width of the kernel in colour, in steps of 255."""

    side: int = 64
    """Points on the longer side of the grid on which pixels are compared; run time grows with its fourth power."""

    def __post_init__(self) -> None:
        # narrower kernels would need distances in double precision
        require(self.xy >= 1, "xy", "must be at least 1", self.xy)
        require(self.rgb >= 1, "rgb", "must be at least 1", self.rgb)
        require(self.side >= 1, "side", "must be at least 1", self.side)


def crf_loss(
    probabilities: Float[Tensor, "B K h w"],
    images: Float[Tensor, "B 3 H W"],
    mask: Bool[Tensor, "B h w"],
    settings: CrfLossSettings,
) -> SumAndCount:
    """Compute the dense CRF loss: disagreement between all pairs of pixels of similar colour and position.

    The loss of an image is Σₖ sₖᵀW(1 - sₖ) / 1ᵀW1 over all pairs of points, pairs of a point with itself included, with
    the kernel Wᵢⱼ = exp(-|xᵢ - xⱼ|² / 2xy² - |cᵢ - cⱼ|² / 2rgb²): the probability that two points drawn in proportion
    to W have different labels. The paper does not divide by 1ᵀW1, which grows with the square of the number of pixels:
    its weight of 2e-9 on views of 513 pixels corresponds to 0.3 to 0.4 here.

    The kernel is exact, the grid is an approximation: colours and probabilities are averaged over the unmasked pixels
    of each grid cell, and a cell is weighted by its number of unmasked pixels. The paper halves the image's resolution
    and approximates W on a lattice.

    Args:
        probabilities: Of each pixel, summing to 1.
        images: RGB in [0, 1]; averaged over each cell of the probabilities.
        mask: Pixels that count.
        settings: Widths of the kernel and the grid.

    Returns:
        Sum over the images of a value in [0, 1], and the number of images with a pixel that counts.
    """
    probabilities = at_least_single(probabilities)
    if not len(probabilities):
        return probabilities.sum(), probabilities.new_zeros(())
    height, width = probabilities.shape[2:]
    grid = _grid(height, width, settings.side)
    weights = mask[:, None].to(probabilities.dtype)
    cells = interpolate(weights, grid, mode="area")
    shares = interpolate(probabilities.where(mask[:, None], 0), grid, mode="area")
    with torch.no_grad(), torch.autocast(shares.device.type, enabled=False):
        features = _features(images.to(weights.dtype), weights, cells, settings)
        values = torch.cat([shares, cells], dim=1).flatten(2)
        pairs = zip(features, values, strict=True)
        filtered = torch.stack([_filter(*pair) for pair in pairs]).view(len(values), -1, *grid)
    total = (cells * filtered[:, -1:]).flatten(1).sum(dim=1)
    each = (total - quadratic_form(shares, filtered[:, :-1])) / total.clamp(min=torch.finfo(total.dtype).tiny)
    return each.sum(), mask.flatten(1).any(dim=1).sum().to(each.dtype)


def _grid(height: int, width: int, side: int) -> tuple[int, int]:
    """Scale a size down until its longer side is at most ``side``."""
    longer = max(height, width)
    if longer <= side:
        return height, width
    return max(1, round(height * side / longer)), max(1, round(width * side / longer))


def _features(
    images: Float[Tensor, "B 3 H W"],
    weights: Float[Tensor, "B 1 h w"],
    cells: Float[Tensor, "B 1 g r"],
    settings: CrfLossSettings,
) -> Float[Tensor, "B 5 N"]:
    """Return the position and the mean colour of each cell's unmasked pixels, in units of the kernel widths."""
    (height, width), (rows, columns) = images.shape[2:], cells.shape[2:]
    coloured = interpolate(images, weights.shape[2:], mode="area") * weights
    colours = interpolate(coloured, (rows, columns), mode="area") / cells.clamp(min=torch.finfo(cells.dtype).tiny)
    down = torch.arange(rows, device=cells.device) - (rows - 1) / 2
    right = torch.arange(columns, device=cells.device) - (columns - 1) / 2
    places = torch.stack(torch.meshgrid(down * (height / rows), right * (width / columns), indexing="ij"))
    # centred at 0, so that their squares stay small
    colours = (colours - 0.5) * (255 / settings.rgb)
    return torch.cat([(places / settings.xy).to(colours).expand(len(images), -1, -1, -1), colours], dim=1).flatten(2)


def _filter(features: Float[Tensor, "D N"], values: Float[Tensor, "C N"]) -> Float[Tensor, "C N"]:
    """Filter the values with the kernel exp(-|fᵢ - fⱼ|² / 2)."""
    # |fᵢ - fⱼ|² as one matrix product, so that the exponential is the only other pass over the pairs
    halves, ones = features.square().sum(dim=0, keepdim=True) / -2, torch.ones_like(features[:1])
    # points in rows for the left factor, which makes the products twice as fast
    here, there = torch.cat([features, halves, ones]).T.contiguous(), torch.cat([features, ones, halves])
    rows = values.T.contiguous()
    sums = [(part @ there).clamp_(min=LEAST_EXPONENT).exp_() @ rows for part in torch.split(here, _ROWS)]
    return torch.cat(sums).T
