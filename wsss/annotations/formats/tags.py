"""Image tags as a list: one line per image, its name and then its classes, by number from 1 or by name.

A line names all classes of its image, so a name alone means that no class is present; images without a line are
unknown. Image names, and class names in this list, must not contain blanks.
"""

from collections.abc import Iterable, Iterator

from wsss.annotations.annotation import Annotation
from wsss.annotations.entries import MEND
from wsss.annotations.formats.base import VOC_CLASSES, Format, Source, carriers, finished, number_classes, only_source
from wsss.annotations.manifest import Classes, Manifest
from wsss.annotations.tags import ImageTags
from wsss.errors import DataError, nearest

UNFIT = '<>{}|,;"'
"""Characters that no image name in a list contains; other file types begin lines with them."""


def read(sources: Iterable[Source], classes: Classes | None) -> Manifest:
    """Read the tags of all images.

    Raises:
        DataError: If it is not such a list, or gives classes by number and the class list is unknown.
    """
    source = only_source(sources, "a list of tags")
    known = classes or VOC_CLASSES
    labels = {name: label for label, name in enumerate(known, 1)}
    if classes is not None:
        labels = {str(label): label for label in labels.values()} | labels
    annotations: dict[str, Annotation] = {}
    for number, line in enumerate(source.content.splitlines(), 1):
        image, *words = line.split() or [""]
        where = f"{source.name}, line {number},"
        if image in annotations:
            raise DataError(f"{where} tags image '{image}' once more, an image has one line; join the lines")
        if not _fits(image):
            raise DataError(f"{where} begins with {image[:40]!r}, that is not an image name; {MEND}")
        if image:
            annotations[image] = Annotation(tags=_tags(words, labels, where), tags_complete=True)
    if not annotations:
        raise DataError(f"{source.name} has no line 'image class class …', there must be some; fetch it again")
    return finished(number_classes({}, known), annotations, {}, source.name)


def write(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Write the tags by number, as in data sets with VOC's layout.

    Raises:
        DataError: If the tags of an image are not complete, which the format cannot express, or lack a class that
            another kind names, or its name contains a blank.
    """
    yield "", "".join(_line(image, annotation, manifest) for image, annotation in carriers(manifest, "tags"))


def _fits(image: str) -> bool:
    return image.isprintable() and not set(UNFIT) & set(image)


def _tags(words: list[str], labels: dict[str, int], where: str) -> ImageTags:
    unknown = next((word for word in words if word not in labels), None)
    if unknown is not None and unknown.isdecimal() and "1" not in labels:
        raise DataError(
            f"{where} gives class '{unknown}' by number, numbers need a list of classes; add --classes FILE"
        )
    if unknown is not None:
        cure = f"{nearest(unknown, tuple(labels))} or name the list of classes by --classes FILE"
        raise DataError(f"{where} names '{unknown[:40]}', it must be one of the classes; {cure}")
    tags = [labels[word] for word in words]
    if len(set(tags)) < len(tags):
        raise DataError(f"{where} names a class twice, it must be there once; {MEND}")
    return ImageTags(tuple(sorted(tags)))


def _line(image: str, annotation: Annotation, manifest: Manifest) -> str:
    whole = manifest.annotations[image]
    untagged = sorted(whole.named() - annotation.named())
    if whole.tags_complete and untagged:
        name = manifest.classes[untagged[0] - 1]
        kind = next(label.kind for label in whole.given() if untagged[0] in label.labels())
        raise DataError(
            f"image '{image}' has {kind} of '{name}' and no tag of it, a line of the format 'tags' must name all "
            f"classes of its image; add '{name}' to its tags in the manifest or take the image out"
        )
    if not annotation.tags_complete:
        raise DataError(
            f"image '{image}' has tags that are not complete, the format 'tags' can't say so and means that no other "
            f"class is there; set tags_complete in the manifest or take the image out"
        )
    if image.split() != [image] or not _fits(image):
        raise DataError(
            f"image '{image}' has a blank or one of {UNFIT} in its name, the format 'tags' can't have them; rename it"
        )
    return (
        " ".join([image, *(str(label) for label in sorted(annotation.tags.labels() if annotation.tags else ()))]) + "\n"
    )


def recognises(content: bytes) -> bool:
    """Whether it is plain text, neither JSON nor XML, with several words in some line."""
    start = content.lstrip()
    plain = start[:1] not in b"{[<" and all(byte >= 32 or byte in b"\t\r\n" for byte in start[:1000])
    return plain and any(len(line.split()) > 1 for line in start.splitlines())


TAGS = Format(kinds=("tags",), read=read, write=write, recognises=recognises, suffix=".txt")
