"""Size constraint loss: penalty on classes that cover too little or too much (Kervadec et al., MedIA 2019)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from wsss.functional.losses import SumAndCount, at_least_single
from wsss.types import BACKGROUND


def size_loss(
    probabilities: Float[Tensor, "B K h w"],
    least: Float[Tensor, "B K"],
    most: Float[Tensor, "B K"],
    mask: Bool[Tensor, "B h w"],
) -> SumAndCount:
    """Compute the squared violation of the size bounds of each class.

    The size of a class is its mean probability over the pixels that count. The paper squares numbers of pixels and
    divides by the number of pixels; its weight of 1e-2 corresponds to 1e-2 times the number of pixels here.

    Args:
        probabilities: Of each pixel, summing to 1.
        least: Lower bound on the size of each class, in [0, 1]; 0 is no constraint.
        most: Upper bound on the size of each class, in [0, 1]; 1 is no constraint.
        mask: Pixels that count.

    Returns:
        Sum over the images and classes of the squared distance to the violated bound, and the number of images with a
        pixel that counts.
    """
    probabilities = at_least_single(probabilities)
    pixels = mask.flatten(1).sum(dim=1)
    shares = probabilities.where(mask[:, None], 0).flatten(2).sum(dim=2) / pixels.clamp(min=1)[:, None]
    misses = (least - shares).clamp(min=0).square() + (shares - most).clamp(min=0).square()
    counts = pixels > 0
    return misses.where(counts[:, None], 0).sum(), counts.sum().to(misses.dtype)


def bounds_of_tags(
    tags: Bool[Tensor, "B C"], known: Bool[Tensor, " B"], *, present: float, background: float = 0.0
) -> tuple[Float[Tensor, "B K"], Float[Tensor, "B K"]]:
    """Derive size bounds of the classes from image tags.

    Args:
        tags: Presence of the foreground classes.
        known: Whether the tags of an image are known; if not, its sizes are unconstrained.
        present: Lower bound on the size of a present class, in [0, 1]. It only holds for whole images: use 0 for views
            cropped from one, which need not show all of its classes.
        background: Lower bound on the size of the background, in [0, 1].

    Returns:
        Lower and upper bounds for :func:`size_loss`; the upper bound of an absent class is 0.
    """
    least = torch.zeros(len(tags), tags.shape[1] + 1, device=tags.device)
    most = torch.ones_like(least)
    least[:, BACKGROUND] = background
    least[:, BACKGROUND + 1 :] = tags * present
    most[:, BACKGROUND + 1 :] = tags.to(most)
    return least.where(known[:, None], 0), most.where(known[:, None], 1)
