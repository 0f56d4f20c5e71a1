"""Scores and seeds from class activation maps or from a network's softmax."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from wsss.errors import one_of, require
from wsss.types import BACKGROUND, IGNORE, possible_labels

BACKGROUND_RULES = ("constant", "power")
"""How a background is put beside the CAMs: Ahn et al., CVPR 2019, and Ahn and Kwak, CVPR 2018."""


@dataclass(frozen=True, kw_only=True)
class SeedSettings:
    """What is background and what is a seed in normalised CAMs."""

    background: str = "constant"
    """Score of the background beside the CAMs: ``constant``, or ``power`` of (1 - the best CAM)."""

    background_threshold: float = 0.3
    """The constant: where every CAM is lower, background wins."""

    power: float = 4.0
    """The exponent: the higher, the smaller the background."""

    foreground_threshold: float = 0.5
    """A pixel is a foreground seed where exactly one present class exceeds this share of its maximum."""

    margin: float = 0.2
    """Without a background class, a pixel is a seed where the best present class leads the next by more than this."""

    def __post_init__(self) -> None:
        one_of("background", self.background, BACKGROUND_RULES)
        for field in ("background_threshold", "foreground_threshold", "margin"):
            require(0 <= getattr(self, field) <= 1, field, "must lie in [0, 1]", getattr(self, field))
        require(0 < self.power < float("inf"), "power", "must be positive", self.power)


def cam_scores(
    cams: Float[Tensor, "C H W"], tags: Bool[Tensor, " C"] | None, settings: SeedSettings, *, background: bool
) -> Float[Tensor, "K H W"]:
    """Put a background beside the CAMs and share each pixel out among the labels that the tags allow.

    Args:
        cams: Normalised activations in [0, 1].
        tags: Presence of the classes; None rules nothing out.
        settings: Steers the background.
        background: Whether the data set has a background class; if not, channel 0 is zero.

    Returns:
        Scores that sum to 1. A pixel without any activation is shared out evenly; tags known to be empty make
        everything background, or, where there is none, everything zero.
    """
    beside = _background_scores(_present(cams, tags), settings)
    return restrict_scores(torch.cat([beside[None], cams]), tags, background=background)


def restrict_scores(
    scores: Float[Tensor, "K H W"], tags: Bool[Tensor, " C"] | None, *, background: bool
) -> Float[Tensor, "K H W"]:
    """Silence the labels that the tags rule out and share each pixel out among the others.

    Args:
        scores: Values >= 0, channel 0 = background, of any sum.
        tags: Presence of the C = K - 1 foreground classes; None rules nothing out.
        background: Whether the data set has a background class.

    Returns:
        Scores that sum to 1. A pixel where only impossible labels had a score is shared out evenly; without a
        possible label everything is zero.
    """
    possible = _mark_possible(scores, tags, background=background)
    kept = scores.masked_fill(~possible, 0)
    total = kept.sum(dim=0)
    even = (possible / possible.sum().clamp(min=1)).to(scores.dtype)
    return torch.where(total == 0, even, kept / total)


def plant_seeds(
    cams: Float[Tensor, "C H W"], tags: Bool[Tensor, " C"] | None, settings: SeedSettings, *, background: bool
) -> UInt8[Tensor, "H W"]:
    """Label the pixels about which the CAMs are sure.

    With a background class: a foreground seed is where exactly one present class exceeds its threshold, a background
    seed where the background's score exceeds every CAM, and where both or several classes claim a pixel nobody has it.
    Without one: a seed is where the best present class leads the next by more than the margin.

    Args:
        cams: Normalised activations in [0, 1].
        tags: Presence of the classes; None rules nothing out.
        settings: Steers thresholds and background.
        background: Whether the data set has a background class.

    Returns:
        Labels, ``IGNORE`` elsewhere; the only label that the tags allow, everywhere, if there is only one.
    """
    certain = _certain_labels(cams, tags, len(cams), background=background)
    if certain is not None:
        return certain
    cams = _present(cams, tags)
    if not background:
        (best, second), order = cams.topk(2, dim=0)
        return _keep(order[0] + 1, best - second > settings.margin)
    claims = cams > settings.foreground_threshold
    backdrop = _background_scores(cams, settings) > cams.amax(dim=0)
    labels = torch.where(backdrop, BACKGROUND, claims.byte().max(dim=0).indices + 1)
    return _keep(labels, claims.sum(dim=0) + backdrop == 1)


def score_seeds(
    scores: Float[Tensor, "K H W"],
    tags: Bool[Tensor, " C"] | None,
    *,
    foreground_threshold: float,
    background_threshold: float,
    background: bool,
) -> UInt8[Tensor, "H W"]:
    """Label the pixels about which a network is sure.

    Args:
        scores: Softmax of the network, channel 0 = background.
        tags: Presence of the C = K - 1 foreground classes; only possible labels compete.
        foreground_threshold: Score that a foreground class must exceed.
        background_threshold: Score that the background must exceed.
        background: Whether the data set has a background class.

    Returns:
        Labels, ``IGNORE`` elsewhere; the only label that the tags allow, everywhere, if there is only one.

    Raises:
        ValueError: If a score of a possible label is not a number.
    """
    certain = _certain_labels(scores, tags, len(scores) - 1, background=background)
    if certain is not None:
        return certain
    possible = _mark_possible(scores, tags, background=background)
    best, labels = scores.masked_fill(~possible, -1).max(dim=0)
    if best.isnan().any():
        raise ValueError("scores must be numbers, got NaN")
    sure = torch.where(labels == BACKGROUND, best > background_threshold, best > foreground_threshold)
    return _keep(labels, sure)


def _check_tags(tags: Tensor | None, classes: int) -> None:
    if tags is not None and tags.shape != (classes,):
        raise ValueError(f"tags must have shape {(classes,)} for these maps, got {tuple(tags.shape)}")


def _possible(tags: Tensor | None, classes: int, *, background: bool) -> list[int]:
    _check_tags(tags, classes)
    return possible_labels(tags, classes, background=background)


def _certain_labels(maps: Tensor, tags: Tensor | None, classes: int, *, background: bool) -> Tensor | None:
    """Fill an image whose tags leave no choice: the one possible label, or ``IGNORE`` where none is."""
    possible = _possible(tags, classes, background=background)
    if len(possible) > 1:
        return None
    label = possible[0] if possible else IGNORE
    return torch.full(maps.shape[1:], label, dtype=torch.uint8, device=maps.device)


def _mark_possible(scores: Tensor, tags: Tensor | None, *, background: bool) -> Tensor:
    """Mark the channels of the possible labels, shape (K, 1, 1)."""
    marks = torch.zeros(len(scores), 1, 1, dtype=torch.bool, device=scores.device)
    marks[_possible(tags, len(scores) - 1, background=background)] = True
    return marks


def _present(cams: Tensor, tags: Tensor | None) -> Tensor:
    _check_tags(tags, len(cams))
    return cams if tags is None else cams.masked_fill(~tags[:, None, None].to(cams.device), 0)


def _background_scores(cams: Tensor, settings: SeedSettings) -> Tensor:
    best = cams.amax(dim=0)
    if settings.background == "constant":
        return torch.full_like(best, settings.background_threshold)
    return (1 - best).clamp(min=0) ** settings.power


def _keep(labels: Tensor, sure: Tensor) -> Tensor:
    return torch.where(sure, labels, IGNORE).to(torch.uint8)
