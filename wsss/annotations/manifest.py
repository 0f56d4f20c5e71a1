"""Labels of many images, independent of their file format."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from wsss.annotations.annotation import Annotation
from wsss.annotations.base import Size
from wsss.annotations.entries import LARGEST
from wsss.errors import DataError
from wsss.types import BACKGROUND_NAME, MOST_CLASSES

Classes = tuple[str, ...]
"""Names of the foreground classes; label k is the name at k - 1."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Labels of many images, and the class names that define their numbers.

    Attributes:
        classes: Names of the foreground classes; label k is ``classes[k - 1]``.
        annotations: Annotation of each image, by its name.
        sizes: Height and width of images, where known.
    """

    classes: Classes
    annotations: Mapping[str, Annotation]
    sizes: Mapping[str, Size] = field(default_factory=dict)

    def check(self, name: str, places: Mapping[str, str] | None = None) -> None:
        """Check the labels for consistency.

        If the size of an image is unknown, only negative coordinates are rejected.

        Args:
            name: Name of the labels in error messages, such as their file in quotes.
            places: The same for each image, for formats with one file per image.

        Raises:
            DataError: If a class name is invalid, or an annotation has an unknown class or does not fit its image.
        """
        check_classes(self.classes, name)
        for image, annotation in self.annotations.items():
            if not image.strip():
                raise DataError(f"{name}, image '{image}', has no name; name it as the data set does")
            try:
                annotation.check(self._size(image, annotation), len(self.classes))
            except DataError as error:
                where = (places or {}).get(image, name)
                raise DataError(f"{where}, image '{image}', is wrong: {error}") from None

    def counts(self) -> dict[str, int]:
        """Number of images with each kind of label; kinds that do not occur are left out."""
        kinds = [kind for annotation in self.annotations.values() for kind in annotation.kinds]
        return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}

    def outline(self) -> str:
        """Numbers of images, classes and kinds, as part of a sentence."""
        carried = ", ".join(f"{kind} of {count}" for kind, count in self.counts().items())
        return f"{len(self.annotations)} images, {len(self.classes)} classes; {carried or 'nothing is labelled'}"

    def _size(self, image: str, annotation: Annotation) -> Size:
        if image in self.sizes:
            return self.sizes[image]
        return (LARGEST, LARGEST) if annotation.masks is None else annotation.masks.size


def check_classes(classes: Classes, name: str) -> None:
    """Check a list of class names.

    Args:
        classes: Names of the foreground classes.
        name: Source of the list, for error messages.

    Raises:
        DataError: If there are none or too many, or a name is empty, reserved or duplicated.
    """
    if not 1 <= len(classes) <= MOST_CLASSES:
        raise DataError(f"{name} lists {len(classes)} classes, there must be 1 to {MOST_CLASSES}; fix the list")
    for place, label in enumerate(classes, 1):
        if not label.strip() or label == BACKGROUND_NAME:
            raise DataError(f"{name} calls class {place} '{label}', that is not a class name; rename it")
        if classes.index(label) < place - 1:
            raise DataError(f"{name} names two classes '{label}'; rename one of them")


def same_but_for(before: Mapping[str, Annotation], after: Mapping[str, Annotation]) -> dict[str, int]:
    """Count the images in which each part of an annotation has changed.

    Args:
        before: Annotations by image.
        after: Annotations by image; a missing image counts as an empty annotation.

    Returns:
        Number of images by name of the part; unchanged parts are left out.
    """
    parts = tuple(Annotation.__dataclass_fields__)
    nothing = Annotation()
    changed = dict.fromkeys(parts, 0)
    for image, annotation in before.items():
        other = after.get(image, nothing)
        for part in parts:
            changed[part] += getattr(annotation, part) != getattr(other, part)
    return {part: count for part, count in changed.items() if count}
