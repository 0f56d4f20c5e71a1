"""Training losses as a sum and what it is to be divided by.

Each returns (sum, count), so that several devices can add up both before they divide: the number of devices then does
not change the loss. Where nothing counts the sum is 0 with gradient 0; divide by ``count.clamp(min=tiny)``.
"""

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor
from torch.nn import functional

from wsss.types import IGNORE

SumAndCount = tuple[Float[Tensor, ""], Float[Tensor, ""]]


def tag_loss(logits: Float[Tensor, "B C"], tags: Bool[Tensor, "B C"], known: Bool[Tensor, " B"]) -> SumAndCount:
    """Judge which classes are said to be present (multi-label soft margin loss).

    Args:
        logits: One for each image and foreground class.
        tags: Presence of the classes.
        known: Whether anybody gave the tags of an image; if not, it does not count.

    Returns:
        Sum over the images of the mean over the classes, and the number of images that count.
    """
    each = functional.binary_cross_entropy_with_logits(logits.float(), tags.float(), reduction="none").mean(dim=1)
    return each.where(known, 0).sum(), known.sum().float()


def pixel_cross_entropy(
    logits: Float[Tensor, "B K h w"],
    labels: Integer[Tensor, "B h w"],
    weights: Float[Tensor, "B h w"] | None = None,
) -> SumAndCount:
    """Judge the label of each pixel.

    Args:
        logits: Of labels 0 … K-1.
        labels: Pixels that are ``IGNORE`` do not count.
        weights: How much each pixel counts, at least 0; None counts all alike.

    Returns:
        Weighted sum over the pixels, and the sum of the weights.
    """
    each = functional.cross_entropy(logits.float(), labels.long(), ignore_index=IGNORE, reduction="none")
    weights = torch.ones_like(each) if weights is None else weights.float()
    weights = weights.where(labels != IGNORE, 0)
    return (each * weights).sum(), weights.sum()


def possible_softmax(logits: Float[Tensor, "N K"], possible: Bool[Tensor, "N K"]) -> Float[Tensor, "N K"]:
    """Share the probability among the labels that are possible.

    Args:
        logits: One for each node and label.
        possible: Labels that the tags of the node's image allow.

    Returns:
        Probabilities, 0 for an impossible label; uniform where no label is possible.
    """
    return _possible_logits(logits, possible).softmax(dim=1)


def node_cross_entropy(
    logits: Float[Tensor, "N K"],
    targets: Integer[Tensor, " N"],
    possible: Bool[Tensor, "N K"],
    class_weights: Float[Tensor, " K"] | None = None,
) -> SumAndCount:
    """Judge the label of each region among those that are possible.

    Args:
        logits: Of labels 0 … K-1.
        targets: Label of each region. ``IGNORE``, or a label that is not possible, does not count.
        possible: Labels that the tags of the region's image allow.
        class_weights: How much a region of each label counts; None counts all alike.

    Returns:
        Weighted sum over the regions, and the sum of the weights.
    """
    targets = targets.long()
    labels = targets.where(targets != IGNORE, 0)[:, None]
    counts = (targets != IGNORE) & possible.gather(1, labels)[:, 0]
    each = -_possible_logits(logits, possible).log_softmax(dim=1).gather(1, labels)[:, 0]
    weights = torch.ones_like(each) if class_weights is None else class_weights.float()[labels[:, 0]]
    weights = weights.where(counts, 0)
    return (each.where(counts, 0) * weights).sum(), weights.sum()


def entropy_loss(probabilities: Float[Tensor, "N K"]) -> SumAndCount:
    """Judge how undecided the regions are (Grandvalet and Bengio, NeurIPS 2004).

    Args:
        probabilities: Of each region, summing to 1.

    Returns:
        Sum of the entropies in nats, and the number of regions.
    """
    # The slope of p log p at 0 is infinite; clamped, it is finite and the value the same.
    logarithms = probabilities.clamp(min=torch.finfo(probabilities.dtype).tiny).log()
    return -(probabilities * logarithms).sum(), probabilities.new_tensor(len(probabilities))


def laplacian_loss(
    probabilities: Float[Tensor, "N K"], edge_index: Integer[Tensor, "2 E"], edge_weight: Float[Tensor, " E"]
) -> SumAndCount:
    """Judge how much joined regions disagree (Zhu et al., ICML 2003).

    Args:
        probabilities: Of each region.
        edge_index: Pairs of regions.
        edge_weight: How much each pair counts, at least 0.

    Returns:
        Weighted sum over the edges of the squared distance, and the sum of the weights.
    """
    distances = (probabilities[edge_index[0]] - probabilities[edge_index[1]]).square().sum(dim=1)
    return (distances * edge_weight).sum(), edge_weight.sum()


def _possible_logits(logits: Float[Tensor, "N K"], possible: Bool[Tensor, "N K"]) -> Float[Tensor, "N K"]:
    # Finite, so that a row without any possible label has a gradient of 0 and not NaN.
    return logits.float().masked_fill(~possible, torch.finfo(torch.float32).min)
