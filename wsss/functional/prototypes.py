"""Image-specific prototypes: every region is compared with the seeded regions of its own image.

What a class looks like in this picture is told better by the regions that are sure here than by a network that has
seen the class elsewhere (Chen et al., CVPR 2022, compare pixels like that).
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
    """Share each region out among the labels by its cosine to their prototypes.

    A prototype is the mean feature of the regions that carry the label, each counted by its area. The mean over the
    image is taken off all features first, or the light and the lens that all regions share would outweigh the rest.

    Args:
        features: One row a region.
        targets: Labels of the seeded regions, ``IGNORE`` elsewhere. A label that is not possible does not count.
        areas: Size of each region, in any unit.
        labels: The possible labels.
        classes: Number K of labels, background included.
        temperature: By which cosines are divided before the softmax; the lower, the surer.

    Returns:
        Probabilities, 0 for impossible labels; all rows sum to 1, or to 0 if no label is possible. A label that no
        region carries stands at a cosine of 0, as one that is unrelated to every region.

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
