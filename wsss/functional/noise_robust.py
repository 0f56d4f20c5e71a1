"""Losses of pixels whose labels may be wrong."""

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
    """Judge the label of each pixel by (1 - p^q) / q (Zhang and Sabuncu, NeurIPS 2018).

    A label that the network holds for impossible moves it no more, where the cross entropy would move it most.

    Args:
        logits: Of labels 0 … K-1.
        labels: Pixels that are ``IGNORE`` do not count.
        weights: How much each pixel counts, at least 0; None counts all alike.
        exponent: q in (0, 1]; near 0 it is the cross entropy, at 1 the missing probability.

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
    """Judge the label of each pixel by the cross entropy both ways round (Wang et al., ICCV 2019).

    The reverse one, of the label as seen by the network, is linear: it is -A · (1 - p) with log 0 taken to be A.

    Args:
        logits: Of labels 0 … K-1.
        labels: Pixels that are ``IGNORE`` do not count.
        weights: How much each pixel counts, at least 0; None counts all alike.
        forward: Weight α of the cross entropy, at least 0.
        reverse: Weight β of the reverse one, at least 0.
        log_zero: A, less than 0.

    Returns:
        Weighted sum over the pixels, and the sum of the weights.
    """
    logarithms = _log_probabilities(logits, labels)
    return _weighted(reverse * log_zero * logarithms.expm1() - forward * logarithms, labels, weights)


def _log_probabilities(logits: Float[Tensor, "B K h w"], labels: Integer[Tensor, "B h w"]) -> Float[Tensor, "B h w"]:
    """Logarithm of the probability of each label, that of label 0 at a pixel without one."""
    places = labels.long().where(labels != IGNORE, 0)[:, None]
    return at_least_single(logits).log_softmax(dim=1).gather(1, places)[:, 0]


def _weighted(
    each: Float[Tensor, "B h w"], labels: Integer[Tensor, "B h w"], weights: Float[Tensor, "B h w"] | None
) -> SumAndCount:
    known = labels != IGNORE
    weights = torch.ones_like(each) if weights is None else weights.to(each.dtype)
    weights = weights.where(known, 0)
    return (each.where(known, 0) * weights).sum(), weights.sum()
