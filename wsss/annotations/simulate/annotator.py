"""Simulated annotator: draws labels of all kinds from ground truth."""

from collections.abc import Collection

import numpy as np
import torch

from wsss.annotations.annotation import Annotation
from wsss.annotations.masks import Mask
from wsss.annotations.settings import LabelSettings
from wsss.annotations.simulate.boxes import simulate_boxes
from wsss.annotations.simulate.points import simulate_points
from wsss.annotations.simulate.scribbles import simulate_scribbles
from wsss.annotations.simulate.tags import simulate_tags
from wsss.annotations.simulate.things import find_ground, find_things
from wsss.types import BACKGROUND, IGNORE, LabelMap, Tags


def simulate(
    truth: LabelMap,
    tags: Tags | None,
    classes: int,
    kinds: Collection[str],
    settings: LabelSettings,
    seed: int,
    background: bool,
) -> Annotation:
    """Simulate an annotation of an image from its ground truth.

    Tags are those of the data set, whatever the ground truth says; all other kinds show classes of the ground truth,
    and a full mask shows all of it. The simulated annotator claims completeness, mistaken or not: the classes named are
    all classes, and outside of boxes there is only background. But an image without any ground truth stays unknown, and
    so does one of which only tags are known if tags are not requested. A missed class is missing from all kinds but the
    mask, and a wrong class is in the tags alone.

    Each kind, object and type of error has its own random stream, so they do not affect each other, and errors made at
    some rate are also made at any higher rate.

    Args:
        truth: Ground truth, ``IGNORE`` where unknown; unknown pixels get labels only through the width of a pen or
            errors.
        tags: Tags of the data set; None takes those of the ground truth.
        classes: Number C of foreground classes.
        kinds: Kinds of labels to simulate.
        settings: Placement and errors of labels; kinds, source, masks, budget and seed are ignored.
        seed: Seed of the random streams; different for each image.
        background: Whether label 0 is a class; otherwise it is unknown, and boxes say nothing about pixels outside.

    Returns:
        An annotation of the given kinds.
    """
    labels = truth.numpy().astype(np.uint8)
    if not background:
        labels[labels == BACKGROUND] = IGNORE
    named, missing = simulate_tags(labels, tags, classes, settings.noise, seed=seed)
    things = tuple(thing for thing in find_things(labels) if thing.label not in missing)
    ground = find_ground(labels)
    known = bool((labels != IGNORE).any())
    noise, size = settings.noise, (truth.shape[0], truth.shape[1])
    return Annotation(
        tags=named if "tags" in kinds else None,
        points=simulate_points(labels, things, ground, settings.points, missed=noise.missed_clicks, seed=seed)
        if "points" in kinds
        else None,
        scribbles=simulate_scribbles(things, ground, size, settings.scribbles, jitter=noise.stroke_jitter, seed=seed)
        if "scribbles" in kinds
        else None,
        boxes=simulate_boxes(
            things, size, settings.boxes, jitter=noise.box_jitter, seed=seed, complete=background and known
        )
        if "boxes" in kinds
        else None,
        masks=Mask.of(torch.from_numpy(labels)) if "masks" in kinds else None,
        tags_complete=known or (tags is not None and "tags" in kinds),
    )
