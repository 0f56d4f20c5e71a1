"""Scores and seeds from class activation maps or from the softmax of a network."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from wsss.errors import one_of, require
from wsss.functional.dense_crf import CrfSettings, dense_crf
from wsss.functional.levels import level_quantiles
from wsss.types import BACKGROUND, IGNORE, Image, possible_labels

BACKGROUND_RULES = ("constant", "power", "quantile")
"""Background scores beside the CAMs: Ahn et al., CVPR 2019; Ahn and Kwak, CVPR 2018; or quantiles of each class."""

SEED_RULES = ("threshold", "irn")
"""How seeds are chosen: by thresholds alone, or where two label maps agree after the dense CRF."""

QUANTILE_PIXELS = ("training", "image")
"""Pixels over which the quantiles of a class are taken."""


@dataclass(frozen=True, kw_only=True)
class SeedSettings:
    """Background scores and seeds from normalised CAMs."""

    background: str = "constant"
    """Background score beside the CAMs: ``constant``, ``power`` of (1 - the best CAM), or ``quantile``."""

    background_threshold: float = 0.3
    """Background score with ``background: constant``: pixels where every CAM is lower are background."""

    power: float = 4.0
    """Exponent with ``background: power``: larger values make the background score smaller."""

    foreground_threshold: float = 0.5
    """A pixel is a foreground seed if exactly one present class exceeds this share of its maximum."""

    margin: float = 0.2
    """Without a background class, a pixel is a seed if the best present class leads the next by more than this."""

    quantile_pixels: str = "training"
    """Pixels over which a class's quantiles are taken: ``training`` (all images with the class) or ``image`` (each)."""

    background_quantile: float = 0.6
    """With ``background: quantile``, quantile of a class's activations up to which the class counts as absent."""

    foreground_quantile: float = 0.8
    """With ``background: quantile``, quantile of a class's activations above which pixels become its seeds."""

    rule: str = "threshold"
    """How pixels become seeds: ``threshold``, or ``irn`` (two label maps that agree after the dense CRF)."""

    irn_foreground_threshold: float = 0.3
    """With ``rule: irn``, constant background score of the label map that foreground seeds are taken from."""

    irn_background_threshold: float = 0.05
    """With ``rule: irn``, constant background score of the second map, which must agree on background seeds."""

    cues: str | None = None
    """Published localisation cues that replace seeds from CAMs: path of a pickle file; its code is never executed."""

    cue_ids: str | None = None
    """Path of the image list that belongs to the cues: lines ``image number``, or one image per line."""

    cue_grid: int = 41
    """Points along a side of the grid that the cues are defined on."""

    def __post_init__(self) -> None:
        one_of("background", self.background, BACKGROUND_RULES)
        one_of("rule", self.rule, SEED_RULES)
        one_of("quantile_pixels", self.quantile_pixels, QUANTILE_PIXELS)
        shares = [name for name in self.__dataclass_fields__ if name.endswith(("_threshold", "_quantile"))]
        for field in (*shares, "margin"):
            require(0 <= getattr(self, field) <= 1, field, "must lie in [0, 1]", getattr(self, field))
        require(0 < self.power < float("inf"), "power", "must be positive", self.power)
        # below it, the background map would have no effect; quantiles in the wrong order leave pixels unlabelled
        require(
            self.rule != "irn" or self.irn_foreground_threshold >= self.irn_background_threshold,
            "irn_foreground_threshold",
            f"must be at least irn_background_threshold ({self.irn_background_threshold}) with rule irn",
            self.irn_foreground_threshold,
        )
        require(bool(self.cues) == bool(self.cue_ids), "cue_ids", "must be given with cues and only then", self.cue_ids)
        require(not self.cues or self.rule == "threshold", "rule", "must stay threshold beside cues", self.rule)
        require(2 <= self.cue_grid <= 1000, "cue_grid", "must lie in [2, 1000]", self.cue_grid)

    def of_scores(self) -> dict[str, Any]:
        """The settings that the background score depends on; quantiles only if they are used."""
        used = ["background", "background_threshold", "power"]
        used += ["background_quantile", "quantile_pixels"] if self.background == "quantile" else []
        return {name: getattr(self, name) for name in used}

    def of_seeds(self) -> dict[str, Any]:
        """The settings that scores and seeds depend on; those of unused rules are left out."""
        if self.cues:
            return self.of_scores()
        used = ["foreground_threshold", "margin"]
        used += ["foreground_quantile"] if self.background == "quantile" else []
        used += ["rule", "irn_foreground_threshold", "irn_background_threshold"] if self.rule == "irn" else []
        return self.of_scores() | {name: getattr(self, name) for name in used}


@dataclass(frozen=True)
class Thresholds:
    """Thresholds of each class for ``background: quantile``.

    Attributes:
        background: Activation up to which the class counts as absent.
        foreground: Activation above which pixels become seeds of the class.
    """

    background: Float[Tensor, " C"]
    foreground: Float[Tensor, " C"]


LEAST_BACKGROUND = 0.05
"""Minimum background score by quantile: with a threshold of 0, any activation at all would otherwise be certain."""


def rank_thresholds(counts: Int64[Tensor, "C levels"], settings: SeedSettings) -> Thresholds:
    """Compute the thresholds of each class from histograms; see :func:`wsss.functional.levels.count_levels`.

    Histograms over the training set give one threshold per class, whatever share of an image it covers; the histogram
    of a single image gives every class the same share of that image.
    """
    return Thresholds(
        level_quantiles(counts, settings.background_quantile), level_quantiles(counts, settings.foreground_quantile)
    )


def cam_scores(
    cams: Float[Tensor, "C H W"],
    tags: Bool[Tensor, " C"] | None,
    settings: SeedSettings,
    *,
    background: bool,
    thresholds: Thresholds | None = None,
) -> Float[Tensor, "K H W"]:
    """Append a background score to the CAMs and normalise over the labels that the tags allow.

    Args:
        cams: Normalised activations in [0, 1].
        tags: Presence of the classes; None if unknown: all are possible.
        settings: Rule and parameters of the background score.
        background: Whether the data set has a background class; if not, channel 0 is zero.
        thresholds: Thresholds of the classes, for a background by quantile.

    Returns:
        Scores that sum to 1. A pixel without any activation gets uniform scores, or, by quantile, is background; tags
        known to be empty make everything background, or, without a background class, everything zero.

    Raises:
        ValueError: If the background is by quantile and no thresholds are given.
    """
    beside = _background_scores(_present(cams, tags), tags, settings, thresholds)
    return restrict_scores(torch.cat([beside[None], cams]), tags, background=background)


def restrict_scores(
    scores: Float[Tensor, "K H W"], tags: Bool[Tensor, " C"] | None, *, background: bool
) -> Float[Tensor, "K H W"]:
    """Set the scores of labels that the tags rule out to zero and normalise over the others.

    Args:
        scores: Values >= 0, channel 0 = background, not necessarily normalised.
        tags: Presence of the C = K - 1 foreground classes; None if unknown: all are possible.
        background: Whether the data set has a background class.

    Returns:
        Scores that sum to 1. A pixel where only impossible labels had a score gets uniform scores over the possible
        ones; without a possible label everything is zero.
    """
    possible = _mark_possible(scores, tags, background=background)
    kept = scores.masked_fill(~possible, 0)
    total = kept.sum(dim=0)
    even = (possible / possible.sum().clamp(min=1)).to(scores.dtype)
    return torch.where(total == 0, even, kept / total)


def plant_seeds(
    cams: Float[Tensor, "C H W"],
    tags: Bool[Tensor, " C"] | None,
    settings: SeedSettings,
    *,
    background: bool,
    thresholds: Thresholds | None = None,
) -> UInt8[Tensor, "H W"]:
    """Label the pixels where the CAMs are confident.

    With a background class: a pixel is a foreground seed if exactly one present class exceeds its threshold, and a
    background seed if the background score exceeds every CAM; conflicting pixels stay unlabelled. By quantile, each
    class has its own thresholds: foreground above its foreground threshold, background where no present class exceeds
    its background threshold. Without a background class: a pixel is a seed if the best present class leads the next by
    more than the margin.

    Args:
        cams: Normalised activations in [0, 1].
        tags: Presence of the classes; None if unknown: all are possible.
        settings: Thresholds and background score.
        background: Whether the data set has a background class.
        thresholds: Thresholds of the classes, for a background by quantile.

    Returns:
        Labels, ``IGNORE`` elsewhere; if the tags allow only one label, that label everywhere.

    Raises:
        ValueError: If the background is by quantile and no thresholds are given.
    """
    certain = _certain_labels(cams, tags, len(cams), background=background)
    if certain is not None:
        return certain
    cams = _present(cams, tags)
    if not background:
        (best, second), order = cams.topk(2, dim=0)
        return _keep(order[0] + 1, best - second > settings.margin)
    if settings.background == "quantile":
        given = _given(thresholds)
        claims = cams > _bars(given.foreground, cams, tags)
        backdrop = (cams <= _bars(given.background, cams, tags)).all(dim=0)
    else:
        claims = cams > settings.foreground_threshold
        backdrop = _background_scores(cams, tags, settings, None) > cams.amax(dim=0)
    labels = torch.where(backdrop, BACKGROUND, claims.byte().max(dim=0).indices + 1)
    return _keep(labels, claims.sum(dim=0) + backdrop == 1)


def plant_agreed_seeds(
    image: Image,
    cams: Float[Tensor, "C H W"],
    tags: Bool[Tensor, " C"] | None,
    settings: SeedSettings,
    crf: CrfSettings,
    *,
    background: bool,
) -> UInt8[Tensor, "H W"]:
    """Label the pixels on which two label maps, after the dense CRF, agree (IRN: Ahn et al., CVPR 2019).

    The CAMs are labelled with a high and with a low constant background score, and the dense CRF refines both label
    maps. Foreground seeds are the foreground of the first map (high background score); background seeds are pixels that
    both maps label as background. Without a background class these pixels stay unlabelled.

    Args:
        image: RGB bytes of the maps' size.
        cams: Normalised activations in [0, 1].
        tags: Presence of the classes; None if unknown: all are possible.
        settings: The two constant background scores.
        crf: Kernels, iterations and label confidence; its unary is always ``labels``, whatever the settings say.
        background: Whether the data set has a background class.

    Returns:
        Labels, ``IGNORE`` elsewhere; if the tags allow only one label, that label everywhere.

    Raises:
        ValueError: If an activation of a possible class is not a finite number, or image and maps differ in size.
    """
    certain = _certain_labels(cams, tags, len(cams), background=background)
    if certain is not None:
        return certain
    classes = [label for label in _possible(tags, len(cams), background=background) if label != BACKGROUND]
    told = replace(crf, unary="labels")
    sure, bold = (
        _labels_along_edges(image, cams, classes, threshold, told)
        for threshold in (settings.irn_foreground_threshold, settings.irn_background_threshold)
    )
    seeds = torch.where(sure == BACKGROUND, IGNORE, sure)
    return torch.where((sure == BACKGROUND) & (bold == BACKGROUND), BACKGROUND if background else IGNORE, seeds)


def _labels_along_edges(image: Tensor, cams: Tensor, classes: list[int], threshold: float, crf: CrfSettings) -> Tensor:
    """Label pixels by the best class or a constant background score, and refine by the CRF; (H, W) uint8."""
    rivals = torch.cat([torch.full_like(cams[:1], threshold), cams[[label - 1 for label in classes]]])
    agreed = dense_crf(image, rivals, crf, labels=range(len(rivals))).argmax(dim=0)
    return torch.tensor([BACKGROUND, *classes], dtype=torch.uint8)[agreed].to(cams.device)


def score_seeds(
    scores: Float[Tensor, "K H W"],
    tags: Bool[Tensor, " C"] | None,
    *,
    foreground_threshold: float,
    background_threshold: float,
    background: bool,
) -> UInt8[Tensor, "H W"]:
    """Label the pixels where a network is confident.

    Args:
        scores: Softmax of the network, channel 0 = background.
        tags: Presence of the C = K - 1 foreground classes; only possible labels are considered.
        foreground_threshold: Score that a foreground class must exceed.
        background_threshold: Score that the background must exceed.
        background: Whether the data set has a background class.

    Returns:
        Labels, ``IGNORE`` elsewhere; if the tags allow only one label, that label everywhere.

    Raises:
        ValueError: If a score of a possible label is NaN.
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
    """Return the label map of an image whose tags allow at most one label, else None; ``IGNORE`` if they allow none."""
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


def _background_scores(
    cams: Tensor, tags: Tensor | None, settings: SeedSettings, thresholds: Thresholds | None
) -> Tensor:
    best = cams.amax(dim=0)
    if settings.background == "constant":
        return torch.full_like(best, settings.background_threshold)
    if settings.background == "power":
        return (1 - best).clamp(min=0) ** settings.power
    # constant for one class; for several, as far above the best CAM as the closest class is below its threshold
    lead = (cams - _bars(_given(thresholds).background, cams, tags)).amax(dim=0)
    return torch.where(best == 0, 1, (best - lead).clamp(LEAST_BACKGROUND, 1))


def _given(thresholds: Thresholds | None) -> Thresholds:
    if thresholds is None:
        raise ValueError("a background by quantile needs class thresholds; compute them with rank_thresholds")
    return thresholds


def _bars(thresholds: Tensor, cams: Tensor, tags: Tensor | None) -> Tensor:
    """Threshold of each class, (C, 1, 1); infinite for absent classes and for those that no image names (NaN)."""
    bars = thresholds.to(cams).nan_to_num(nan=torch.inf)
    bars = bars if tags is None else bars.masked_fill(~tags.to(cams.device), torch.inf)
    return bars[:, None, None]


def _keep(labels: Tensor, sure: Tensor) -> Tensor:
    return torch.where(sure, labels, IGNORE).to(torch.uint8)
