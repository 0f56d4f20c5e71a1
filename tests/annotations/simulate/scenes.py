"""Label maps to be labelled as a person would."""

import numpy as np
import torch
from hypothesis import strategies
from scipy.ndimage import zoom
from torch import Tensor

from wsss.types import IGNORE

CLASSES = 3


def scene(seed: int, height: int = 60, width: int = 80, classes: int = CLASSES) -> Tensor:
    """Paint blobs and bars of random classes one over the other, with a border and holes of ``IGNORE``."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((height, width), dtype=np.uint8)
    rows, columns = np.mgrid[:height, :width]
    for label in rng.integers(1, classes + 1, rng.integers(0, 6)):
        centre, radii = rng.random(2) * (height, width), 1 + rng.random(2) * (height / 3, width / 3)
        away = ((rows - centre[0]) / radii[0]) ** 2 + ((columns - centre[1]) / radii[1]) ** 2
        labels[(away < 1.6) & (away >= 1)] = IGNORE
        labels[away < 1] = label
    return torch.from_numpy(labels)


def noise(seed: int, height: int, width: int, classes: int = CLASSES) -> Tensor:
    """Paint ragged patches of any label, ``IGNORE`` among them: no picture looks like it, so nothing may be assumed."""
    rng = np.random.default_rng(seed)
    values = np.array([*range(classes + 1), IGNORE], dtype=np.uint8)
    patches = values[rng.integers(0, len(values), (-(-height // 4), -(-width // 4)))]
    pixels = values[rng.integers(0, len(values), (height, width))]
    grown = zoom(patches, 4, order=0)[:height, :width]
    return torch.from_numpy(np.where(rng.random((height, width)) < 0.1, pixels, grown))


seeds = strategies.integers(0, 2**32)
scenes = strategies.one_of(
    strategies.builds(scene, seeds),
    strategies.builds(noise, seeds, strategies.integers(1, 30), strategies.integers(1, 30)),
)
