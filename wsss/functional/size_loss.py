"""Loss of classes that take up too little or too much of an image (Kervadec et al., MedIA 2019)."""

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
    """Judge how far the size of each class lies outside its bounds.

    A size is the mean probability of a class over the pixels that count. The paper squares numbers of pixels and
    divides by their number; its weight of 1e-2 is 1e-2 times the number of pixels here.

    Args:
        probabilities: Of each pixel, summing to 1.
        least: Smallest share of the pixels that is right, in [0, 1]; 0 asks for nothing.
        most: Greatest share of the pixels that is right, in [0, 1]; 1 asks for nothing.
        mask: Pixels that count.

    Returns:
        Sum over the images and classes of the squared distance to the nearer bound, and the number of images with a
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
    """Bound the sizes of classes by what the tags of the images say.

    Args:
        tags: Presence of the foreground classes.
        known: Whether anybody gave the tags of an image; if not, nothing is bounded.
        present: Smallest share of the pixels that a present class has, in [0, 1]. It belongs to whole images: a view
            that is cut out of one need not hold all of its classes and takes 0.
        background: Smallest share that the background has, in [0, 1].

    Returns:
        The least and the most of each class for :func:`size_loss`: a present one has at least its share, an absent one
        nothing.
    """
    least = torch.zeros(len(tags), tags.shape[1] + 1, device=tags.device)
    most = torch.ones_like(least)
    least[:, BACKGROUND] = background
    least[:, BACKGROUND + 1 :] = tags * present
    most[:, BACKGROUND + 1 :] = tags.to(most)
    return least.where(known[:, None], 0), most.where(known[:, None], 1)
