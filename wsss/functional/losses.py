"""Training losses returned as (sum, count).

Several devices can then add up both before dividing, so that the number of devices does not change the loss. If nothing
counts, the sum is 0 with gradient 0; divide by ``count.clamp(min=tiny)``.
"""

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor
from torch.nn import functional

from wsss.types import BACKGROUND, IGNORE

SumAndCount = tuple[Float[Tensor, ""], Float[Tensor, ""]]

LEAST_RATIO, MOST_RATIO = 0.05, 20.0
"""Bounds of the ratio of refined to predicted probability; outside of them ``constrain_loss`` has no gradient."""


def tag_loss(logits: Float[Tensor, "B C"], tags: Bool[Tensor, "B C"], known: Bool[Tensor, "B C"]) -> SumAndCount:
    """Compute the multi-label soft margin loss of image tags.

    A class of unknown presence counts as absent with the weight 1 / (C - 1) in images with other known classes; without
    negative labels a network would predict all classes everywhere (Cole et al., CVPR 2021).

    Args:
        logits: One for each image and foreground class.
        tags: Presence of the classes.
        known: Classes whose presence or absence is known; an image without any does not count.

    Returns:
        Sum over the images of the mean over the classes, and the number of images that count.
    """
    logits = at_least_single(logits)
    each = functional.binary_cross_entropy_with_logits(logits, tags.to(logits.dtype), reduction="none")
    weights = torch.where(known, 1.0, 1 / max(1, logits.shape[1] - 1)).to(each.dtype)
    counts = known.any(dim=1)
    return (each * weights).mean(dim=1).where(counts, 0).sum(), counts.sum().to(each.dtype)


def pixel_cross_entropy(
    logits: Float[Tensor, "B K h w"],
    labels: Integer[Tensor, "B h w"],
    weights: Float[Tensor, "B h w"] | None = None,
) -> SumAndCount:
    """Compute the cross entropy of each pixel's label.

    Args:
        logits: Of labels 0 … K-1.
        labels: Pixels that are ``IGNORE`` do not count.
        weights: Weight of each pixel, at least 0; None weights all equally.

    Returns:
        Weighted sum over the pixels, and the sum of the weights.
    """
    each = functional.cross_entropy(at_least_single(logits), labels.long(), ignore_index=IGNORE, reduction="none")
    weights = torch.ones_like(each) if weights is None else weights.to(each.dtype)
    weights = weights.where(labels != IGNORE, 0)
    return (each * weights).sum(), weights.sum()


def at_least_single(values: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Convert half precision to float32, in which sums over many pixels stay accurate; other types are unchanged."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def floored_softmax(logits: Float[Tensor, "B K h w"], floor: float = 1e-4) -> Float[Tensor, "B K h w"]:
    """Compute a softmax with a lower bound on the probabilities.

    Args:
        logits: Of labels 0 … K-1.
        floor: Added to each probability before renormalising, at least 0. Added rather than clamped, so that a label
            far below it still has a gradient.

    Returns:
        Probabilities that sum to 1.
    """
    return (logits.softmax(dim=1) + floor) / (1 + floor * logits.shape[1])


def recoverable_softmax(logits: Float[Tensor, "B K h w"], floor: float = 1e-4) -> Float[Tensor, "B K h w"]:
    """Compute the values of :func:`floored_softmax` with the gradient of the logarithm of the plain softmax.

    With the gradient of :func:`floored_softmax`, a label far below the floor hardly recovers. Where large first steps
    push it there, a linear layer trained with the balanced seed loss on VOC images lost four of 20 classes (mIoU 23.7
    instead of 33.2).

    Args:
        logits: Of labels 0 … K-1, finite.
        floor: See :func:`floored_softmax`.

    Returns:
        The values of ``floored_softmax``.
    """
    logs = logits.log_softmax(dim=1)
    # the factor equals 1, and its gradient is that of the logarithm
    return floored_softmax(logits.detach(), floor) * (logs - logs.detach()).exp()


def balanced_seed_loss(probabilities: Float[Tensor, "B K h w"], labels: Integer[Tensor, "B h w"]) -> SumAndCount:
    """Compute the balanced seed loss: separate mean cross entropies of background and foreground seeds (DSRG).

    Args:
        probabilities: Greater than 0, see :func:`recoverable_softmax`.
        labels: Seeds, ``IGNORE`` where there is none.

    Returns:
        Sum over the images of the mean cross entropy of background seeds plus that of foreground seeds, each 0 if there
        is no such seed, and the number of images with a seed.
    """
    probabilities, known = at_least_single(probabilities), labels != IGNORE
    each = -probabilities.log().gather(1, labels.long().where(known, 0)[:, None])[:, 0]
    background = known & (labels == BACKGROUND)
    total = _mean_of_each(each, background) + _mean_of_each(each, known & ~background)
    return total.sum(), known.flatten(1).any(dim=1).sum().to(each.dtype)


def constrain_loss(
    probabilities: Float[Tensor, "B K h w"], refined: Float[Tensor, "B K h w"], mask: Bool[Tensor, "B h w"]
) -> SumAndCount:
    """Compute the constrain-to-boundary loss: divergence of a network from its CRF (Kolesnikov and Lampert, ECCV 2016).

    Args:
        probabilities: Greater than 0, see :func:`floored_softmax`.
        refined: Probabilities after the CRF; no gradient flows into them.
        mask: Pixels that count.

    Returns:
        Sum over the images of the mean KL divergence of the network from the CRF over the pixels that count, and the
        number of images with such a pixel. The ratio of the probabilities is clipped to [0.05, 20], as in DSRG.
    """
    probabilities, refined = at_least_single(probabilities), at_least_single(refined.detach())
    ratios = (refined / probabilities).clamp(LEAST_RATIO, MOST_RATIO)
    total = _mean_of_each((refined * ratios.log()).sum(dim=1), mask)
    return total.sum(), mask.flatten(1).any(dim=1).sum().to(total.dtype)


def possible_softmax(logits: Float[Tensor, "N K"], possible: Bool[Tensor, "N K"]) -> Float[Tensor, "N K"]:
    """Compute a softmax over the possible labels only.

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
    """Compute the cross entropy of each region's label, with a softmax over the possible labels only.

    Args:
        logits: Of labels 0 … K-1.
        targets: Label of each region. ``IGNORE``, or a label that is not possible, does not count.
        possible: Labels that the tags of the region's image allow.
        class_weights: Weight of the regions of each label; None weights all equally.

    Returns:
        Weighted sum over the regions, and the sum of the weights.
    """
    targets = targets.long()
    labels = targets.where(targets != IGNORE, 0)[:, None]
    counts = (targets != IGNORE) & possible.gather(1, labels)[:, 0]
    each = -_possible_logits(logits, possible).log_softmax(dim=1).gather(1, labels)[:, 0]
    weights = torch.ones_like(each) if class_weights is None else class_weights.to(each.dtype)[labels[:, 0]]
    weights = weights.where(counts, 0)
    return (each.where(counts, 0) * weights).sum(), weights.sum()


def pixel_entropy_loss(probabilities: Float[Tensor, "B K h w"], mask: Bool[Tensor, "B h w"]) -> SumAndCount:
    """Compute the entropy of the pixels' predictions (Grandvalet and Bengio, NeurIPS 2004).

    Args:
        probabilities: Of each pixel, summing to 1.
        mask: Pixels that count.

    Returns:
        Sum of the entropies of those pixels in nats, and their number.
    """
    probabilities = at_least_single(probabilities)
    entropies = -(probabilities * _finite_logarithm(probabilities)).sum(dim=1)
    return entropies.where(mask, 0).sum(), mask.sum().to(entropies.dtype)


def entropy_loss(probabilities: Float[Tensor, "N K"]) -> SumAndCount:
    """Compute the entropy of the regions' predictions (Grandvalet and Bengio, NeurIPS 2004).

    Args:
        probabilities: Of each region, summing to 1.

    Returns:
        Sum of the entropies in nats, and the number of regions.
    """
    probabilities = at_least_single(probabilities)
    return -(probabilities * _finite_logarithm(probabilities)).sum(), probabilities.new_tensor(len(probabilities))


def laplacian_loss(
    probabilities: Float[Tensor, "N K"], edge_index: Integer[Tensor, "2 E"], edge_weight: Float[Tensor, " E"]
) -> SumAndCount:
    """Compute the graph Laplacian loss: disagreement of adjacent regions (Zhu et al., ICML 2003).

    Args:
        probabilities: Of each region.
        edge_index: Pairs of regions.
        edge_weight: Weight of each pair, at least 0.

    Returns:
        Weighted sum over the edges of the squared distance, and the sum of the weights.
    """
    probabilities, edge_weight = at_least_single(probabilities), at_least_single(edge_weight)
    distances = (probabilities[edge_index[0]] - probabilities[edge_index[1]]).square().sum(dim=1)
    return (distances * edge_weight).sum(), edge_weight.sum()


def _mean_of_each(values: Float[Tensor, "B h w"], mask: Bool[Tensor, "B h w"]) -> Float[Tensor, " B"]:
    """Mean over the marked pixels of each image; 0 if there is none."""
    return values.where(mask, 0).flatten(1).sum(dim=1) / mask.flatten(1).sum(dim=1).clamp(min=1)


def _finite_logarithm(probabilities: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    # The derivative of p log p at 0 is infinite; with the clamp it is finite and the value is unchanged.
    return probabilities.clamp(min=torch.finfo(probabilities.dtype).tiny).log()


def _possible_logits(logits: Float[Tensor, "N K"], possible: Bool[Tensor, "N K"]) -> Float[Tensor, "N K"]:
    # Finite, so that a row without any possible label has a gradient of 0 and not NaN.
    logits = at_least_single(logits)
    return logits.masked_fill(~possible, torch.finfo(logits.dtype).min)
