"""Constrain scores and labels to the annotations: pixels with a settled (known) label, and labels ruled out."""

import torch
from jaxtyping import Bool, Float, Int64, Integer
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, adaptive_max_pool2d

from wsss.types import IGNORE

CERTAINTY = 0.99
"""Score of a settled pixel's label; the rest lets a dense CRF correct annotation errors."""


def keep_scores(
    scores: Float[Tensor, "K h w"],
    settled: Integer[Tensor, "H W"] | None,
    allowed: Bool[Tensor, "K H W"] | None,
) -> Float[Tensor, "K h w"]:
    """Set the scores of labels that are ruled out to zero, and raise those of settled labels.

    Args:
        scores: Class probabilities, as large as the image or smaller; they sum to 1, or are all 0.
        settled: Labels of annotated pixels, ``IGNORE`` elsewhere; None if there are none.
        allowed: Labels that are possible at each pixel; None if nothing is ruled out. At coarser resolution, a label is
            possible if it is at any pixel of the cell.

    Returns:
        Scores that sum to 1. Where only labels that are ruled out had a score, the possible ones get uniform scores. At
        coarser resolution, a settled label counts by the share of the cell's pixels that are settled.
    """
    size = (scores.shape[1], scores.shape[2])
    if allowed is not None:
        possible = adaptive_max_pool2d(allowed[None].float(), size)[0]
        kept = scores * possible
        total = kept.sum(dim=0)
        even = possible / possible.sum(dim=0).clamp(min=1)
        scores = torch.where(total > 0, kept / total, even)
    if settled is None:
        return scores
    marks = torch.arange(len(scores), device=settled.device)[:, None, None] == settled.long()
    shares = CERTAINTY * adaptive_avg_pool2d(marks[None].to(scores.dtype), size)[0]
    return scores * (1 - shares.sum(dim=0)) + shares


def confine_cams(cams: Float[Tensor, "C h w"], allowed: Bool[Tensor, "K H W"] | None) -> Float[Tensor, "C h w"]:
    """Set class activation maps to zero where their class is ruled out.

    Args:
        cams: Normalised activations in [0, 1].
        allowed: Labels that are possible at each pixel, K = C + 1; None if nothing is ruled out.

    Returns:
        Maps rescaled to their former maximum, or zero everywhere if no activation is left.
    """
    if allowed is None:
        return cams
    kept = cams * adaptive_max_pool2d(allowed[None, 1:].float(), (cams.shape[1], cams.shape[2]))[0]
    peaks, left = (maps.amax(dim=(1, 2), keepdim=True) for maps in (cams, kept))
    return torch.where(left > 0, kept * (peaks / left), 0)


def coarse_labels(
    labels: Integer[Tensor, "B H W"], size: tuple[int, ...], *, classes: int
) -> Integer[Tensor, "B height width"]:
    """Downsample sparse labels by the majority of labelled pixels in each cell, so that no single label is lost.

    Args:
        labels: Labels below K, ``IGNORE`` where unlabelled.
        size: Rows and columns of the cells.
        classes: Number K of labels.

    Returns:
        A label for each cell, the smallest of equally frequent ones; ``IGNORE`` where no pixel is labelled.

    Raises:
        ValueError: If a label is K or more.
    """
    (batch, *sides), cells = labels.shape, size[0] * size[1]
    image, *places = (labels != IGNORE).nonzero(as_tuple=True)
    # the cell that contains the centre of a pixel
    row, column = ((2 * place + 1) * cut // (2 * side) for place, cut, side in zip(places, size, sides, strict=True))
    known = labels[image, *places].long()
    if known.numel() and int(known.max()) >= classes:
        raise ValueError(f"labels must lie below {classes}, got {int(known.max())}")
    codes = (image * cells + row * size[1] + column) * classes + known
    if batch * cells * classes <= len(codes):
        most, found = torch.bincount(codes, minlength=batch * cells * classes).view(-1, classes).max(dim=1)
        coarse = found.where(most > 0, IGNORE)
    else:
        # few labelled pixels or many classes: a full table would be large and mostly empty
        coarse = _most_frequent(codes, batch * cells, classes)
    return coarse.to(labels.dtype).view(batch, *size)


def _most_frequent(codes: Int64[Tensor, " N"], cells: int, classes: int) -> Int64[Tensor, "{cells}"]:
    """Find the most frequent label of each cell, the smallest of equals, from codes cell × classes + label."""
    codes, counts = torch.unique(codes, return_counts=True)
    order = torch.argsort(counts * classes - codes % classes)
    codes = codes[order[torch.argsort(codes[order] // classes, stable=True)]]
    owners = codes // classes
    last = torch.ones_like(owners, dtype=torch.bool)
    last[:-1] = owners[1:] != owners[:-1]
    found = torch.full((cells,), IGNORE, device=codes.device)
    found[owners[last]] = codes[last] % classes
    return found


def keep_labels(
    labels: Integer[Tensor, "H W"],
    settled: Integer[Tensor, "H W"] | None,
    allowed: Bool[Tensor, "K H W"] | None,
) -> Integer[Tensor, "H W"]:
    """Remove labels that are ruled out, and insert those that are settled.

    Args:
        labels: Labels, ``IGNORE`` where unlabelled.
        settled: Labels of annotated pixels, ``IGNORE`` elsewhere; None if there are none.
        allowed: Labels that are possible at each pixel; None if nothing is ruled out.
    """
    if allowed is not None:
        there = labels != IGNORE
        fits = allowed.gather(0, labels.long().where(there, 0)[None])[0]
        labels = torch.where(there & fits, labels, IGNORE).to(labels.dtype)
    return labels if settled is None else torch.where(settled == IGNORE, labels, settled.to(labels.dtype))
