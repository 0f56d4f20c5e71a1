"""Image-specific prototypes: each region is compared with the seeded regions of its own image.

The confident regions of an image show better what a class looks like there than a network that has learnt the class
from other images (Chen et al., CVPR 2022, compare pixels in this way).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torch.nn import functional


def prototype_scores(
    features: Float[Tensor, "N D"],
    targets: Integer[Tensor, " N"],
    areas: Float[Tensor, " N"],
    *,
    labels: Sequence[int],
    classes: int,
    temperature: float,
) -> Float[Tensor, "N K"]:
    """Compute class probabilities of each region from its cosine similarity to class prototypes.

    A prototype is the area-weighted mean feature of the regions that carry the label. The mean feature of the image is
    subtracted first, since otherwise lighting and other properties shared by all regions would dominate.

    Args:
        features: One row per region.
        targets: Labels of the seeded regions, ``IGNORE`` elsewhere. A label that is not possible does not count.
        areas: Size of each region, in any unit.
        labels: The possible labels.
        classes: Number K of labels, background included.
        temperature: Divisor of the cosines before the softmax; lower values give more confident scores.

    Returns:
        Probabilities, 0 for impossible labels; all rows sum to 1, or to 0 if no label is possible. A possible label
        that no region carries gets a cosine of 0, like one that is unrelated to every region.

    Raises:
        ValueError: If the temperature is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    scores = torch.zeros(len(features), classes, device=features.device)
    if not labels:
        return scores
    areas = areas[:, None]
    centred = functional.normalize(features - (features * areas).sum(dim=0) / areas.sum(), dim=1)
    carried = targets[:, None] == torch.tensor(labels, device=targets.device)
    prototypes = functional.normalize((carried * areas).T @ centred, dim=1)
    scores[:, list(labels)] = (centred @ prototypes.T / temperature).softmax(dim=1)
    return scores
