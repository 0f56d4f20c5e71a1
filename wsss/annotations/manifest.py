"""The labels of many images, whatever file they come from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from wsss.annotations.annotation import Annotation
from wsss.annotations.base import Size
from wsss.annotations.entries import LARGEST
from wsss.errors import DataError
from wsss.types import MOST_CLASSES

BACKGROUND_NAME = "background"
"""What label 0 is called in manifests; no class may be called so."""

Classes = tuple[str, ...]
"""Names of the foreground classes; label k is the name at k - 1."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Labels of many images, and the classes by which they are numbered.

    Attributes:
        classes: Names of the foreground classes; label k is ``classes[k - 1]``.
        annotations: What is known about each image, by its name.
        sizes: Height and width of the images of which they are known.
    """

    classes: Classes
    annotations: Mapping[str, Annotation]
    sizes: Mapping[str, Size] = field(default_factory=dict)

    def check(self, name: str, places: Mapping[str, str] | None = None) -> None:
        """Refuse what can't be.

        Where the size of an image is unknown, a place may be anywhere but at negative coordinates.

        Args:
            name: What to call it in messages, such as its file in quotes.
            places: The same for each image, where images have files of their own.

        Raises:
            DataError: If a class has no name of its own, or an annotation names none of them or can't be in its image.
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
        """How many images carry each kind of label, kinds that occur only."""
        kinds = [kind for annotation in self.annotations.values() for kind in annotation.kinds]
        return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}

    def outline(self) -> str:
        """How many images and classes there are, and what the images carry, as part of a sentence."""
        carried = ", ".join(f"{kind} of {count}" for kind, count in self.counts().items())
        return f"{len(self.annotations)} images, {len(self.classes)} classes; {carried or 'nothing is labelled'}"

    def _size(self, image: str, annotation: Annotation) -> Size:
        if image in self.sizes:
            return self.sizes[image]
        return (LARGEST, LARGEST) if annotation.masks is None else annotation.masks.size


def check_classes(classes: Classes, name: str) -> None:
    """Refuse lists of classes by which nothing can be numbered.

    Args:
        classes: Names of the foreground classes.
        name: Who lists them, for the message.

    Raises:
        DataError: If there are none or too many, or a name is empty, reserved or there twice.
    """
    if not 1 <= len(classes) <= MOST_CLASSES:
        raise DataError(f"{name} lists {len(classes)} classes, there must be 1 to {MOST_CLASSES}; mend the list")
    for place, label in enumerate(classes, 1):
        if not label.strip() or label == BACKGROUND_NAME:
            raise DataError(f"{name} calls class {place} '{label}', that is no name of a class; rename it")
        if classes.index(label) < place - 1:
            raise DataError(f"{name} names two classes '{label}'; rename one of them")


def same_but_for(before: Mapping[str, Annotation], after: Mapping[str, Annotation]) -> dict[str, int]:
    """Count in how many images each part of an annotation has changed.

    Args:
        before: Annotations by image.
        after: Annotations by image; an image that is missing has lost all that it had.

    Returns:
        Number of images by the name of the part, parts that changed only.
    """
    parts = tuple(Annotation.__dataclass_fields__)
    nothing = Annotation()
    changed = dict.fromkeys(parts, 0)
    for image, annotation in before.items():
        other = after.get(image, nothing)
        for part in parts:
            changed[part] += getattr(annotation, part) != getattr(other, part)
    return {part: count for part, count in changed.items() if count}
