"""Keeping evidence to what annotations settle and to what they leave possible."""

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, adaptive_max_pool2d

from wsss.types import IGNORE

CERTAINTY = 0.99
"""Share of the score that a settled pixel's label gets; the rest leaves room for mistakes in a dense CRF."""


def keep_scores(
    scores: Float[Tensor, "K h w"],
    settled: Integer[Tensor, "H W"] | None,
    allowed: Bool[Tensor, "K H W"] | None,
) -> Float[Tensor, "K h w"]:
    """Silence the labels that are ruled out, and raise those that are settled.

    Args:
        scores: Class probabilities, as large as the image or smaller; they sum to 1, or are all 0.
        settled: Labels of single pixels, ``IGNORE`` elsewhere; None settles nothing.
        allowed: Labels that are possible at each pixel; None rules nothing out. A coarse score counts as possible where
            it is in some pixel of its cell.

    Returns:
        Scores that sum to 1. Where only labels that are ruled out had a score, the possible ones share it evenly. A
        coarse score takes on a settled label as far as its pixels are settled.
    """
    size = (scores.shape[1], scores.shape[2])
    if allowed is not None:
        possible = adaptive_max_pool2d(allowed[None].float(), size)[0]
        kept = scores * possible
        total = kept.sum(dim=0)
        even = possible / possible.sum(dim=0).clamp(min=1)
        scores = torch.where(total > 0, kept / total, even)
    if settled is None:
        return scores
    marks = torch.arange(len(scores), device=settled.device)[:, None, None] == settled.long()
    shares = CERTAINTY * adaptive_avg_pool2d(marks[None].to(scores.dtype), size)[0]
    return scores * (1 - shares.sum(dim=0)) + shares


def confine_cams(cams: Float[Tensor, "C h w"], allowed: Bool[Tensor, "K H W"] | None) -> Float[Tensor, "C h w"]:
    """Keep class activation maps to where their class is possible.

    Args:
        cams: Normalised activations in [0, 1].
        allowed: Labels that are possible at each pixel, K = C + 1; None rules nothing out.

    Returns:
        Maps whose highest value is 1 again, or that are 0 everywhere.
    """
    if allowed is None:
        return cams
    kept = cams * adaptive_max_pool2d(allowed[None, 1:].float(), (cams.shape[1], cams.shape[2]))[0]
    most = kept.amax(dim=(1, 2), keepdim=True)
    return torch.where(most > 0, kept / most, 0)


def keep_labels(
    labels: Integer[Tensor, "H W"],
    settled: Integer[Tensor, "H W"] | None,
    allowed: Bool[Tensor, "K H W"] | None,
) -> Integer[Tensor, "H W"]:
    """Forget labels that are ruled out, and take over those that are settled.

    Args:
        labels: Labels, ``IGNORE`` where nothing is known.
        settled: Labels of single pixels, ``IGNORE`` elsewhere; None settles nothing.
        allowed: Labels that are possible at each pixel; None rules nothing out.
    """
    if allowed is not None:
        there = labels != IGNORE
        fits = allowed.gather(0, labels.long().where(there, 0)[None])[0]
        labels = torch.where(there & fits, labels, IGNORE).to(labels.dtype)
    return labels if settled is None else torch.where(settled == IGNORE, labels, settled.to(labels.dtype))
