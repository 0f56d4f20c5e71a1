"""Someone who labels an image: what they notice, and what they give of it."""

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
    """Label an image as a person would who sees its true labels.

    Tags are those that the data set gives, whatever the truth says; all other kinds show classes of the truth, and a
    full mask shows all of it. Someone who labels believes to have named everything, mistaken or not, so the classes
    named are all there are, and outside of boxes there is nothing. But an image of which nobody knows anything remains
    unknown, and so does one of which only tags are known that are not to be given. A class that is overlooked is in no
    kind but the mask, and one that is imagined is in the tags alone.

    Each kind, each thing and each sort of mistake draws from a stream of its own, so none moves another, and mistakes
    that are made at some rate are made at any higher one.

    Args:
        truth: True labels, ``IGNORE`` where nobody knows; no label is given to such a pixel unless by the width of a
            pen or by a mistake.
        tags: Tags that the data set gives; None takes those of the truth.
        classes: Number C of foreground classes.
        kinds: Kinds of labels to give.
        settings: How labels are given, and with which mistakes; its kinds, source, masks, budget and seed don't count.
        seed: Where chance comes from; each image has its own.
        background: Whether label 0 is a class; otherwise it is unknown, and boxes say nothing of what lies outside.

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
