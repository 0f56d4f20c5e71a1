"""Boxes: an upright rectangle around each thing (Dai et al., ICCV 2015; Khoreva et al., CVPR 2017)."""

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool
from torch import Tensor

from wsss.annotations.base import Size, WeakLabel, nothing_known
from wsss.errors import DataError
from wsss.functional.grabcut import cores_of_cut, cut_boxes, reset_shrunk_segments
from wsss.types import BACKGROUND, IGNORE, Image, LabelMap


@dataclass(frozen=True)
class Box:
    """A rectangle around one thing, half-open: ``bottom`` and ``right`` lie beyond its last pixel.

    Attributes:
        label: Class of the thing.
        top: First row.
        left: First column.
        bottom: One more than the last row.
        right: One more than the last column.
    """

    label: int
    top: int
    left: int
    bottom: int
    right: int

    @property
    def area(self) -> int:
        """Pixels inside."""
        return (self.bottom - self.top) * (self.right - self.left)


@dataclass(frozen=True)
class Boxes(WeakLabel):
    """All boxes of one image.

    Attributes:
        boxes: The boxes, in any order.
        complete: Whether every thing of every class has one, so that what lies outside of all is background.
        grabcut: Whether things are cut out of their boxes by their colours; else only what lies outside is settled.
        core: How deep inside of a thing that was cut a pixel is settled, in halves of its box's smaller side; of the
            others in a box the cut is likely. 0 settles all that was cut out.
        reset_below: Share of its box below which a thing's pseudo labels are replaced by the whole box.
    """

    boxes: tuple[Box, ...]
    complete: bool = True
    grabcut: bool = True
    core: float = 0.0
    # no part of what was given: what was given has the same hash whatever is made of it later
    reset_below: float = field(default=0.5, repr=False)

    kind = "boxes"
    losses = ("partial_cross_entropy", "box_tightness", "tree_energy")

    def labels(self) -> frozenset[int]:
        """Classes of the boxes."""
        return frozenset(box.label for box in self.boxes)

    def seeds(self, image: Image) -> LabelMap | None:
        """Background outside of all boxes, and what GrabCut cuts out inside; smaller boxes on top."""
        return self.settle(image)[0]

    def settle(self, image: Image) -> tuple[LabelMap | None, LabelMap | None]:
        """Settle what ``seeds`` says; what GrabCut takes for a thing, or for the background in a box, is likely."""
        size = (image.shape[1], image.shape[2])
        covered, drawn = self._covered(size), nothing_known(size)
        if self.complete:
            drawn[~covered] = BACKGROUND
        if not (self.grabcut and self.boxes):
            return drawn if self.complete or self.boxes else None, None
        cut = cut_boxes(image, self.as_tensor())
        cores = cores_of_cut(cut, self.as_tensor(), self.core)
        # boxes that leave things over say nothing of the background
        said = covered & ((cut != BACKGROUND) | self.complete)
        return torch.where(cores == IGNORE, drawn, cores), torch.where(said, cut, IGNORE)

    def allowed(self, size: Size, classes: int) -> Bool[Tensor, "K H W"] | None:
        """Background anywhere, and each class inside of its boxes; nothing is ruled out unless all things have one."""
        if not self.complete:
            return None
        marks = torch.zeros(classes + 1, *size, dtype=torch.bool)
        marks[BACKGROUND] = True
        for box in self.boxes:
            marks[box.label, box.top : box.bottom, box.left : box.right] = True
        return marks

    def mend(self, labels: LabelMap) -> LabelMap:
        """Fill the boxes of which too little is left, where all things have one (SDI)."""
        if not (self.complete and self.reset_below):
            return labels
        return reset_shrunk_segments(labels, self.as_tensor(), self.reset_below)

    def as_tensor(self) -> Tensor:
        """One row for each box, (N, 5) int64: label, top, left, bottom, right; the largest first, in whatever order."""
        rows = [[box.label, box.top, box.left, box.bottom, box.right] for box in self.boxes]
        rows.sort(key=lambda row: (-(row[3] - row[1]) * (row[4] - row[2]), row))
        return torch.tensor(rows, dtype=torch.int64).reshape(-1, 5)

    def without_background(self) -> "Boxes":
        """The same boxes, which say nothing of what lies outside."""
        return replace(self, complete=False)

    def resized(self, old: Size, new: Size) -> "Boxes":
        """The same boxes in an image that was shrunk or enlarged; each keeps a pixel."""
        boxes = []
        for box in self.boxes:
            # all pixels that it touches, and so at least one
            top, left = box.top * new[0] // old[0], box.left * new[1] // old[1]
            bottom, right = -(-box.bottom * new[0] // old[0]), -(-box.right * new[1] // old[1])
            boxes.append(Box(box.label, top, left, bottom, right))
        return replace(self, boxes=tuple(boxes))

    def check(self, size: Size, classes: int) -> None:
        """Refuse boxes that are empty, of the background or beyond the image, besides what no kind may name."""
        super().check(size, classes)
        for box in self.boxes:
            place = f"({box.top}, {box.left}, {box.bottom}, {box.right})"
            if box.label == BACKGROUND:
                raise DataError(f"box {place} is of label 0, a box holds a thing of a class; mend the manifest")
            if not (0 <= box.top < box.bottom <= size[0] and 0 <= box.left < box.right <= size[1]):
                raise DataError(
                    f"a box lies at {place}, it must hold a pixel and lie in an image of {size[0]} rows and {size[1]} "
                    f"columns (top, left, bottom, right; the last two excluded); mend the manifest"
                )

    def _covered(self, size: Size) -> Tensor:
        marks = torch.zeros(size, dtype=torch.bool)
        for box in self.boxes:
            marks[box.top : box.bottom, box.left : box.right] = True
        return marks
