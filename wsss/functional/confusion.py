"""Pooled confusion matrices and the scores computed from them (Everingham et al., IJCV 2015)."""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float64, Int32, Int64
from torch import Tensor

from wsss.types import IGNORE, LabelMap

Confusion = Int64[Tensor, "K K+1"]
"""Pixel counts: truth in rows, prediction in columns, the last column for pixels left `IGNORE`."""

Confusions = Int64[Tensor, "N K K+1"]
"""One `Confusion` for each of N images."""

Tally = Float64[Tensor, "*n 3 K"]
Scores = Float64[Tensor, "*n"]

Convention = Literal["union", "truth", "zero"]


def confusion_matrix(labels: LabelMap, truth: LabelMap, *, classes: int) -> Confusion:
    """Count the pixels of each pair of true and predicted label.

    Args:
        labels: Predicted labels; ``IGNORE`` where there is none, which counts as a miss for the true class.
        truth: Ground truth; pixels that are ``IGNORE`` here do not count.
        classes: Number K of labels, background included.

    Returns:
        Pixel counts, truth in rows, prediction in columns; the last column is for ``IGNORE``.

    Raises:
        ValueError: If the maps differ in shape, or hold a label that is neither below K nor ``IGNORE``.
    """
    if labels.shape != truth.shape:
        raise ValueError(f"labels must have the shape of the truth {tuple(truth.shape)}, got {tuple(labels.shape)}")
    byte = 256
    pairs = _bytes("truth", truth) * byte + _bytes("labels", labels)
    counts = torch.bincount(pairs.flatten(), minlength=byte * byte).view(byte, byte)
    allowed = torch.tensor([*range(classes), IGNORE], device=counts.device)
    chosen = counts[allowed][:, allowed]
    if chosen.sum() != pairs.numel():
        _refuse_labels(counts, classes)
    return chosen[:-1]


def _bytes(name: str, labels: LabelMap) -> Int32[Tensor, "H W"]:
    if labels.dtype != torch.uint8 and labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) <= IGNORE:
        raise ValueError(f"{name} must lie in 0 … {IGNORE}, got {int(labels.min())} … {int(labels.max())}")
    return labels.int()


def _refuse_labels(counts: Int64[Tensor, "256 256"], classes: int) -> None:
    for name, seen in (("truth", counts.sum(dim=1)), ("labels", counts.sum(dim=0))):
        wrong = seen[classes:IGNORE].nonzero().flatten() + classes
        if len(wrong):
            raise ValueError(f"{name} must be below {classes} or {IGNORE}, got {int(wrong[0])}")


def class_iou(confusion: Confusion) -> list[float | None]:
    """Measure the intersection over union of each class.

    Args:
        confusion: Pixel counts, truth in rows, prediction in columns.

    Returns:
        A share in [0, 1] for each class; None for a class seen in neither truth nor prediction.
    """
    right, true, given = _tally(confusion).unbind()
    union = true + given - right
    return [float(part / whole) if whole else None for part, whole in zip(right, union, strict=True)]


def mean_iou(confusion: Confusion, *, convention: Convention = "union") -> float:
    """Average the intersection over union of the classes.

    Args:
        confusion: Pixel counts, truth in rows, prediction in columns.
        convention: Which classes count: ``union`` those seen in truth or prediction,
                ``truth`` those seen in truth, ``zero`` all of them, with an IoU of 0 for absent ones.

    Returns:
        A share in [0, 1].

    Raises:
        ValueError: If no class counts.
    """
    return _share(_mean_ious(_tally(confusion), convention), "mean IoU", "class")


def pixel_accuracy(confusion: Confusion) -> float:
    """Measure the share of pixels with ground truth whose label is correct.

    Raises:
        ValueError: If no pixel has a truth.
    """
    return _share(_pixel_accuracies(_tally(confusion)), "pixel accuracy", "pixel with a truth")


def coverage(confusion: Confusion) -> float:
    """Measure the share of pixels with ground truth that have a label.

    Raises:
        ValueError: If no pixel has a truth.
    """
    return _share(_coverages(_tally(confusion)), "coverage", "pixel with a truth")


def precision(confusion: Confusion) -> float:
    """Measure the share of labelled pixels with ground truth whose label is correct.

    Raises:
        ValueError: If no pixel with a truth is labelled.
    """
    return _share(_precisions(_tally(confusion)), "precision", "labelled pixel")


def bootstrap_interval(
    confusions: Confusions,
    *,
    statistic: str = "mean_iou",
    convention: Convention = "union",
    samples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Estimate a 95 % confidence interval of a pooled score over random samples of images.

    Images are resampled with replacement and their confusions pooled (percentile bootstrap, Efron, 1979).

    Args:
        confusions: One confusion for each image.
        statistic: ``mean_iou``, ``pixel_accuracy``, ``coverage`` or ``precision``.
        convention: Which classes the mean IoU counts, see ``mean_iou``; ignored by the other statistics.
        samples: Number of bootstrap samples.
        seed: Seed of the random samples.

    Returns:
        Lower and upper bound of the central 95 % of the scores, shares in [0, 1].

    Raises:
        ValueError: If the score is undefined in every sample.
    """
    tally = _pool(_draws(len(confusions), samples, seed), confusions)
    scores = _mean_ious(tally, convention) if statistic == "mean_iou" else STATISTICS[statistic](tally)
    return _middle(scores, statistic)


def paired_ratio_interval(
    confusions: Confusions, reference: Confusions, *, samples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Estimate a 95 % confidence interval of one mean IoU in percent of another over random samples of images.

    Args:
        confusions: One confusion for each image.
        reference: The confusions of the same images, in the same order, whose mean IoU is 100 percent.
        samples: Number of bootstrap samples, the same ones for both.
        seed: Seed of the random samples.

    Returns:
        Lower and upper bound of the central 95 % of the ratios, in percent.

    Raises:
        ValueError: If the two differ in shape, or the reference is 0 in every sample.
    """
    if confusions.shape != reference.shape:
        expected, given = tuple(reference.shape), tuple(confusions.shape)
        raise ValueError(f"confusions must have the shape of the reference {expected}, got {given}")
    weights = _draws(len(confusions), samples, seed)
    reached, whole = (_mean_ious(_pool(weights, images)) for images in (confusions, reference))
    return _middle(100 * reached / whole.where(whole > 0, torch.nan), "percent of the reference")


def _tally(confusions: Int64[Tensor, "*n K K+1"]) -> Tally:
    """Count the correct, true and predicted pixels of each class: all that the scores depend on."""
    given = confusions[..., :-1]
    return torch.stack([given.diagonal(dim1=-2, dim2=-1), confusions.sum(dim=-1), given.sum(dim=-2)], dim=-2).double()


def _mean_ious(tally: Tally, convention: Convention = "union") -> Scores:
    right, true, given = tally.unbind(dim=-2)
    union = true + given - right
    counting = {"union": union > 0, "truth": true > 0, "zero": torch.ones_like(union, dtype=torch.bool)}[convention]
    return (right / union.clamp(min=1) * counting).sum(dim=-1) / counting.sum(dim=-1)


def _pixel_accuracies(tally: Tally) -> Scores:
    right, true, _ = tally.sum(dim=-1).unbind(dim=-1)
    return right / true


def _coverages(tally: Tally) -> Scores:
    _, true, given = tally.sum(dim=-1).unbind(dim=-1)
    return given / true


def _precisions(tally: Tally) -> Scores:
    right, _, given = tally.sum(dim=-1).unbind(dim=-1)
    return right / given


STATISTICS: dict[str, Callable[[Tensor], Tensor]] = {
    "pixel_accuracy": _pixel_accuracies,
    "coverage": _coverages,
    "precision": _precisions,
}
"""Statistics that `bootstrap_interval` supports, beside the mean IoU."""


def _share(score: Float64[Tensor, ""], name: str, counted: str) -> float:
    if score.isnan():
        raise ValueError(f"{name} needs at least one {counted}, got none")
    return float(score)


def _draws(images: int, samples: int, seed: int) -> Float64[Tensor, "{samples} {images}"]:
    """Return how often each image occurs in each bootstrap sample."""
    if images == 0:
        raise ValueError("confusions must be of at least one image, got none")
    drawn = torch.randint(images, (samples, images), generator=torch.Generator().manual_seed(seed))
    codes = drawn + torch.arange(samples)[:, None] * images
    return torch.bincount(codes.flatten(), minlength=samples * images).view(samples, images).double()


def _pool(weights: Float64[Tensor, "n N"], confusions: Confusions) -> Float64[Tensor, "n 3 K"]:
    """Sum the counts over the images of each sample; exact, as float64 represents integers up to 2^53."""
    return (weights.to(confusions.device) @ _tally(confusions).flatten(1)).view(len(weights), 3, -1)


def _middle(scores: Float64[Tensor, " n"], name: str) -> tuple[float, float]:
    """Return the bounds of the central 95 % of the scores that are not NaN."""
    scores = scores[~scores.isnan()]
    if len(scores) == 0:
        raise ValueError(f"{name} needs something that counts, got nothing in any draw")
    low, high = scores.quantile(scores.new_tensor([0.025, 0.975])).tolist()
    return low, high
