"""Class activation maps (Zhou et al., CVPR 2016), summed over views and normalised like IRN (Ahn et al., CVPR 2019)."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import conv2d, interpolate

_SMALLEST = 1e-5
"""Added to the maximum, so that a class without any activation stays at zero."""

_STEPS = torch.linspace(0, 1, 101)
"""From the least to the greatest value in hundredths of the pixels."""


def class_activation_maps(
    features: Float[Tensor, "B D h w"], weights: Float[Tensor, "C D"]
) -> Float[Tensor, "B C h w"]:
    """Weigh the last features of a classifier by the weights of each class.

    Args:
        features: What the classifier averages before its last layer.
        weights: Weights of that layer; a bias has no place in a map.

    Returns:
        Activations >= 0 in the dtype of the features, not normalised.
    """
    return conv2d(features, weights.to(features.dtype)[:, :, None, None]).relu()


def merge_views(
    views: Sequence[Float[Tensor, "B C _ _"]], flipped: Sequence[bool], size: tuple[int, int]
) -> Float[Tensor, "B C height width"]:
    """Sum the activations of several views of the same images.

    Args:
        views: Activations >= 0, one tensor per scale and flip, each at its own resolution.
        flipped: For each view whether it was mirrored left to right; it is mirrored back.
        size: Height and width of the sum.

    Returns:
        Sums in float32.

    Raises:
        ValueError: If there is no view, or not one flag per view.
    """
    if not views or len(views) != len(flipped):
        raise ValueError(f"views must be one or more, each with a flag, got {len(views)} and {len(flipped)} flags")
    total = torch.zeros(*views[0].shape[:2], *size, device=views[0].device)
    for view, mirrored in zip(views, flipped, strict=True):
        upright = (view.flip(-1) if mirrored else view).float()
        total += interpolate(upright, size, mode="bilinear", align_corners=False)
    return total


def normalise_cams(
    cams: Float[Tensor, "C H W"], present: Bool[Tensor, " C"], known: Bool[Tensor, " C"]
) -> Float[Tensor, "C H W"]:
    """Scale the maps of the present classes to a maximum of about 1, and silence the absent ones.

    A class that may be there or not is no louder than the classifier believes: its map is measured by the greatest
    activation of the classes that are present, or of all that may be where none is known to be.

    Args:
        cams: Activations; negative ones count as 0.
        present: Which classes are present.
        known: Of which classes it is known whether they are; the others may be.

    Returns:
        Shares in [0, 1] in float32: each map divided by its maximum, or by what it is measured by, + 1e-5.

    Raises:
        ValueError: If an activation of a class that is not absent is not a finite number.
    """
    present, known = present.to(cams.device), known.to(cams.device)
    cams = cams.float().relu().masked_fill((known & ~present)[:, None, None], 0)
    peaks = cams.amax(dim=(1, 2))
    if not peaks.isfinite().all():
        raise ValueError(f"cams must be finite, got a maximum of {peaks[~peaks.isfinite()][0].item()}")
    sure = peaks[known & present]
    loudest = (sure if len(sure) else peaks).amax()
    measures = torch.where(known, peaks, peaks.maximum(loudest))
    return cams / (measures[:, None, None] + _SMALLEST)


def percentiles(maps: Float[Tensor, "C H W"]) -> Float[Tensor, "C 101"]:
    """Sum up the values of each map, from its least to its greatest in steps of a hundredth of its pixels."""
    return maps.float().flatten(1).quantile(_STEPS.to(maps.device), dim=1).T


def negative_offsets(
    values: Float[Tensor, "N C 101"], tags: Bool[Tensor, "N C"], quantile: float
) -> Float[Tensor, " C"]:
    """Find how far each class's map rises where the class is known to be absent.

    Tags that rule a class out are sure knowledge about every pixel of the image, and what a classifier answers there is
    its noise. Classes differ in it, so one threshold for all of them is too low for some unless it is taken off.

    Args:
        values: The ``percentiles`` of the maps of several images; images count alike, whatever their size.
        tags: Presence of the classes in these images.
        quantile: Share of the values on absent classes that the offset is to reach, in [0, 1].

    Returns:
        What to subtract from the maps of each class before they are normalised; 0 for a class that no image lacks.
    """
    lacking = (values[~tags[:, label], label].flatten().cpu() for label in range(values.shape[1]))
    found = [float(np.quantile(absent.numpy(), quantile)) if absent.numel() else 0.0 for absent in lacking]
    return torch.tensor(found, device=values.device)


def subtract_offsets(maps: Float[Tensor, "C H W"], offsets: Float[Tensor, " C"]) -> Float[Tensor, "C H W"]:
    """Take off each map what counts as none, but never more than half of its peak: a class that is present has a map.

    Args:
        maps: Activations >= 0, not normalised.
        offsets: What ``negative_offsets`` found.

    Returns:
        Activations >= 0.
    """
    halves = maps.amax(dim=(1, 2)) / 2
    return (maps - torch.minimum(offsets, halves)[:, None, None]).relu()
