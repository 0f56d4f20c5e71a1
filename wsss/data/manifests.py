"""Files of labels: the manifest of a data set, and what was published in other formats."""

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
from wsss.data.files import find_images
from wsss.data.images import image_size
from wsss.errors import DataError, nearest
from wsss.store import write_atomically

CUE_OPTIONS = ("FILE", "--ids", "--grid")
"""What names the cues, their list and their grid on the command line."""


def read_manifest(path: Path, classes: Classes) -> Manifest:
    """Read a manifest for a data set.

    Args:
        path: The file, as `wsss data import` writes it.
        classes: Names of the data set's foreground classes; the manifest's are told by their names.

    Returns:
        What is known about each image, by its name, and the size that it was labelled at, where that is known; label k
        is ``classes[k - 1]``.

    Raises:
        DataError: If the file is missing or wrong, or names a class that the data set lacks.
    """
    return decode(_text(path, _content(path)), classes, name=f"'{path}'")


def write_manifest(
    path: Path, annotations: Mapping[str, Annotation], classes: Classes, sizes: Mapping[str, Size] | None = None
) -> None:
    """Write a manifest, whole or not at all; the same labels always give the same bytes.

    Args:
        path: The file.
        annotations: What is known about each image, by its name.
        classes: Names of the foreground classes.
        sizes: Height and width of the images of which they are known.

    Raises:
        DataError: If an annotation can't be right.
        StoreError: If the file can't be written.
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
        path: The file, or the folder of the files of a format that has one for each image.
        format: One of ``FORMATS``; found out by what is in the file if not given.
        classes: Names of the foreground classes, for files that don't name them; VOC's where the format implies them.
        images: Folder of the images; their shapes are checked against, and their sizes kept where the file has none.
            Only images in it are read of cues.
        ids: The list that says which cues are whose; for cues only.
        grid: Points along a side of the cues' grid, 41 if not given; for cues only.

    Raises:
        DataError: If the file is missing or wrong, its format can't be told or has no use for an option, or none of its
            images is in the folder.
    """
    if grid is not None and grid < 2:
        raise DataError(f"a grid of cues has {grid} points along its side, it must have at least 2; mend --grid")
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
        raise DataError(f"'{path}' has labels of no image; give a file or a folder that has some")
    if images is not None:
        _compare(manifest, sizes, path, images)
    # what was labelled may have been smaller or larger than the images are now; places are those of what was labelled
    known = {image: sizes[image] for image in manifest.annotations if image in sizes} | dict(manifest.sizes)
    whole = Manifest(classes=manifest.classes, annotations=manifest.annotations, sizes=known)
    whole.check(f"'{path}'")
    return whole


def export_labels(manifest: Manifest, format: str, out: Path) -> dict[str, int]:
    """Write labels in one of the published formats.

    What was written is read back in memory, so that what the format could not hold is known and not guessed.

    Args:
        manifest: The labels.
        format: One of ``FORMATS``.
        out: The file, or the folder for a format that has a file for each image.

    Returns:
        In how many images each part of the annotations is not as it was, parts that changed only.

    Raises:
        DataError: If the format can't be written, would say what is not so, or holds none of the kinds of labels.
        StoreError: If a file can't be written.
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
    """Refuse a folder without any of the labelled images or with others of their names; tell how many it lacks."""
    for image, told in manifest.sizes.items():
        shown = sizes.get(image, told)
        if not same_shape(told, shown):
            raise DataError(
                f"'{path}' labels image '{image}' of {told[0]} rows and {told[1]} columns, in '{folder}' it has "
                f"{shown[0]} and {shown[1]}, which is another shape; set --images to the images that were labelled, or "
                f"mend the size"
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
    """Tell the format by what is in a file, or in the first one of a folder that is of any format."""
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
    """Read the files of a format that has one for each image, one after the other."""
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
    """The file of an image, inside of the folder whatever the image is called."""
    parts = PurePosixPath(image)
    odd = parts.is_absolute() or ".." in parts.parts or "\0" in image
    # `./a`, `a//b` and `a/` would be read back under other names
    if odd or not parts.name or parts.as_posix() != image:
        raise DataError(f"image '{image}' can't be the name of a file in '{folder}'; rename it in the manifest")
    return folder / f"{image}{suffix}"


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"'{path}' is missing; give a file or a folder that is there") from error
    except OSError as error:
        raise DataError(f"'{path}' can't be read ({error.strerror or error}); restore the file") from error


def _text(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"'{path}' is no text in UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from None
