"""Common interface of all kinds of weak labels, so that stages do not depend on the kind."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Bool
from torch import Tensor

from wsss.errors import DataError
from wsss.types import IGNORE, Image, LabelMap, Segments

KINDS = ("tags", "points", "scribbles", "boxes", "masks")
"""Kinds of labels; masks are full segmentations, for a few images among weakly labelled ones."""

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
        """Labels that are present in the image; may include the background."""

    def seeds(self, image: Image) -> LabelMap | None:
        """Labels of pixels whose class it fixes, (H, W) uint8 with ``IGNORE`` elsewhere; None if there are none."""
        return None

    def settle(self, image: Image) -> tuple[LabelMap | None, LabelMap | None]:
        """Return the labels of pixels whose class it fixes, as ``seeds`` does, and likely but uncertain labels.

        Both are returned together because they may share computations.
        """
        return self.seeds(image), None

    def allowed(self, size: Size, classes: int) -> Bool[Tensor, "K H W"] | None:
        """Mark the labels that are possible at each pixel, background first; None if it rules nothing out."""
        return None

    def mend(self, labels: LabelMap) -> LabelMap:
        """Restore parts of it that pseudo labels have lost, (H, W)."""
        return labels

    def ties(self, size: Size) -> Segments | None:
        """Number the regions whose pixels share one label, from 1; 0 elsewhere, None if there are none.

        A region is drawn in one go: a stroke, or the disc of a click. Its pixels are settled with the same label, which
        no later stage changes. All superpixels that it enters get its label when the region graph is fitted and
        prototypes are computed. The other pixels of such a superpixel are not tied: a stroke that only touches it says
        nothing about the rest. Nor are two regions of one label tied to each other.
        """
        return None

    def without_background(self) -> "WeakLabel":
        """Return the label for a data set whose label 0 is not a class."""
        return self

    def resized(self, old: Size, new: Size) -> "WeakLabel":
        """The same label for a resized image."""
        return self

    def check(self, size: Size, classes: int) -> None:
        """Check the label against the image and the classes.

        Args:
            size: Height and width of the image.
            classes: Number of foreground classes.

        Raises:
            DataError: If a label is not one of the data set's, or a position lies outside of the image; the message
                does not name the image, the caller adds that.
        """
        wrong = [label for label in sorted(self.labels()) if not 0 <= label <= classes]
        if wrong:
            raise DataError(f"{self.kind} name label {wrong[0]}, labels must be 0 to {classes}; fix the manifest")


def moved(place: int, old: int, new: int) -> int:
    """Index of the pixel that contains the centre of a given pixel after a side was resized."""
    return min((2 * place + 1) * new // (2 * old), new - 1)


def same_shape(one: Size, other: Size) -> bool:
    """Whether two sizes differ only by resizing (up to rounding), not by rotation or cropping."""
    slack = max(sum(one), sum(other))
    return abs(one[0] * other[1] - one[1] * other[0]) <= slack


def nothing_known(size: Size) -> LabelMap:
    """A label map without any label, (H, W) uint8."""
    return torch.full(size, IGNORE, dtype=torch.uint8)
