"""Basic types: images, tags, scores, seeds, labels and evidence."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Integer, UInt8
from torch import Tensor

BACKGROUND = 0
"""The background label, and its channel in scores."""

BACKGROUND_NAME = "background"
"""What label 0 is called; no class of a manifest may be called so."""

IGNORE = 255
"""The label of unknown or unlabelled pixels."""

MOST_CLASSES = 254
"""Maximum number of foreground classes: the values of a byte between ``BACKGROUND`` and ``IGNORE``."""

Image = UInt8[Tensor, "3 H W"]
Tags = Bool[Tensor, " C"]
CamMap = Float[Tensor, "C H W"]
ScoreMap = Float[Tensor, "K H W"]
LabelMap = Integer[Tensor, "H W"]
Segments = Integer[Tensor, "H W"]


@dataclass(frozen=True)
class Sample:
    """One image with its tags and ground truth.

    Attributes:
        id: Name of the image in its data set.
        image: RGB bytes.
        tags: Which foreground classes are present; None if unknown, all False if known to be empty.
        truth: Ground truth, used for evaluation only; None if there is none.
    """

    id: str
    image: Image
    tags: Tags | None
    truth: LabelMap | None


@dataclass(frozen=True)
class Evidence:
    """Scores and seeds of one image: what refiners improve.

    Attributes:
        scores: Class probabilities, channel 0 = background, at any resolution.
        seeds: Sparse labels at the image's resolution, ``IGNORE`` where unlabelled.
    """

    scores: Float[Tensor, "K h w"]
    seeds: LabelMap


def label_names(classes: Sequence[str]) -> dict[int, str]:
    """The name of each label that a map may hold."""
    return {BACKGROUND: BACKGROUND_NAME, **dict(enumerate(classes, start=1)), IGNORE: "unknown"}


def tagged_labels(tags: Tags) -> list[int]:
    """List the labels of the classes that are present, in rising order."""
    return (tags.nonzero().flatten() + 1).tolist()


def possible_labels(tags: Tags | None, classes: int, *, background: bool = True) -> list[int]:
    """List the labels that the tags of an image allow.

    Args:
        tags: Presence of the foreground classes; None if unknown: all are possible.
        classes: Number C of foreground classes.
        background: Whether the data set has a background class.

    Returns:
        Labels in ascending order; empty if the tags are known to be empty and there is no background.
    """
    present = torch.ones(classes, dtype=torch.bool) if tags is None else tags
    foreground = tagged_labels(present)
    return [BACKGROUND, *foreground] if background else foreground
