"""Stratified hold-out of training tags, to evaluate the classifier (after Sechidis et al., ECML 2011)."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from wsss.types import Tags


def stratified_holdout(tags: Sequence[Tags | None], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Choose images to hold out so that each class is split in the same ratio.

    Classes are processed from the rarest to the most frequent. A class with two or more images gets at least one on
    either side, if its images' other classes allow it; a class with one image keeps it for training. Images with
    unknown tags are never held out.

    Args:
        tags: Tags of each training image.
        share: Share to hold out, in [0, 1); 0 holds nothing out.
        seed: Seed of the choice of images within a class.

    Returns:
        Indices of the kept and of the held-out images, each in ascending order.

    Raises:
        ValueError: If the share lies outside of [0, 1).
    """
    if not 0 <= share < 1:
        raise ValueError(f"share must lie in [0, 1), got {share}")
    known = [index for index, entry in enumerate(tags) if entry is not None]
    held: set[int] = set()
    if known and share:
        order = np.random.default_rng(seed).permutation(len(known))
        table = torch.stack([entry for entry in tags if entry is not None]).numpy()
        held = {known[place] for place in _held_places(table, order, share)}
    return [index for index in range(len(tags)) if index not in held], sorted(held)


def _held_places(table: NDArray[np.bool], order: NDArray[np.int64], share: float) -> set[int]:
    """Choose rows of a table of tags, preferring those that come early in the order."""
    held: set[int] = set()
    kept_of_class = table.sum(axis=0)
    for label in np.argsort(kept_of_class, kind="stable"):
        members = [int(row) for row in order if table[row, label]]
        wanted = max(1, round(share * len(members))) - sum(row in held for row in members)
        for row in members:
            if wanted <= 0:
                break
            # no class may lose its last training image
            if row not in held and (kept_of_class[table[row]] > 1).all():
                held.add(row)
                kept_of_class = kept_of_class - table[row]
                wanted -= 1
    empty = [int(row) for row in order if not table[row].any()]
    return held | set(empty[: round(share * len(empty))])
