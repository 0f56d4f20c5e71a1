"""Simulated labels, drawn once a process: studies open the same images again and again, and drawing takes its time."""

from collections import OrderedDict

from wsss.annotations import Annotation
from wsss.annotations.settings import LabelSettings
from wsss.data.base import digest
from wsss.types import LabelMap, Tags

KEPT = 1 << 14
"""So many images' labels are remembered, a few kilobytes each at most; the oldest are forgotten first."""

_drawn: OrderedDict[bytes, Annotation] = OrderedDict()


def draw_labels(
    truth: LabelMap, tags: Tags | None, classes: int, settings: LabelSettings, *, seed: int, background: bool
) -> Annotation:
    """Label an image as ``simulate`` does, or remember it; what comes out is the same.

    Args:
        truth: True labels.
        tags: Tags that the data set gives; None takes those of the truth.
        classes: Number C of foreground classes.
        settings: Kinds of labels, how they are given, and with which mistakes; nothing else of them counts.
        seed: Where chance comes from.
        background: Whether label 0 is a class.
    """
    # slow to load, and most runs draw no labels
    from wsss.annotations.simulate import simulate

    # what the drawing doesn't see can't tell one drawing from another: budgets share theirs
    seen = LabelSettings(
        kinds=settings.kinds,
        points=settings.points,
        scribbles=settings.scribbles,
        boxes=settings.boxes,
        noise=settings.noise,
    )
    told = None if tags is None else tags.tolist()
    key = digest(
        truth.numpy().tobytes(), repr((tuple(truth.shape), truth.dtype, told, classes, seen, seed, background)).encode()
    )
    if key not in _drawn:
        _drawn[key] = simulate(truth, tags, classes, seen.kinds, seen, seed=seed, background=background)
        while len(_drawn) > KEPT:
            _drawn.popitem(last=False)
    return _drawn[key]
