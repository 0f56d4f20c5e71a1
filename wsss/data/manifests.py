"""Files of labels: the manifest of a data set, and other published formats."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from wsss import console
from wsss.annotations.annotation import Annotation
from wsss.annotations.base import Size, same_shape
from wsss.annotations.codec import decode, encode
from wsss.annotations.formats import FORMATS, VOC_CLASSES, Source, recognise
from wsss.annotations.formats.cues import GRID
from wsss.annotations.manifest import Classes, Manifest, same_but_for
from wsss.data.cues import CueFiles
from wsss.data.files import find_images, read_content
from wsss.data.images import image_size
from wsss.errors import DataError, nearest
from wsss.store import write_atomically

CUE_OPTIONS = ("FILE", "--ids", "--grid")
"""Command line options for the cues, their list and their grid."""


def read_manifest(path: Path, classes: Classes) -> Manifest:
    """Read a manifest for a data set.

    Args:
        path: The file, as written by `wsss data import`.
        classes: Names of the data set's foreground classes; the manifest's are matched by name.

    Returns:
        The annotation of each image, by its name, and the size at which it was annotated, where known; label k is
        ``classes[k - 1]``.

    Raises:
        DataError: If the file is missing or invalid, or names a class that the data set lacks.
    """
    return decode(_text(path, _content(path)), classes, name=f"'{path}'")


def write_manifest(
    path: Path, annotations: Mapping[str, Annotation], classes: Classes, sizes: Mapping[str, Size] | None = None
) -> None:
    """Write a manifest atomically; equal labels always give the same bytes.

    Args:
        path: The file.
        annotations: Annotation of each image, by its name.
        classes: Names of the foreground classes.
        sizes: Height and width of images, where known.

    Raises:
        DataError: If an annotation is invalid.
        StoreError: If the file cannot be written.
    """
    write_atomically(path, encode(annotations, classes, sizes).encode())


def import_labels(
    path: Path,
    format: str | None = None,
    *,
    classes: Classes | None = None,
    images: Path | None = None,
    ids: Path | None = None,
    grid: int | None = None,
) -> Manifest:
    """Read labels in any of the published formats.

    Args:
        path: The file, or the folder of files for a format with one file per image.
        format: One of ``FORMATS``; detected from the content if None.
        classes: Names of the foreground classes, for files without them; VOC's where the format implies them.
        images: Folder of the images; image shapes are checked against them, and sizes are taken from them if the file
            has none. Cues are read only for images in it.
        ids: The list that assigns cues to images; for cues only.
        grid: Points along a side of the cues' grid, 41 if None; for cues only.

    Raises:
        DataError: If the file is missing or invalid, its format cannot be detected or does not support an option, or
            none of its images is in the folder.
    """
    if grid is not None and grid < 2:
        raise DataError(f"a grid of cues has {grid} points along its side, it must have at least 2; fix --grid")
    name = _known(format) if format is not None else _recognised(path)
    for option, value in {"--ids": ids, "--grid": grid}.items():
        if value is not None and name != "cues":
            raise DataError(f"{option} is for cues only, '{path}' is of the format '{name}'; leave {option} out")
    sizes = _sizes(images)
    if name == "cues":
        files = CueFiles(path, _given(path, ids), GRID if grid is None else grid, CUE_OPTIONS)
        sources = _cue_sources(files, sizes, classes or VOC_CLASSES)
    elif FORMATS[name].per_image:
        sources = _image_sources(path, FORMATS[name].suffix, sizes)
    else:
        sources = iter([Source(str(path), "", _text(path, _content(path)), sizes=sizes)])
    manifest = FORMATS[name].read(sources, classes)
    if not manifest.annotations:
        raise DataError(f"'{path}' has no labels of any image; give a file or a folder that has some")
    if images is not None:
        _compare(manifest, sizes, path, images)
    # the annotated images may have had another size than now; positions refer to the annotated ones
    known = {image: sizes[image] for image in manifest.annotations if image in sizes} | dict(manifest.sizes)
    whole = Manifest(classes=manifest.classes, annotations=manifest.annotations, sizes=known)
    whole.check(f"'{path}'")
    return whole


def export_labels(manifest: Manifest, format: str, out: Path) -> dict[str, int]:
    """Write labels in one of the published formats.

    The result is read back in memory to determine exactly what the format could not represent.

    Args:
        manifest: The labels.
        format: One of ``FORMATS``.
        out: The file, or the folder for a format with one file per image.

    Returns:
        Number of images in which each part of the annotations changed; unchanged parts are left out.

    Raises:
        DataError: If the format cannot be written, would express something false, or supports none of the kinds of
        labels. StoreError: If a file cannot be written.
    """
    chosen = FORMATS[_known(format)]
    if chosen.write is None:
        able = [name for name, other in FORMATS.items() if other.write is not None]
        raise DataError(f"the format '{format}' can only be read; write one of {', '.join(able)}")
    if not set(chosen.kinds) & set(manifest.counts()):
        raise DataError(
            f"the format '{format}' holds {', '.join(chosen.kinds)}, no image carries any; "
            f"choose a format for {', '.join(manifest.counts()) or 'what you have'}"
        )
    texts = dict(chosen.write(manifest))
    files = {_target(out, image, chosen.suffix) if chosen.per_image else out: text for image, text in texts.items()}
    back = chosen.read((Source(str(out), image, text) for image, text in texts.items()), manifest.classes)
    for path, text in files.items():
        write_atomically(path, text.encode())
    return same_but_for(manifest.annotations, back.annotations)


def _compare(manifest: Manifest, sizes: Mapping[str, Size], path: Path, folder: Path) -> None:
    """Check that a folder contains the labelled images in the right shape; report how many are missing."""
    for image, told in manifest.sizes.items():
        shown = sizes.get(image, told)
        if not same_shape(told, shown):
            raise DataError(
                f"'{path}' labels image '{image}' of {told[0]} rows and {told[1]} columns, in '{folder}' it has "
                f"{shown[0]} and {shown[1]}, which is another shape; set --images to the images that were labelled, or "
                f"fix the size"
            )
    labelled = list(manifest.annotations)
    missing = [image for image in labelled if image not in sizes]
    if len(missing) == len(labelled):
        raise DataError(
            f"'{folder}' holds no image that '{path}' labels, they are called like '{labelled[0]}', those in the "
            f"folder like '{next(iter(sizes))}'; set --images to the folder of the labelled images"
        )
    if missing:
        console.note(
            f"{len(missing)} of {len(labelled)} labelled images are not in '{folder}', the first is '{missing[0]}'; "
            f"their labels are not checked against it"
        )


def _given(path: Path, ids: Path | None) -> Path:
    if ids is None:
        raise DataError(f"'{path}' holds cues by number, not by image; add --ids and the list published with them")
    return ids


def _known(format: str) -> str:
    if format not in FORMATS:
        raise DataError(f"there is no format '{format}'; {nearest(format, tuple(FORMATS))}")
    return format


def _recognised(path: Path) -> str:
    """Detect the format from the content of a file, or of the first file of a folder with a known format."""
    paths: Iterable[Path] = [path]
    if path.is_dir():
        paths = _files_below(path, ".xml")
    found: list[str] = []
    for one in paths:
        found = recognise(_content(one))
        if found:
            break
    if len(found) != 1:
        looks = f"looks like {' and '.join(found)}" if found else "looks like none of the formats"
        raise DataError(f"'{path}' {looks}; name it by --format, one of {', '.join(FORMATS)}")
    return found[0]


def _files_below(folder: Path, suffix: str) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() == suffix and path.is_file())
    if not found:
        raise DataError(f"'{folder}' holds no file that ends in '{suffix}'; give a folder with a file for each image")
    return found


def _image_sources(path: Path, suffix: str, sizes: Mapping[str, Size]) -> Iterator[Source]:
    """Read the files of a format with one file per image, one after the other."""
    folder, paths = (path, _files_below(path, suffix)) if path.is_dir() else (path.parent, [path])
    for one in paths:
        image = one.relative_to(folder).with_suffix("").as_posix()
        yield Source(str(one), image, _text(one, _content(one)), sizes.get(image))


def _cue_sources(files: CueFiles, sizes: Mapping[str, Size], classes: Classes) -> Iterator[Source]:
    """Read the cues of the images whose sizes are known."""
    if not sizes:
        raise DataError(f"'{files.path}' holds cues on a grid, they need images; add --images and the images' folder")
    images = files.listed(sizes)
    if not images:
        raise DataError(f"'{files.ids}' names none of the images; set --ids and --images to what belongs to the cues")
    for image, cues in files.read_images(images, len(classes)).items():
        yield Source(str(files.path), image, (cues, files.side), sizes[image])


def _sizes(folder: Path | None) -> dict[str, Size]:
    """Height and width of all images in a folder."""
    if folder is None:
        return {}
    found = find_images(folder)
    if not found:
        raise DataError(f"'{folder}' holds no image; set --images to the folder of the images")
    return {image: image_size(path) for image, path in found.items()}


def _target(folder: Path, image: str, suffix: str) -> Path:
    """File of an image; always inside the folder, whatever the image's name."""
    parts = PurePosixPath(image)
    odd = parts.is_absolute() or ".." in parts.parts or "\0" in image
    # `./a`, `a//b` and `a/` would be read back under other names
    if odd or not parts.name or parts.as_posix() != image:
        raise DataError(f"image '{image}' can't be the name of a file in '{folder}'; rename it in the manifest")
    return folder / f"{image}{suffix}"


def _content(path: Path) -> bytes:
    return read_content(path, "give an existing file or folder")


def _text(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"'{path}' is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from None
