"""Pixel losses that are robust to label noise."""

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from wsss.functional.losses import SumAndCount, at_least_single
from wsss.types import IGNORE


def generalised_cross_entropy(
    logits: Float[Tensor, "B K h w"],
    labels: Integer[Tensor, "B h w"],
    weights: Float[Tensor, "B h w"] | None = None,
    *,
    exponent: float = 0.7,
) -> SumAndCount:
    """Compute the generalised cross entropy (1 - p^q) / q of each pixel's label (Zhang and Sabuncu, NeurIPS 2018).

    Its gradient vanishes for labels that the network considers impossible, where that of the cross entropy is largest.

    Args:
        logits: Of labels 0 … K-1.
        labels: Pixels that are ``IGNORE`` do not count.
        weights: Weight of each pixel, at least 0; None weights all equally.
        exponent: q in (0, 1]; the cross entropy in the limit 0, 1 - p at 1.

    Returns:
        Weighted sum over the pixels, and the sum of the weights.

    Raises:
        ValueError: If the exponent lies outside (0, 1].
    """
    if not 0 < exponent <= 1:
        message = f"the exponent of the generalised cross entropy must lie in (0, 1], got {exponent!r}"
        raise ValueError(message)
    each = -(exponent * _log_probabilities(logits, labels)).expm1() / exponent
    return _weighted(each, labels, weights)


def symmetric_cross_entropy(
    logits: Float[Tensor, "B K h w"],
    labels: Integer[Tensor, "B h w"],
    weights: Float[Tensor, "B h w"] | None = None,
    *,
    forward: float = 0.1,
    reverse: float = 1.0,
    log_zero: float = -4.0,
) -> SumAndCount:
    """Compute the symmetric cross entropy of each pixel's label (Wang et al., ICCV 2019).

    The reverse cross entropy, from prediction to label, is linear in p: -A · (1 - p), with log 0 replaced by A.

    Args:
        logits: Of labels 0 … K-1.
        labels: Pixels that are ``IGNORE`` do not count.
        weights: Weight of each pixel, at least 0; None weights all equally.
        forward: Weight α of the cross entropy, at least 0.
        reverse: Weight β of the reverse cross entropy, at least 0.
        log_zero: A, less than 0.

    Returns:
        Weighted sum over the pixels, and the sum of the weights.
    """
    logarithms = _log_probabilities(logits, labels)
    return _weighted(reverse * log_zero * logarithms.expm1() - forward * logarithms, labels, weights)


def _log_probabilities(logits: Float[Tensor, "B K h w"], labels: Integer[Tensor, "B h w"]) -> Float[Tensor, "B h w"]:
    """Log probability of each pixel's label; that of label 0 at unlabelled pixels."""
    places = labels.long().where(labels != IGNORE, 0)[:, None]
    return at_least_single(logits).log_softmax(dim=1).gather(1, places)[:, 0]


def _weighted(
    each: Float[Tensor, "B h w"], labels: Integer[Tensor, "B h w"], weights: Float[Tensor, "B h w"] | None
) -> SumAndCount:
    known = labels != IGNORE
    weights = torch.ones_like(each) if weights is None else weights.to(each.dtype)
    weights = weights.where(known, 0)
    return (each.where(known, 0) * weights).sum(), weights.sum()
