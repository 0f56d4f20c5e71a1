"""Tags: which classes are in an image, without their positions."""

from dataclasses import dataclass

from wsss.annotations.base import WeakLabel
from wsss.errors import DataError
from wsss.types import BACKGROUND


@dataclass(frozen=True)
class ImageTags(WeakLabel):
    """Image-level class labels.

    Attributes:
        present: Labels of the classes, in ascending order, without the background.
    """

    present: tuple[int, ...]

    kind = "tags"

    def labels(self) -> frozenset[int]:
        """The tagged classes."""
        return frozenset(self.present)

    def check(self, size: tuple[int, int], classes: int) -> None:
        """Also check that the background is not a tag."""
        super().check(size, classes)
        if BACKGROUND in self.present:
            raise DataError("tags name label 0, the background is not a tag; remove it of the manifest")
