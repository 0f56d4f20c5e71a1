"""Tags: which classes are in an image, and nothing of where they are."""

from dataclasses import dataclass

from wsss.annotations.base import WeakLabel
from wsss.errors import DataError
from wsss.types import BACKGROUND


@dataclass(frozen=True)
class ImageTags(WeakLabel):
    """Classes that a person named.

    Attributes:
        present: Labels of the classes, in rising order, without the background.
    """

    present: tuple[int, ...]

    kind = "tags"

    def labels(self) -> frozenset[int]:
        """The classes that were named."""
        return frozenset(self.present)

    def check(self, size: tuple[int, int], classes: int) -> None:
        """Refuse the background as a tag, besides what no kind may name."""
        super().check(size, classes)
        if BACKGROUND in self.present:
            raise DataError("tags name label 0, the background is no tag; take it out of the manifest")
