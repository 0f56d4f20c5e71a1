"""Tree energy loss (Liang et al., CVPR 2022)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import interpolate

from wsss.functional.losses import SumAndCount
from wsss.functional.tree_filter import tree_filter


def tree_energy_loss(
    probabilities: Float[Tensor, "B K h w"],
    unlabelled: Bool[Tensor, "B h w"],
    images: Float[Tensor, "B 3 H W"],
    features: Float[Tensor, "B C height width"] | None = None,
    *,
    sigma: float = 0.02,
    fixed_target: bool = False,
    inside: Bool[Tensor, "B h w"] | None = None,
) -> SumAndCount:
    """Compute the difference between predictions at unlabelled pixels and their affinity-filtered predictions.

    The target is the prediction itself, filtered along the minimum spanning tree of the colours and then along that of
    the features.

    Args:
        probabilities: Predicted probabilities, summing to 1.
        unlabelled: Pixels that count.
        images: RGB in [0, 1], of any size.
        features: Features of the network, of any size; None: colours only. Gradients flow into them unless they are
            detached.
        sigma: Squared colour distance at which the weight of a pixel has fallen to 1/e; that of features is 1.
        fixed_target: Whether the target is a constant, which takes about half the time. In the authors' code gradients
            flow through it.
        inside: Pixels that contribute to targets; None means all. Padding around the image should be excluded.

    Returns:
        Sum over the pixels of the absolute differences of all labels, and the number of pixels that count.

    Raises:
        ValueError: If sigma is not positive, or the predictions have too many pixels for a tree.
    """
    target = probabilities.detach() if fixed_target else probabilities
    with torch.set_grad_enabled(torch.is_grad_enabled() and not fixed_target):
        target = _filtered(target, _resized(images, probabilities), sigma, inside)
        if features is not None:
            target = _filtered(target, _resized(features, probabilities), 1.0, inside)
    each = (probabilities - target).abs().sum(dim=1)
    return each.where(unlabelled, 0).sum(), unlabelled.sum().to(each.dtype)


def _filtered(values: Tensor, features: Tensor, sigma: float, inside: Tensor | None) -> Tensor:
    """Apply the tree filter, with contributions from the pixels inside only."""
    if inside is None or bool(inside.all()):
        return tree_filter(values, features, sigma=sigma)
    heard = inside[:, None].to(values.dtype)
    sums = tree_filter(torch.cat([values * heard, heard], dim=1), features, sigma=sigma)
    return sums[:, :-1] / sums[:, -1:].clamp(min=torch.finfo(sums.dtype).tiny)


def _resized(features: Tensor, like: Tensor) -> Tensor:
    size = like.shape[2:]
    if features.shape[2:] == size:
        return features
    return interpolate(features.float(), size, mode="bilinear", align_corners=False)
