"""Seeded region growing (Huang et al., CVPR 2018)."""

import cc3d
import numpy as np
import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from wsss.types import BACKGROUND, IGNORE, MOST_CLASSES


def grow_regions(
    scores: Float[Tensor, "... K H W"],
    seeds: Integer[Tensor, "... height width"],
    tags: Bool[Tensor, "... C"] | None,
    *,
    foreground_threshold: float = 0.85,
    background_threshold: float = 0.99,
) -> Integer[Tensor, "... height width"]:
    """Grow seeds into the confident pixels that are connected to them.

    A pixel is confident if its best score among background and present classes strictly exceeds the threshold of that
    class. Connected components (8-connected) are computed on the seeds overwritten by the confident pixels; a component
    is kept only if it holds a seed of its own class. All seeds keep their class in the result, so seeds of absent
    classes remain but do not grow. A single component labelling serves all classes of all images.

    Args:
        scores: Class probabilities in [0, 1] of one image (K, H, W) or a batch (B, K, H, W), channel 0 = background;
            any float dtype.
        seeds: Labels in 0 … K - 1, ``IGNORE`` where unlabelled; (H, W) or (B, H, W), any integer dtype that can
            represent 255.
        tags: Presence of the C = K - 1 foreground classes, (C,) or (B, C); None if unknown: every class may grow.
        foreground_threshold: Value that the score of a foreground class must exceed, in the dtype of the scores.
        background_threshold: Value that the score of the background must exceed.

    Returns:
        Labels, ``IGNORE`` where nothing grew: shape, dtype and device of the seeds, which are not modified.

    Raises:
        ValueError: If a shape, a seed, a score or a threshold is invalid.
    """
    _check_shapes(scores, seeds, tags)
    planted = _seed_bytes(seeds, classes=scores.shape[-3])
    thresholds = _class_thresholds(scores, foreground_threshold, background_threshold)
    if not planted.size:
        return seeds.clone()
    if scores.ndim == 3:
        scores, tags = scores[None], None if tags is None else tags[None]
    labels = _confident_labels(scores, tags, thresholds).reshape(planted.shape)
    np.copyto(labels, planted, where=labels == IGNORE)
    grown = np.where(_seeded_components(labels, planted), labels, planted)
    np.copyto(grown, planted, where=planted != IGNORE)
    return torch.from_numpy(grown).reshape(seeds.shape).to(device=seeds.device, dtype=seeds.dtype)


def _check_shapes(scores: Tensor, seeds: Tensor, tags: Tensor | None) -> None:
    if scores.ndim not in (3, 4) or not scores.is_floating_point():
        kind = f"{scores.dtype} of shape {tuple(scores.shape)}"
        raise ValueError(f"scores must be floats of shape (K, H, W) or (B, K, H, W), got {kind}")
    *batch, classes, height, width = scores.shape
    if not 1 <= classes <= MOST_CLASSES + 1:
        raise ValueError(f"scores must have 1 to {MOST_CLASSES + 1} classes, got {classes}")
    if seeds.shape != (*batch, height, width):
        raise ValueError(f"seeds must have shape {(*batch, height, width)} like the scores, got {tuple(seeds.shape)}")
    if tags is not None and tags.shape != (*batch, classes - 1):
        raise ValueError(f"tags must have shape {(*batch, classes - 1)} for these scores, got {tuple(tags.shape)}")


def _seed_bytes(seeds: Tensor, *, classes: int) -> np.ndarray:
    """Move the seeds to the CPU as bytes, shape (B, H, W)."""
    values = (seeds if seeds.ndim == 3 else seeds[None]).cpu().numpy()
    if not (np.issubdtype(values.dtype, np.integer) and np.iinfo(values.dtype).max >= IGNORE):
        raise ValueError(f"seeds must be integers of a dtype that can represent {IGNORE}, got {seeds.dtype}")
    wrong = ((values < 0) | (values >= classes)) & (values != IGNORE)
    if wrong.any():
        raise ValueError(f"seeds must lie in 0 … {classes - 1} or be {IGNORE}, got {values[wrong][0]}")
    return values.astype(np.uint8, copy=False)


def _class_thresholds(scores: Tensor, foreground: float, background: float) -> np.ndarray:
    """List the threshold of each class, rounded like the scores: a score of 0.85 does not exceed 0.85."""
    for name, value in (("foreground_threshold", foreground), ("background_threshold", background)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must lie in [0, 1], got {value}")
    thresholds = torch.full(scores.shape[-3:-2], foreground, dtype=scores.dtype)
    thresholds[BACKGROUND] = background
    return _as_array(thresholds)


def _as_array(values: Tensor) -> np.ndarray:
    """Move values to the CPU; NumPy has no bfloat16 and is slow with float16."""
    values = values.detach().cpu()
    return (values.float() if values.element_size() < 4 else values).numpy()


def _confident_labels(scores: Tensor, tags: Tensor | None, thresholds: np.ndarray) -> np.ndarray:
    """Label the confident pixels of each image, the others ``IGNORE``, shape (B, H * W)."""
    values = _as_array(scores.flatten(2))
    present = np.ones(scores.shape[:2], dtype=np.bool_)
    if tags is not None:
        present[:, 1:] = tags.cpu().numpy()
    return np.stack([_label_confident(*one, thresholds) for one in zip(values, present, strict=True)])


def _label_confident(scores: np.ndarray, present: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Label the pixels of one image, (K, N) scores to (N,) labels; of equal scores the first class wins.

    Plain NumPy, one image at a time: the image stays in the cache, and no threads are started for microseconds of work.
    An argmax across rows is slow, so the maximum is taken over ranks of the rows that attain it, the first class
    highest.
    """
    candidates = np.flatnonzero(present)
    scores = scores if len(candidates) == len(scores) else scores[candidates]
    best = scores.max(axis=0)
    if np.isnan(best).any():
        raise ValueError("scores must be numbers, got NaN")
    ranks = np.arange(len(candidates), 0, -1, dtype=np.uint8)
    bids = (scores == best).view(np.uint8) * ranks[:, None]
    labels = candidates[len(candidates) - bids.max(axis=0)]
    return np.where(best > thresholds[labels], labels, IGNORE).astype(np.uint8)


def _seeded_components(labels: np.ndarray, planted: np.ndarray) -> np.ndarray:
    """Mark the labelled pixels whose connected component holds a seed of its own class, shape (B, H, W)."""
    batch, height, width = labels.shape
    # one picture for the whole batch: an empty row below each image separates them, and IGNORE + 1 wraps around to 0,
    # which is background for cc3d
    picture = np.zeros((batch, height + 1, width), dtype=np.uint8)
    np.add(labels, 1, out=picture[:, :height])
    components, count = cc3d.connected_components(picture.reshape(-1, width), connectivity=8, return_N=True)
    components = components.reshape(picture.shape)[:, :height]
    seeded = np.zeros(count + 1, dtype=np.bool_)
    seeded[components[labels == planted]] = True
    return seeded[components]
