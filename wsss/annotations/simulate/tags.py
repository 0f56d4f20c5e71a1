"""Simulated tags, with missed and wrong classes."""

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from wsss.annotations.settings import NoiseSettings
from wsss.annotations.simulate.streams import stream
from wsss.annotations.tags import ImageTags
from wsss.types import BACKGROUND, IGNORE, Tags, tagged_labels


def simulate_tags(
    labels: NDArray[np.uint8], tags: Tags | None, classes: int, noise: NoiseSettings, *, seed: int
) -> tuple[ImageTags | None, frozenset[int]]:
    """Simulate the tags of an image.

    Args:
        labels: Ground truth, (H, W).
        tags: Tags of the data set, right or wrong; None takes those of the ground truth.
        classes: Number C of foreground classes.
        noise: Rates of missing and wrong classes.
        seed: Seed of the random streams.

    Returns:
        The tags, None if neither tags nor ground truth are known; and the missed classes of ground truth or tags.
    """
    areas = np.bincount(labels.ravel(), minlength=IGNORE + 1)
    there = set(np.flatnonzero(areas).tolist()) - {BACKGROUND, IGNORE}
    tagged = there if tags is None else set(tagged_labels(tags))
    known = tags is not None or areas[:IGNORE].any()
    told = {label: int(areas[label]) for label in there | tagged}
    missing = overlooked(told, tagged, rate=noise.missing_tags, seed=seed)
    wrong = imagined(told, classes, rate=noise.wrong_tags, seed=seed)
    return ImageTags(tuple(sorted(tagged - missing | wrong))) if known else None, missing


def overlooked(areas: Mapping[int, int], tagged: Collection[int], *, rate: float, seed: int) -> frozenset[int]:
    """Choose the classes that the annotator misses.

    The largest class of an image is never missed (the largest tagged one, if any is tagged): otherwise the whole image
    would have been skipped, not a class.

    Args:
        areas: Pixels of each class in ground truth or tags.
        tagged: Classes in the error-free tags.
        rate: Share of the other classes that are missed.
        seed: Seed of the random streams; what is missed at some rate is also missed at any higher one.
    """
    noticed = max(areas, key=lambda label: (label in tagged, areas[label], -label), default=None)
    others = (label for label in areas if label != noticed)
    return frozenset(label for label in others if stream(seed, "missing_tags", label).random() < rate)


def imagined(there: Collection[int], classes: int, *, rate: float, seed: int) -> frozenset[int]:
    """Choose an absent class that is wrongly tagged; most images have none.

    Args:
        there: Classes in ground truth or tags.
        classes: Number C of classes.
        rate: Share of images with such a class; an image that has all classes has none.
        seed: Seed of the random streams.
    """
    absent = sorted(set(range(1, classes + 1)) - set(there))
    rng = stream(seed, "wrong_tags")
    wrong = rng.random() < rate
    return frozenset({absent[rng.integers(len(absent))]}) if wrong and absent else frozenset()
