"""Scores and seeds from class activation maps or from a network's softmax."""

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
"""How a background is put beside the CAMs: Ahn et al., CVPR 2019, Ahn and Kwak, CVPR 2018, or by each class's ranks."""

SEED_RULES = ("threshold", "irn")
"""How pixels become seeds: by thresholds alone, or where two label maps agree after the dense CRF."""

QUANTILE_PIXELS = ("training", "image")
"""Whose pixels a class's quantiles are taken over."""


@dataclass(frozen=True, kw_only=True)
class SeedSettings:
    """What is background and what is a seed in normalised CAMs."""

    background: str = "constant"
    """Score of the background beside the CAMs: ``constant``, ``power`` of (1 - the best CAM), or ``quantile``."""

    background_threshold: float = 0.3
    """The constant: where every CAM is lower, background wins."""

    power: float = 4.0
    """The exponent: the higher, the smaller the background."""

    foreground_threshold: float = 0.5
    """A pixel is a foreground seed where exactly one present class exceeds this share of its maximum."""

    margin: float = 0.2
    """Without a background class, a pixel is a seed where the best present class leads the next by more than this."""

    quantile_pixels: str = "training"
    """Pixels over which a class's quantiles are taken: ``training`` (all images with the class) or ``image`` (each)."""

    background_quantile: float = 0.6
    """With ``background: quantile``, the share of these pixels up to whose activation a class isn't there."""

    foreground_quantile: float = 0.8
    """With ``background: quantile``, the share of these pixels above whose activation a class plants seeds."""

    rule: str = "threshold"
    """How pixels become seeds: ``threshold``, or ``irn`` (two label maps that agree after the dense CRF)."""

    irn_foreground_threshold: float = 0.3
    """With ``rule: irn``, the constant background of the map that foreground seeds are taken from."""

    irn_background_threshold: float = 0.05
    """With ``rule: irn``, the constant background of the map that must agree where background seeds lie."""

    cues: str | None = None
    """Published localisation cues to take seeds from instead of the CAMs: a pickle, of which no code is run."""

    cue_ids: str | None = None
    """The list of images that belongs to the cues: lines ``image number``, or one image a line."""

    cue_grid: int = 41
    """Points along a side of the grid that the cues were made on."""

    def __post_init__(self) -> None:
        one_of("background", self.background, BACKGROUND_RULES)
        one_of("rule", self.rule, SEED_RULES)
        one_of("quantile_pixels", self.quantile_pixels, QUANTILE_PIXELS)
        shares = [name for name in self.__dataclass_fields__ if name.endswith(("_threshold", "_quantile"))]
        for field in (*shares, "margin"):
            require(0 <= getattr(self, field) <= 1, field, "must lie in [0, 1]", getattr(self, field))
        require(0 < self.power < float("inf"), "power", "must be positive", self.power)
        # below it, the map for the background would decide nothing; quantiles the wrong way round leave pixels unknown
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
        """The settings that the background beside the CAMs depends on; a quantile counts only where it is used."""
        used = ["background", "background_threshold", "power"]
        used += ["background_quantile", "quantile_pixels"] if self.background == "quantile" else []
        return {name: getattr(self, name) for name in used}

    def of_seeds(self) -> dict[str, Any]:
        """The settings that scores and seeds depend on; those of other rules count for nothing."""
        if self.cues:
            return self.of_scores()
        used = ["foreground_threshold", "margin"]
        used += ["foreground_quantile"] if self.background == "quantile" else []
        used += ["rule", "irn_foreground_threshold", "irn_background_threshold"] if self.rule == "irn" else []
        return self.of_scores() | {name: getattr(self, name) for name in used}


@dataclass(frozen=True)
class Thresholds:
    """What each class must exceed, where the background is by quantile.

    Attributes:
        background: Activation up to which a class isn't there.
        foreground: Activation above which it plants seeds.
    """

    background: Float[Tensor, " C"]
    foreground: Float[Tensor, " C"]


LEAST_BACKGROUND = 0.05
"""Score that a background by quantile has at least: beside a threshold of 0, any trace of a class would be certain."""


def rank_thresholds(counts: Int64[Tensor, "C levels"], settings: SeedSettings) -> Thresholds:
    """Read the thresholds of each class off counted activations; see :func:`wsss.functional.levels.count_levels`.

    Counts of the training set give one threshold a class, however much of an image it covers; counts of an image alone
    give every class the same share of that image.
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
    """Put a background beside the CAMs and share each pixel out among the labels that the tags allow.

    Args:
        cams: Normalised activations in [0, 1].
        tags: Presence of the classes; None rules nothing out.
        settings: Steers the background.
        background: Whether the data set has a background class; if not, channel 0 is zero.
        thresholds: Those of the classes, for a background by quantile.

    Returns:
        Scores that sum to 1. A pixel without any activation is shared out evenly, or, by quantile, is background; tags
        known to be empty make everything background, or, where there is none, everything zero.

    Raises:
        ValueError: If the background is by quantile and there are no thresholds.
    """
    beside = _background_scores(_present(cams, tags), tags, settings, thresholds)
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
    cams: Float[Tensor, "C H W"],
    tags: Bool[Tensor, " C"] | None,
    settings: SeedSettings,
    *,
    background: bool,
    thresholds: Thresholds | None = None,
) -> UInt8[Tensor, "H W"]:
    """Label the pixels about which the CAMs are sure.

    With a background class: a foreground seed is where exactly one present class exceeds its threshold, a background
    seed where the background's score exceeds every CAM, and where both or several classes claim a pixel nobody has it.
    By quantile, each class has thresholds of its own: it claims what exceeds its foreground threshold, and background
    is what exceeds no present class's background threshold.
    Without one: a seed is where the best present class leads the next by more than the margin.

    Args:
        cams: Normalised activations in [0, 1].
        tags: Presence of the classes; None rules nothing out.
        settings: Steers thresholds and background.
        background: Whether the data set has a background class.
        thresholds: Those of the classes, for a background by quantile.

    Returns:
        Labels, ``IGNORE`` elsewhere; the only label that the tags allow, everywhere, if there is only one.

    Raises:
        ValueError: If the background is by quantile and there are no thresholds.
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
    """Label the pixels on which a cautious and a bold label map agree along the edges of the image.

    The CAMs are labelled beside a high and beside a low constant background, and the dense CRF lets each of the two
    maps follow the image (Ahn et al., CVPR 2019). Foreground seeds are those of the first map, background seeds lie
    where both maps see background. Without a background class the constant stands for no class, and what both maps give
    to it stays unknown.

    Args:
        image: RGB bytes of the maps' size.
        cams: Normalised activations in [0, 1].
        tags: Presence of the classes; None rules nothing out.
        settings: The two constants.
        crf: Kernels, iterations and how far a label is believed; it is told labels, whatever its ``unary`` says.
        background: Whether the data set has a background class.

    Returns:
        Labels, ``IGNORE`` elsewhere; the only label that the tags allow, everywhere, if there is only one.

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
    """Label pixels by the best of the classes or a constant background, and let the CRF correct it; (H, W) uint8."""
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


def _background_scores(
    cams: Tensor, tags: Tensor | None, settings: SeedSettings, thresholds: Thresholds | None
) -> Tensor:
    best = cams.amax(dim=0)
    if settings.background == "constant":
        return torch.full_like(best, settings.background_threshold)
    if settings.background == "power":
        return (1 - best).clamp(min=0) ** settings.power
    # a constant for one class; for several, as far above the best CAM as the nearest class is below its threshold
    lead = (cams - _bars(_given(thresholds).background, cams, tags)).amax(dim=0)
    return torch.where(best == 0, 1, (best - lead).clamp(LEAST_BACKGROUND, 1))


def _given(thresholds: Thresholds | None) -> Thresholds:
    if thresholds is None:
        raise ValueError("a background by quantile needs thresholds of the classes; see rank_thresholds")
    return thresholds


def _bars(thresholds: Tensor, cams: Tensor, tags: Tensor | None) -> Tensor:
    """What each class must exceed, (C, 1, 1); absent classes, and classes that no image names (NaN), never do."""
    bars = thresholds.to(cams).nan_to_num(nan=torch.inf)
    bars = bars if tags is None else bars.masked_fill(~tags.to(cams.device), torch.inf)
    return bars[:, None, None]


def _keep(labels: Tensor, sure: Tensor) -> Tensor:
    return torch.where(sure, labels, IGNORE).to(torch.uint8)
