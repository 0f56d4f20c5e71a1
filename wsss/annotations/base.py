"""What every kind of weak label can say about an image, so that no stage needs to know the kind."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Bool
from torch import Tensor

from wsss.errors import DataError
from wsss.types import IGNORE, Image, LabelMap, Segments

KINDS = ("tags", "points", "scribbles", "boxes", "masks")
"""The kinds of labels that an image can carry; masks are full ones, for a few images among weakly labelled ones."""

Size = tuple[int, int]
"""Height and width in pixels."""


class WeakLabel(ABC):
    """One kind of label of one image.

    Attributes:
        kind: One of ``KINDS``.
        losses: Names of the training losses that suit the kind, see ``SparseSettings``.
    """

    kind: ClassVar[str]
    losses: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def labels(self) -> frozenset[int]:
        """Labels that it says are in the image; the background may be one of them."""

    def seeds(self, image: Image) -> LabelMap | None:
        """Label the pixels that it settles, (H, W) uint8 with ``IGNORE`` elsewhere; None if it settles none."""
        return None

    def settle(self, image: Image) -> tuple[LabelMap | None, LabelMap | None]:
        """Label the pixels that it settles, as ``seeds`` does, and those of which it makes a label likely, no more.

        The two are asked for together where the same work finds both.
        """
        return self.seeds(image), None

    def allowed(self, size: Size, classes: int) -> Bool[Tensor, "K H W"] | None:
        """Mark the labels that it leaves possible at each pixel, background first; None if it rules nothing out."""
        return None

    def mend(self, labels: LabelMap) -> LabelMap:
        """Take back what pseudo labels have lost of it, (H, W)."""
        return labels

    def ties(self, size: Size) -> Segments | None:
        """Number the regions whose pixels belong together, from 1, each of one label; 0 elsewhere, None without any.

        A region is what a person marked in one go: a stroke, the disc of a click. Its pixels are settled, with the same
        label, and no later stage parts them. All superpixels that it enters, however they cut it, have its label when
        the region graph is fitted and prototypes are made. What else is in such a superpixel isn't tied: a stroke that
        grazes it says nothing of the rest. Nor are two regions of one label tied to each other.
        """
        return None

    def without_background(self) -> "WeakLabel":
        """What is left of it in a data set whose label 0 is no class."""
        return self

    def resized(self, old: Size, new: Size) -> "WeakLabel":
        """The same label of an image that was shrunk or enlarged."""
        return self

    def check(self, size: Size, classes: int) -> None:
        """Refuse what cannot be in an image.

        Args:
            size: Height and width of the image.
            classes: Number of foreground classes.

        Raises:
            DataError: If a label is none of the data set's, or a place lies outside of the image; the message has no
                name of the image, whoever opened it adds that.
        """
        wrong = [label for label in sorted(self.labels()) if not 0 <= label <= classes]
        if wrong:
            raise DataError(f"{self.kind} name label {wrong[0]}, labels must be 0 to {classes}; mend the manifest")


def moved(place: int, old: int, new: int) -> int:
    """The pixel in which the middle of a pixel comes to lie, along a side that was resized."""
    return min((2 * place + 1) * new // (2 * old), new - 1)


def same_shape(one: Size, other: Size) -> bool:
    """Whether two sizes are those of one image, resized to whole pixels; not those of one that was turned or cut."""
    slack = max(sum(one), sum(other))
    return abs(one[0] * other[1] - one[1] * other[0]) <= slack


def nothing_known(size: Size) -> LabelMap:
    """Labels of an image about which nothing is known yet, (H, W) uint8."""
    return torch.full(size, IGNORE, dtype=torch.uint8)
