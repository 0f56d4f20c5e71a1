"""Cache of simulated labels: studies open the same images repeatedly, and simulating labels is slow."""

from collections import OrderedDict

from wsss.annotations import Annotation
from wsss.annotations.settings import LabelSettings
from wsss.data.base import digest
from wsss.types import LabelMap, Tags

KEPT = 1 << 14
"""Maximum number of cached annotations, a few kilobytes each at most; the oldest are dropped first."""

_drawn: OrderedDict[bytes, Annotation] = OrderedDict()


def draw_labels(
    truth: LabelMap, tags: Tags | None, classes: int, settings: LabelSettings, *, seed: int, background: bool
) -> Annotation:
    """Simulate the labels of an image by ``simulate``, or return them from the cache.

    Args:
        truth: Ground truth.
        tags: Tags of the data set; None takes those of the ground truth.
        classes: Number C of foreground classes.
        settings: Kinds, placement and errors of the labels; other settings are ignored.
        seed: Seed of the random streams.
        background: Whether label 0 is a class.
    """
    # slow to import, and most runs simulate no labels
    from wsss.annotations.simulate import simulate

    # leave out settings without effect on the simulation, so that different budgets share cached labels
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
