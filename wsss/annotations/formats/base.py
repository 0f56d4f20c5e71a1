"""Common parts of all published label formats."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from wsss.annotations.annotation import Annotation
from wsss.annotations.base import Size
from wsss.annotations.manifest import Classes, Manifest, check_classes
from wsss.errors import DataError, nearest
from wsss.types import BACKGROUND, BACKGROUND_NAME

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""The classes of VOC 2012 in the order of their labels."""


@dataclass(frozen=True)
class Source:
    """The content of a file.

    Attributes:
        path: The file, as shown in messages.
        image: The image that it describes, for formats with one file per image.
        content: Its text, or, for binary formats, the parsed content.
        size: Height and width of that image from another source; a size in the file takes precedence.
        sizes: The same for all images, for formats with one file for all.
    """

    path: str
    image: str
    content: Any
    size: Size | None = None
    sizes: Mapping[str, Size] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The file in quotes."""
        return f"'{self.path}'"


@dataclass(frozen=True, kw_only=True)
class Format:
    """A published label format.

    Attributes:
        kinds: Kinds of labels that it can hold.
        read: Reads a manifest from files, given the class names or None: then they are taken from the file, or are
            those of VOC where the format implies them.
        write: Yields the files of a manifest: the image that each describes (empty where one file holds all) and its
            text; None if the format cannot be written.
        recognises: Whether bytes look like the format.
        suffix: File name suffix.
        per_image: Whether there is one file per image.
    """

    kinds: tuple[str, ...]
    read: Callable[[Iterable[Source], Classes | None], Manifest]
    write: Callable[[Manifest], Iterator[tuple[str, str]]] | None
    recognises: Callable[[bytes], bool]
    suffix: str
    per_image: bool = False


def only_source(sources: Iterable[Source], what: str) -> Source:
    """Return the single file of a format that has one for all images.

    Raises:
        DataError: If there are more.
    """
    first, *others = sources
    if others:
        raise DataError(f"{others[0].name} is one file more than {what} has, which is one for all images; give one")
    return first


def number_classes(names: Mapping[str, str], classes: Classes | None) -> dict[str, int]:
    """Assign a label to each class name used in files.

    Args:
        names: The names, and where each occurred first.
        classes: The allowed classes; if None, those of VOC if they suffice, else the names themselves in alphabetical
            order.

    Returns:
        Labels of all classes, in ascending order, the background's last.

    Raises:
        DataError: If a name is not a class.
    """
    used = {name: where for name, where in names.items() if name != BACKGROUND_NAME}
    known = classes or (VOC_CLASSES if set(used) <= set(VOC_CLASSES) else tuple(sorted(used)))
    unknown = next((name for name in used if name not in known), None)
    if unknown is not None:
        raise DataError(f"{used[unknown]} is '{unknown}', it must be one of the classes; {nearest(unknown, known)}")
    check_classes(known, f"{next(iter(used.values()), 'the file')}, the list of classes,")
    return {name: label for label, name in enumerate(known, 1)} | {BACKGROUND_NAME: BACKGROUND}


def finished(
    numbers: Mapping[str, int],
    annotations: Mapping[str, Annotation],
    sizes: Mapping[str, Size],
    name: str,
    places: Mapping[str, str] | None = None,
) -> Manifest:
    """Create a manifest and check it.

    Args:
        numbers: Labels of all classes, from ``number_classes``.
        annotations: Annotation of each image.
        sizes: Height and width of images, where known.
        name: Name of the input in error messages.
        places: File of each image in quotes, for formats with one file per image.
    """
    classes = tuple(label for label in numbers if label != BACKGROUND_NAME)
    manifest = Manifest(classes=classes, annotations=annotations, sizes=sizes)
    manifest.check(name, places)
    return manifest


def carriers(manifest: Manifest, kind: str) -> Iterator[tuple[str, Annotation]]:
    """Yield the images with a kind of labels, sorted by name, with their annotations restricted to that kind."""
    for image in sorted(manifest.annotations):
        if kind in manifest.annotations[image].kinds:
            yield image, manifest.annotations[image].only((kind,))
