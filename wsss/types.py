"""The words of wsss: what an image, a tag, a score, a seed and a label are."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Integer, UInt8
from torch import Tensor

BACKGROUND = 0
"""The label, and the channel of the scores, that no foreground class owns."""

IGNORE = 255
"""The label of a pixel about which nothing is known."""

MOST_CLASSES = 254
"""As many foreground classes fit between ``BACKGROUND`` and ``IGNORE`` in a byte."""

Image = UInt8[Tensor, "3 H W"]
Tags = Bool[Tensor, " C"]
CamMap = Float[Tensor, "C H W"]
ScoreMap = Float[Tensor, "K H W"]
LabelMap = Integer[Tensor, "H W"]
Segments = Integer[Tensor, "H W"]


@dataclass(frozen=True)
class Sample:
    """One image and what is known about it.

    Attributes:
        id: Name of the image in its data set.
        image: RGB bytes.
        tags: Which foreground classes are present; None when nobody said, all False when known to be empty.
        truth: Labels to measure against; None where there are none.
    """

    id: str
    image: Image
    tags: Tags | None
    truth: LabelMap | None


@dataclass(frozen=True)
class Evidence:
    """What is believed about one image.

    Attributes:
        scores: Class probabilities, channel 0 = background, at any resolution.
        seeds: Sparse labels at the image's resolution, ``IGNORE`` where nothing is known.
    """

    scores: Float[Tensor, "K h w"]
    seeds: LabelMap


def possible_labels(tags: Tags | None, classes: int, *, background: bool = True) -> list[int]:
    """List the labels that the tags of an image allow.

    Args:
        tags: Presence of the foreground classes; None rules nothing out.
        classes: Number C of foreground classes.
        background: Whether the data set has a background class.

    Returns:
        Labels in rising order; empty when the tags are known to be empty and there is no background.
    """
    present = torch.ones(classes, dtype=torch.bool) if tags is None else tags
    foreground = (present.nonzero().flatten() + 1).tolist()
    return [BACKGROUND, *foreground] if background else foreground
