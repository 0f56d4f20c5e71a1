"""Class activation maps (Zhou et al., CVPR 2016), summed over views and normalised like IRN (Ahn et al., CVPR 2019)."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import conv2d, interpolate

_SMALLEST = 1e-5
"""Added to the maximum, so that a class without any activation stays at zero instead of becoming NaN."""

_STEPS = torch.linspace(0, 1, 101)
"""Quantile levels 0, 0.01, …, 1."""


def class_activation_maps(
    features: Float[Tensor, "B D h w"], weights: Float[Tensor, "C D"]
) -> Float[Tensor, "B C h w"]:
    """Compute class activation maps: the last features of a classifier weighted by the class weights.

    Args:
        features: Input of the classifier's global average pooling.
        weights: Weights of the last linear layer; its bias is not used.

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
        flipped: For each view whether it was mirrored left to right; such views are mirrored back.
        size: Height and width of the output.

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
    """Scale the maps of present classes to a maximum of about 1, and set those of absent classes to zero.

    The map of a class whose presence is unknown is not scaled up to 1: it is divided by the maximum over the present
    classes (over all classes of unknown presence if none is known to be present), or by its own maximum if larger.

    Args:
        cams: Activations; negative ones count as 0.
        present: Which classes are present.
        known: Classes whose presence or absence is known.

    Returns:
        Values in [0, 1] in float32: each map divided by its maximum, or by the shared maximum above, + 1e-5.

    Raises:
        ValueError: If an activation of a class that is not known to be absent is not a finite number.
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
    """Compute the percentiles 0 to 100 of the values of each map."""
    return maps.float().flatten(1).quantile(_STEPS.to(maps.device), dim=1).T


def negative_offsets(
    values: Float[Tensor, "N C 101"], tags: Bool[Tensor, "N C"], quantile: float
) -> Float[Tensor, " C"]:
    """Estimate the noise level of each class's map: a quantile of its values on images without the class.

    On images whose tags exclude a class, every activation of that class is noise. Noise levels differ between classes,
    so one global threshold is too low for some of them unless the noise level is subtracted first.

    Args:
        values: The ``percentiles`` of the maps of several images; all images have equal weight, whatever their size.
        tags: Presence of the classes in these images.
        quantile: Quantile of the values on images without the class, in [0, 1].

    Returns:
        Value to subtract from the maps of each class before normalisation; 0 for a class that is present in all images.
    """
    lacking = (values[~tags[:, label], label].flatten().cpu() for label in range(values.shape[1]))
    found = [float(np.quantile(absent.numpy(), quantile)) if absent.numel() else 0.0 for absent in lacking]
    return torch.tensor(found, device=values.device)


def subtract_offsets(maps: Float[Tensor, "C H W"], offsets: Float[Tensor, " C"]) -> Float[Tensor, "C H W"]:
    """Subtract its noise level from each map, but at most half of its maximum, so that a present class keeps a map.

    Args:
        maps: Activations >= 0, not normalised.
        offsets: Result of ``negative_offsets``.

    Returns:
        Activations >= 0.
    """
    halves = maps.amax(dim=(1, 2)) / 2
    return (maps - torch.minimum(offsets, halves)[:, None, None]).relu()
