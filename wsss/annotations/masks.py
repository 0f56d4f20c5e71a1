"""Masks: the label of every pixel, for a few images among weakly labelled ones (semi-supervision)."""

from dataclasses import dataclass
from itertools import groupby

import torch
from jaxtyping import Bool
from torch import Tensor

from wsss.annotations.base import Size, WeakLabel
from wsss.errors import DataError
from wsss.types import BACKGROUND, IGNORE, Image, LabelMap


@dataclass(frozen=True)
class Mask(WeakLabel):
    """The label of every pixel of one image, run-length encoded so that it can be compared, hashed and written as text.

    Attributes:
        size: Height and width.
        runs: Label and length of each run of pixels, row by row from the top left; ``IGNORE`` where unknown.
    """

    size: Size
    runs: tuple[tuple[int, int], ...]

    kind = "masks"
    losses = ("partial_cross_entropy",)

    @classmethod
    def of(cls, labels: LabelMap) -> "Mask":
        """Run-length encode a label map."""
        runs = ((int(label), len(list(run))) for label, run in groupby(labels.flatten().tolist()))
        return cls((labels.shape[0], labels.shape[1]), tuple(runs))

    def to_labels(self) -> LabelMap:
        """Decode the label map, (H, W) uint8."""
        labels = torch.tensor([label for label, _ in self.runs], dtype=torch.uint8)
        return labels.repeat_interleave(torch.tensor([length for _, length in self.runs])).reshape(self.size)

    def labels(self) -> frozenset[int]:
        """Labels that occur in the mask."""
        return frozenset(label for label, _ in self.runs if label != IGNORE)

    def seeds(self, image: Image) -> LabelMap:
        """Every known pixel is settled."""
        return self.to_labels()

    def allowed(self, size: Size, classes: int) -> Bool[Tensor, "K H W"]:
        """Each pixel allows its own label only; any label where it is unknown."""
        labels = self.to_labels().long()
        marks = torch.arange(classes + 1)[:, None, None] == labels
        return marks | (labels == IGNORE)

    def without_background(self) -> "Mask":
        """The same mask with label 0 replaced by unknown."""
        return Mask(self.size, tuple((IGNORE if label == BACKGROUND else label, length) for label, length in self.runs))

    def resized(self, old: Size, new: Size) -> "Mask":
        """The mask for a resized image, by nearest neighbour."""
        rows, columns = (
            ((torch.arange(after) + 0.5) * before / after).long() for before, after in zip(old, new, strict=True)
        )
        return Mask.of(self.to_labels()[rows][:, columns])

    def check(self, size: Size, classes: int) -> None:
        """Also check that the mask has the size of the image."""
        super().check(size, classes)
        if self.size != size or sum(length for _, length in self.runs) != size[0] * size[1]:
            raise DataError(
                f"the mask has {self.size[0]} × {self.size[1]} pixels and runs over "
                f"{sum(length for _, length in self.runs)}, the image has {size[0]} × {size[1]}; give its own mask"
            )
