"""Weak labels of one image: tags, points, scribbles, boxes, full masks, and any mix of them."""

from wsss.annotations.annotation import Annotation
from wsss.annotations.base import KINDS, WeakLabel
from wsss.annotations.boxes import Box, Boxes
from wsss.annotations.masks import Mask
from wsss.annotations.points import Point, Points
from wsss.annotations.scribbles import Scribbles, Stroke
from wsss.annotations.tags import ImageTags

__all__ = [
    "KINDS",
    "Annotation",
    "Box",
    "Boxes",
    "ImageTags",
    "Mask",
    "Point",
    "Points",
    "Scribbles",
    "Stroke",
    "WeakLabel",
]
