"""What every published format of labels has in common."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from wsss.annotations.annotation import Annotation
from wsss.annotations.base import Size
from wsss.annotations.manifest import BACKGROUND_NAME, Classes, Manifest, check_classes
from wsss.errors import DataError, nearest
from wsss.types import BACKGROUND

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""The classes of VOC 2012 in the order of their labels."""


@dataclass(frozen=True)
class Source:
    """A file, read already.

    Attributes:
        path: The file, as messages name it.
        image: The image that it is about, where a format has a file for each.
        content: What is in it: text, or what a reader of the format's bytes made of them.
        size: Height and width of that image, where they were found elsewhere; what the file says goes before it.
        sizes: The same of all images, where a format has one file for all.
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
    """One published format.

    Attributes:
        kinds: Kinds of labels that it holds.
        read: Makes a manifest of files, given the names of the classes or None: then they come from the file, or are
            those of VOC where the format implies them.
        write: Gives the files of a manifest: what each is about (the image, or nothing where one file holds all) and
            its text; None where the format can't be written.
        recognises: Whether bytes look like it.
        suffix: Ending of its files.
        per_image: Whether it has a file for each image.
    """

    kinds: tuple[str, ...]
    read: Callable[[Iterable[Source], Classes | None], Manifest]
    write: Callable[[Manifest], Iterator[tuple[str, str]]] | None
    recognises: Callable[[bytes], bool]
    suffix: str
    per_image: bool = False


def only_source(sources: Iterable[Source], what: str) -> Source:
    """The one file of a format that has one for all images.

    Raises:
        DataError: If there are more.
    """
    first, *others = sources
    if others:
        raise DataError(f"{others[0].name} is one file more than {what} has, which is one for all images; give one")
    return first


def number_classes(names: Mapping[str, str], classes: Classes | None) -> dict[str, int]:
    """Find the label of each name that files use.

    Args:
        names: The names, and where each was seen first.
        classes: The classes there are; if not given, those of VOC where they are enough, else the names themselves in
            alphabetical order.

    Returns:
        Labels of all classes, in rising order, the background's last.

    Raises:
        DataError: If a name is no class.
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
    """Put a manifest together and check it.

    Args:
        numbers: Labels of all classes, as ``number_classes`` gives them.
        annotations: What is known about each image.
        sizes: Height and width of the images of which they are known.
        name: What was read, for messages.
        places: The file of each image in quotes, where images have files of their own.
    """
    classes = tuple(label for label in numbers if label != BACKGROUND_NAME)
    manifest = Manifest(classes=classes, annotations=annotations, sizes=sizes)
    manifest.check(name, places)
    return manifest


def carriers(manifest: Manifest, kind: str) -> Iterator[tuple[str, Annotation]]:
    """The images that carry a kind of labels, in the order of their names, with what is left without other kinds."""
    for image in sorted(manifest.annotations):
        if kind in manifest.annotations[image].kinds:
            yield image, manifest.annotations[image].only((kind,))
