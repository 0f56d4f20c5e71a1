"""Boxes: an axis-aligned rectangle around each object (Dai et al., ICCV 2015; Khoreva et al., CVPR 2017)."""

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool
from torch import Tensor

from wsss.annotations.base import Size, WeakLabel, nothing_known
from wsss.errors import DataError
from wsss.functional.box_tightness import ignore_missed_lines
from wsss.functional.grabcut import cores_of_cut, cut_boxes, reset_shrunk_segments
from wsss.types import BACKGROUND, IGNORE, Image, LabelMap


@dataclass(frozen=True)
class Box:
    """A rectangle around one object, half-open: ``bottom`` and ``right`` lie beyond its last pixel.

    Attributes:
        label: Class of the object.
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
        complete: Whether every object of every class has a box, so that pixels outside of all boxes are background.
        grabcut: Whether objects are segmented inside their boxes by GrabCut; else only pixels outside are settled.
        core: Depth inside a segmented object from which its pixels are settled, in halves of the box's shorter side;
            other pixels of the box get likely labels. 0 settles the whole object.
        reset_below: Share of its box below which an object's pseudo labels are replaced by the whole box.
        tight: Whether pseudo labels ignore the background in rows and columns of a box without a pixel of its class.
    """

    boxes: tuple[Box, ...]
    complete: bool = True
    grabcut: bool = True
    core: float = 0.0
    # excluded from repr, so that an annotation's hash does not depend on its later use
    reset_below: float = field(default=0.5, repr=False)
    tight: bool = field(default=False, repr=False)

    kind = "boxes"
    losses = ("partial_cross_entropy", "box_tightness", "tree_energy")

    def labels(self) -> frozenset[int]:
        """Classes of the boxes."""
        return frozenset(box.label for box in self.boxes)

    def seeds(self, image: Image) -> LabelMap | None:
        """Background outside of all boxes, and GrabCut segments inside; smaller boxes overwrite larger ones."""
        return self.settle(image)[0]

    def settle(self, image: Image) -> tuple[LabelMap | None, LabelMap | None]:
        """Return the labels of ``seeds``, and GrabCut's segments and background inside boxes as likely labels."""
        size = (image.shape[1], image.shape[2])
        covered, drawn = self._covered(size), nothing_known(size)
        if self.complete:
            drawn[~covered] = BACKGROUND
        if not (self.grabcut and self.boxes):
            return drawn if self.complete or self.boxes else None, None
        cut = cut_boxes(image, self.as_tensor())
        cores = cores_of_cut(cut, self.as_tensor(), self.core)
        # boxes that do not cover all objects say nothing about the background
        said = covered & ((cut != BACKGROUND) | self.complete)
        return torch.where(cores == IGNORE, drawn, cores), torch.where(said, cut, IGNORE)

    def allowed(self, size: Size, classes: int) -> Bool[Tensor, "K H W"] | None:
        """Background anywhere, and each class inside of its boxes; None unless every object has a box."""
        if not self.complete:
            return None
        marks = torch.zeros(classes + 1, *size, dtype=torch.bool)
        marks[BACKGROUND] = True
        for box in self.boxes:
            marks[box.label, box.top : box.bottom, box.left : box.right] = True
        return marks

    def mend(self, labels: LabelMap) -> LabelMap:
        """Fill boxes of which too little is left (SDI), and ignore lines of tight boxes that miss their class."""
        if not self.complete:
            return labels
        if self.reset_below:
            labels = reset_shrunk_segments(labels, self.as_tensor(), self.reset_below)
        return ignore_missed_lines(labels, self.as_tensor()) if self.tight else labels

    def as_tensor(self) -> Tensor:
        """One row per box, (N, 5) int64: label, top, left, bottom, right; the largest first, in a definite order."""
        rows = [[box.label, box.top, box.left, box.bottom, box.right] for box in self.boxes]
        rows.sort(key=lambda row: (-(row[3] - row[1]) * (row[4] - row[2]), row))
        return torch.tensor(rows, dtype=torch.int64).reshape(-1, 5)

    def without_background(self) -> "Boxes":
        """The same boxes, without the statement that pixels outside are background."""
        return replace(self, complete=False)

    def resized(self, old: Size, new: Size) -> "Boxes":
        """The same boxes for a resized image; each keeps at least one pixel."""
        boxes = []
        for box in self.boxes:
            # all pixels that it touches, and thus at least one
            top, left = box.top * new[0] // old[0], box.left * new[1] // old[1]
            bottom, right = -(-box.bottom * new[0] // old[0]), -(-box.right * new[1] // old[1])
            boxes.append(Box(box.label, top, left, bottom, right))
        return replace(self, boxes=tuple(boxes))

    def check(self, size: Size, classes: int) -> None:
        """Also check that no box is empty, of the background or beyond the image."""
        super().check(size, classes)
        for number, box in enumerate(self.boxes):
            place = f"({box.top}, {box.left}, {box.bottom}, {box.right})"
            if box.label == BACKGROUND:
                raise DataError(
                    f"boxes[{number}] {place} is of label 0, a box holds an object of a class; fix the manifest"
                )
            if not (0 <= box.top < box.bottom <= size[0] and 0 <= box.left < box.right <= size[1]):
                raise DataError(
                    f"boxes[{number}] lies at {place}, it must hold a pixel and lie in an image of {size[0]} rows and "
                    f"{size[1]} columns (top, left, bottom, right; the last two excluded); fix the manifest"
                )

    def _covered(self, size: Size) -> Tensor:
        marks = torch.zeros(size, dtype=torch.bool)
        for box in self.boxes:
            marks[box.top : box.bottom, box.left : box.right] = True
        return marks
