"""Cutting things out of boxes by their colours (Rother et al., SIGGRAPH 2004; Khoreva et al., CVPR 2017)."""

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor

from wsss.types import BACKGROUND, IGNORE, Image, LabelMap

MARGIN = 0.5
"""How far the crop around a box reaches beyond each side, as a share of the box; its colours are the background's."""

LONGEST_SIDE = 200
"""Larger crops are cut at this size in pixels.

In smaller ones the cut, which shuns long borders, loses thin parts: on images of 320 pixels mIoU fell from 70.2 to 66.9
at 160. On images of 500 pixels 320 gave two points more, in 2.4 times the time.
"""

LEAST_CUT = 0.15
"""A cut that overlaps with its box less than this (intersection over union) has failed."""

_ROUNDS = 1
"""Times that GrabCut learns the colours and cuts; more of them took longer and were no nearer to the truth."""

_SMALLEST = 16
"""Boxes of fewer pixels are not cut: two mixtures of five colours can't be learnt from them."""

_SURE_BACKGROUND, _PROBABLE_THING = 0, 3
"""What GrabCut calls a pixel; the odd ones belong to the thing."""


def cut_boxes(image: Image, boxes: Int64[Tensor, "N 5"]) -> UInt8[Tensor, "H W"]:
    """Label what the colours inside of each box tell apart from those around it, by SDI's rules.

    What lies outside of a box is background to its thing; only what lies in another box of the same class may be of
    its colours, so that a flock is not cut out of itself. Where a cut overlaps with less than 15 % of its box, and
    where there is nothing around a box or next to nothing inside, the whole box is taken.

    The same image and boxes give the same labels, always.

    Args:
        image: RGB bytes.
        boxes: Label, top, left, bottom, right of each, half-open; later ones lie on top: give the smallest last.

    Returns:
        Labels; ``BACKGROUND`` where no box's thing is.
    """
    pixels = image.permute(1, 2, 0).contiguous().numpy()
    rows = boxes.tolist()
    labels = torch.zeros(image.shape[1:], dtype=torch.uint8)
    for label, top, left, bottom, right in rows:
        alike = [others for own, *others in rows if own == label]
        thing = _cut_box(pixels, (top, left, bottom, right), alike)
        labels[top:bottom, left:right][torch.from_numpy(thing)] = label
    return labels


def cores_of_cut(cut: LabelMap, boxes: Int64[Tensor, "N 5"], depth: float) -> LabelMap:
    """Keep of what was cut out of boxes what lies deep inside of the things: cuts are wrong at their borders first.

    Of the background between things and their boxes nothing is kept.

    Args:
        cut: What ``cut_boxes`` found.
        boxes: The boxes that it was given.
        depth: How far a pixel must lie from all pixels of another label, in halves of its box's smaller side.

    Returns:
        Labels of the pixels of things that are deep enough; ``IGNORE`` elsewhere.
    """
    # takes a third of a second to load, and most runs know no boxes
    from scipy.ndimage import distance_transform_edt

    labels = cut.numpy()
    cores = np.full_like(labels, IGNORE)
    for own in np.unique(labels[labels != BACKGROUND]).tolist():
        mine = labels == own
        # depth 0 asks for no distance, and where nothing else is there is none
        away = distance_transform_edt(mine) if depth and not mine.all() else np.where(mine, np.inf, 0)
        for label, top, left, bottom, right in boxes.tolist():
            if own == label:
                inside = np.s_[top:bottom, left:right]
                deep = mine[inside] & (away[inside] > depth * min(bottom - top, right - left) / 2)
                cores[inside][deep] = own
    return torch.from_numpy(cores)


def reset_shrunk_segments(labels: LabelMap, boxes: Int64[Tensor, "N 5"], least_share: float = 0.5) -> LabelMap:
    """Fill the boxes of which too little is left in labels that were learnt or refined (SDI, between its rounds).

    First, a class outside of its own boxes becomes background. Then each box of which its class covers too small a
    share is filled with it. What boxes of other classes hide of a box counts neither as covered nor as uncovered, and
    is not filled.

    Args:
        labels: Labels of a segmenter or a CRF, ``IGNORE`` where nothing is known.
        boxes: Label, top, left, bottom, right of each, half-open; later ones lie on top: give the smallest last.
        least_share: Share of a box that must be covered, in [0, 1].

    Returns:
        New labels; ``IGNORE`` stays inside of boxes that are not filled.
    """
    kept = torch.full_like(labels, BACKGROUND)
    on_top = torch.full_like(labels, BACKGROUND)
    rows = boxes.tolist()
    for label, top, left, bottom, right in rows:
        on_top[top:bottom, left:right] = label
        inside = labels[top:bottom, left:right]
        fits = (inside == label) | (inside == IGNORE)
        kept[top:bottom, left:right] = torch.where(fits, inside, kept[top:bottom, left:right])
    filled = kept.clone()
    for label, top, left, bottom, right in rows:
        visible = on_top[top:bottom, left:right] == label
        # what boxes beside it were filled with does not count
        if (kept[top:bottom, left:right][visible] == label).sum() < least_share * visible.sum():
            filled[top:bottom, left:right][visible] = label
    return filled


def _cut_box(pixels: NDArray[np.uint8], box: tuple[int, int, int, int], alike: list[list[int]]) -> NDArray[np.bool_]:
    """Mark the thing in a box, in the box's own frame; all of it where GrabCut can't tell."""
    top, left, bottom, right = box
    height, width = bottom - top, right - left
    whole = np.ones((height, width), dtype=bool)
    down, across = _margin(height), _margin(width)
    first_row, first_column = max(0, top - down), max(0, left - across)
    crop = pixels[first_row : bottom + down, first_column : right + across]
    marks = np.full(crop.shape[:2], _SURE_BACKGROUND, dtype=np.uint8)
    for upper, leftmost, lower, rightmost in alike:
        rows = slice(max(0, upper - first_row), max(0, lower - first_row))
        marks[rows, max(0, leftmost - first_column) : max(0, rightmost - first_column)] = _PROBABLE_THING
    if height * width < _SMALLEST:
        return whole
    thing = _cut_crop(crop, marks)[top - first_row :, left - first_column :][:height, :width]
    return thing if thing.mean() >= LEAST_CUT else whole


def _cut_crop(crop: NDArray[np.uint8], marks: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Mark the pixels of the crop that go with the probable thing."""
    # as slow to load
    import cv2

    # its clusters are drawn at random, and sums of threads would depend on their number
    cv2.setNumThreads(1)
    cv2.setRNGSeed(0)
    height, width = marks.shape
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    size = (max(1, round(scale * width)), max(1, round(scale * height)))
    small = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
    cut = cv2.resize(marks, size, interpolation=cv2.INTER_NEAREST)
    if len(np.unique(cut)) < 2:
        # GrabCut wants some pixels of both sides
        return marks == _PROBABLE_THING
    cv2.grabCut(small, cut, None, np.zeros((1, 65)), np.zeros((1, 65)), _ROUNDS, cv2.GC_INIT_WITH_MASK)
    thing = (cut % 2).astype(np.float32)
    return cv2.resize(thing, (width, height), interpolation=cv2.INTER_LINEAR) > 0.5


def _margin(side: int) -> int:
    return max(1, round(MARGIN * side))
