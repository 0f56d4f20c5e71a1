"""What labels cost: seconds of a person's work, as the literature measured them.

On PASCAL VOC 2012 an image shows 1.5 of 20 classes and 2.8 things on average. Bearman et al. (What's the Point, ECCV
2016) count one second to decide whether a class is there. Of the classes that are, the first click takes 2.4 seconds
and each further one 0.9, a scribble ("squiggle") 10.9; an outline takes 79 seconds a thing (Lin et al., Microsoft
COCO, ECCV 2014). What is drawn for a class takes the place of its second, since whoever draws it has decided that it
is there:

    ==================  =================================  =======
    tags                20 × 1                              20.0 s
    a point a class     18.5 × 1 + 1.5 × 2.4                22.1 s
    a point a thing     18.5 × 1 + 1.5 × 2.4 + 1.3 × 0.9    23.3 s
    scribbles           18.5 × 1 + 1.5 × 10.9               34.9 s
    full masks          18.5 × 1 + 2.8 × 79                239.7 s
    ==================  =================================  =======

A class gets one scribble in these figures. Whoever draws several strokes, as the simulator does on what is large, pays
for each.

A box takes 7 seconds by its four extreme points (Papadopoulos et al., Extreme clicking, ICCV 2017), a fifth of the 35
that the corners take in the usual way (Su et al., HCOMP 2012); counted like the others, boxes cost 18.5 × 1 + 2.8 × 7 =
38.1 seconds an image.
"""

from dataclasses import dataclass, fields

import cc3d
import numpy as np

from wsss.annotations.annotation import Annotation
from wsss.annotations.masks import Mask
from wsss.annotations.points import Points
from wsss.errors import require
from wsss.types import BACKGROUND, IGNORE

_SMALLEST_OUTLINE = 1e-3
"""Pieces of a mask below this share of the image are specks at its borders; nobody outlined them."""


@dataclass(frozen=True, kw_only=True)
class CostSettings:
    """Seconds that a person spends on labels; the defaults are those of the literature."""

    class_decision: float = 1.0
    """Seconds to decide whether one class is in an image (Bearman et al., ECCV 2016)."""
    first_click: float = 2.4
    """Seconds to find a class and click on it once (Bearman et al., ECCV 2016)."""
    further_click: float = 0.9
    """Seconds for each further click on the same class (Bearman et al., ECCV 2016)."""
    stroke: float = 10.9
    """Seconds for one stroke of a scribble (Bearman et al., ECCV 2016)."""
    box: float = 7.0
    """Seconds for one box by its extreme points (Papadopoulos et al., ICCV 2017); the usual way takes 35."""
    outline: float = 79.0
    """Seconds to outline one thing of a full mask (Lin et al., ECCV 2014)."""

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            require(0 <= value < float("inf"), entry.name, "must be a number of seconds, not negative", value)


def annotation_seconds(annotation: Annotation, classes: int, costs: CostSettings) -> float:
    """Count the seconds that a person spent on the labels of one image.

    What was drawn adds up over kinds. To it comes one decision for each class that was decided and not drawn: for all
    classes where it is known of each whether it is there (complete tags, complete boxes, a mask that knows a pixel),
    otherwise only for those that were named. So tags beside points cost nothing more than points that are complete.

    The background is clicked and drawn like any class, but nobody decides about it, and masks and boxes leave it over.

    Args:
        annotation: What a person gave.
        classes: Number C of foreground classes.
        costs: Seconds for each act.
    """
    drawn: frozenset[int] = frozenset()
    seconds = 0.0
    if annotation.points is not None:
        drawn |= annotation.points.labels()
        seconds += _clicking(annotation.points, costs)
    if annotation.scribbles is not None:
        drawn |= annotation.scribbles.labels()
        seconds += costs.stroke * len(annotation.scribbles.strokes)
    if annotation.boxes is not None:
        drawn |= annotation.boxes.labels()
        seconds += costs.box * len(annotation.boxes.boxes)
    if annotation.masks is not None:
        drawn |= annotation.masks.labels()
        seconds += costs.outline * count_outlines(annotation.masks)
    decided = frozenset(range(1, classes + 1)) if annotation.decided else annotation.named()
    return seconds + costs.class_decision * len(decided - drawn)


def count_outlines(mask: Mask) -> int:
    """Count the things that a mask outlines: connected pieces of one class, as a mask does not tell things apart.

    Things of one class that touch count as one, a thing that is cut in two as two. Pieces smaller than a thousandth of
    the image count only where their class has no larger one.
    """
    labels = mask.to_labels().numpy()
    things = np.where(labels == IGNORE, BACKGROUND, labels)
    if not things.any():
        return 0
    pieces, count = cc3d.connected_components(things, connectivity=8, return_N=True)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
    label_of = np.zeros(count + 1, dtype=np.int64)
    label_of[pieces.ravel()] = things.ravel()
    outlined = label_of[1:][sizes >= _SMALLEST_OUTLINE * labels.size]
    return outlined.size + len(set(label_of[1:].tolist()) - set(outlined.tolist()))


def _clicking(points: Points, costs: CostSettings) -> float:
    first = len(points.labels())
    return costs.first_click * first + costs.further_click * (len(points.points) - first)
