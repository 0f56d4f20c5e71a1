"""Tags as people give them: with classes that they overlook and classes that are not there."""

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from wsss.annotations.settings import NoiseSettings
from wsss.annotations.simulate.streams import stream
from wsss.annotations.tags import ImageTags
from wsss.types import BACKGROUND, IGNORE, Tags


def simulate_tags(
    labels: NDArray[np.uint8], tags: Tags | None, classes: int, noise: NoiseSettings, *, seed: int
) -> tuple[ImageTags | None, frozenset[int]]:
    """Name the classes of an image, as well as one can.

    Args:
        labels: True labels, (H, W).
        tags: Tags that the data set gives, right or not; None takes those of the truth.
        classes: Number C of foreground classes.
        noise: How often a class is missing or wrong.
        seed: Where chance comes from.

    Returns:
        The tags, None where neither tags nor any true label are known; and the classes of truth or tags that are
        overlooked.
    """
    areas = np.bincount(labels.ravel(), minlength=IGNORE + 1)
    there = set(np.flatnonzero(areas).tolist()) - {BACKGROUND, IGNORE}
    tagged = there if tags is None else set((tags.nonzero().flatten() + 1).tolist())
    known = tags is not None or areas[:IGNORE].any()
    told = {label: int(areas[label]) for label in there | tagged}
    missing = overlooked(told, tagged, rate=noise.missing_tags, seed=seed)
    wrong = imagined(told, classes, rate=noise.wrong_tags, seed=seed)
    return ImageTags(tuple(sorted(tagged - missing | wrong))) if known else None, missing


def overlooked(areas: Mapping[int, int], tagged: Collection[int], *, rate: float, seed: int) -> frozenset[int]:
    """Choose the classes that nobody notices.

    The largest one of an image is always noticed, of those that are tagged if any is: who leaves a picture without any
    tag has overlooked the picture, not a class.

    Args:
        areas: Pixels of each class that is there, or is said to be.
        tagged: Classes that the tags name without mistakes.
        rate: Share of the classes besides the largest that are overlooked.
        seed: Where chance comes from; what is overlooked at some rate is so at any higher one.
    """
    noticed = max(areas, key=lambda label: (label in tagged, areas[label], -label), default=None)
    others = (label for label in areas if label != noticed)
    return frozenset(label for label in others if stream(seed, "missing_tags", label).random() < rate)


def imagined(there: Collection[int], classes: int, *, rate: float, seed: int) -> frozenset[int]:
    """Choose the class that is tagged though it is not there; most images have none.

    Args:
        there: Classes that are there, or are said to be.
        classes: Number C of classes.
        rate: Share of images with such a class; an image that has all classes can have none.
        seed: Where chance comes from.
    """
    absent = sorted(set(range(1, classes + 1)) - set(there))
    rng = stream(seed, "wrong_tags")
    wrong = rng.random() < rate
    return frozenset({absent[rng.integers(len(absent))]}) if wrong and absent else frozenset()
