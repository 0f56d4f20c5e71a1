"""Common base of data sets made of image files."""

import os
import re
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wsss.data.base import Dataset, DatasetSettings, digest
from wsss.data.faults import gathered_faults, stepping_over
from wsss.data.images import IMAGE_SUFFIXES, fit_size, image_size, read_image, read_label_png, resize_labels
from wsss.errors import DataError
from wsss.types import BACKGROUND, IGNORE, Image, LabelMap, Tags

NO_FOLDER = "missing folder"
"""Error kind: a setting names a folder that does not exist."""

BACKGROUND_NAMES = ("background", "_background_", "__background__", "bg")
"""Names of label 0 in class lists, case-insensitive."""


class FileDataset(Dataset):
    """A data set whose images and masks are files; subclasses are constructed from their settings alone.

    Args:
        name: Name of the data set in reports.
        classes: Names of the C foreground classes.
        settings: Settings of the data set; without ``background`` 0 in a mask means unknown.
        ids: Names of the images of each split.
        images: File of each image.
        masks: Folder of the masks, ``<id>.png``; an image without a file there has no ground truth.
        max_side: Larger images are downscaled to this longer side, and their masks with them.
    """

    def __init__(
        self,
        name: str,
        classes: tuple[str, ...],
        *,
        settings: DatasetSettings,
        ids: dict[str, tuple[str, ...]],
        images: dict[str, Path],
        masks: Path,
        max_side: int | None,
    ) -> None:
        super().__init__(name, classes, background=settings.background, ids=ids)
        self._settings = settings
        self._images = images
        self._masks = masks
        self._max_side = max_side
        self._tags: dict[str, Tags | None] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        # worker processes get only the settings with each piece of work and open the data set once, instead of
        # receiving thousands of names and tags each time
        return _opened, (type(self), self._settings)

    def size(self, id: str) -> tuple[int, int]:
        """Height and width of an image after EXIF rotation and ``max_side``, from its header."""
        return image_size(self._images[id], self._max_side)

    def native_size(self, id: str) -> tuple[int, int]:
        """Height and width of the upright image in its file."""
        return image_size(self._images[id])

    def image(self, id: str) -> Image:
        """Read an image, (3, H, W) uint8, upright and at most ``max_side`` long."""
        return read_image(self._images[id], self._max_side)

    def place(self, id: str) -> str:
        """File of an image, for messages."""
        return f"'{self._images[id]}'"

    def tags(self, id: str) -> Tags | None:
        """Return which of the C foreground classes are present; None if unknown, all False if known to be empty."""
        if id not in self._tags:
            self._tags[id] = self._find_tags(id)
        tags = self._tags[id]
        return None if tags is None else tags.clone()

    def truth(self, id: str) -> LabelMap | None:
        """Read the ground truth at the size of the image, ``IGNORE`` where it is unknown.

        Raises:
            DataError: If a pixel has a number that is not a class, or the mask does not fit the image.
        """
        mask = self._read_mask(id)
        if mask is None:
            return None
        native = image_size(self._images[id])
        self._require_size(id, mask, native)
        return resize_labels(mask, fit_size(native, self._max_side))

    def truth_faults(self, id: str) -> list[DataError]:
        """All errors of a mask: its file format, invalid numbers, its size."""
        faults: list[DataError] = []
        path = self._mask_path(id)
        try:
            if path.exists():
                mask = read_label_png(path)
                faults += self._number_faults(path, mask)
                self._require_size(id, mask, image_size(self._images[id]))
        except DataError as error:
            faults.append(error)
        return faults

    @abstractmethod
    def _find_tags(self, id: str) -> Tags | None:
        """Find the tags of one image."""

    def _tags_of_mask(self, id: str) -> Tags | None:
        """Derive tags from the classes in the mask; None if no pixel is known."""
        mask = self._read_mask(id)
        if mask is None:
            return None
        pixels = _pixels_of_numbers(mask)
        return torch.from_numpy(pixels[1 : len(self.classes) + 1] > 0) if pixels[:IGNORE].any() else None

    def _mask_path(self, id: str) -> Path:
        return self._masks / f"{id}.png"

    def _read_mask(self, id: str) -> LabelMap | None:
        """Read a mask at its original size and check its numbers."""
        path = self._mask_path(id)
        if not path.exists():
            return None
        mask = read_label_png(path)
        for fault in self._number_faults(path, mask):
            raise fault
        return mask if self.background else mask.masked_fill(mask == BACKGROUND, IGNORE)

    def _number_faults(self, path: Path, mask: LabelMap) -> Iterator[DataError]:
        """Yield an error if a mask has numbers that are neither a class nor unknown."""
        classes = len(self.classes)
        wrong = np.flatnonzero(_pixels_of_numbers(mask)[classes + 1 : IGNORE]) + classes + 1
        if wrong.size:
            more = f", and {wrong.size - 1} more of its numbers are invalid" if wrong.size > 1 else ""
            yield DataError(
                f"'{path}' has a pixel labelled {wrong[0]}, labels must be 0 to {classes} or {IGNORE} "
                f"(unknown){more}; add the class to the class list or fix the mask",
                kind="label without a class",
            )

    def _require_size(self, id: str, mask: LabelMap, native: tuple[int, int]) -> None:
        if tuple(mask.shape) != native:
            raise DataError(
                f"'{self._mask_path(id)}' is {mask.shape[0]} × {mask.shape[1]} (rows × columns), its upright image "
                f"'{self._images[id]}' is {native[0]} × {native[1]}, they must agree; "
                f"draw the mask on that image again",
                kind="mask of another size",
            )

    def _image_digest(self, id: str) -> bytes:
        return digest(repr(self._max_side).encode(), read_content(self._images[id]))

    def _truth_digest(self, id: str) -> bytes:
        path = self._mask_path(id)
        return digest(repr(self._max_side).encode(), read_content(path)) if path.exists() else digest(b"none")


@lru_cache(maxsize=2)
def _opened(kind: Callable[[DatasetSettings], FileDataset], settings: DatasetSettings) -> FileDataset:
    # the sender opened it already, and either got its errors or collected them to continue
    with gathered_faults():
        return kind(settings)


def require_folder(path: Path, setting: str) -> None:
    """Check that a folder exists.

    Args:
        path: The folder.
        setting: Name of its setting, for the message.

    Raises:
        DataError: If there is no such folder.
    """
    if not path.is_dir():
        found = "a file" if path.exists() else "missing"
        raise DataError(f"'{path}' is {found}, it must be a folder; set {setting} to the folder of the data", NO_FOLDER)


def read_lines(path: Path, cure: str) -> list[str]:
    """Read the lines of a text file without surrounding blanks; empty lines are kept, so line k is entry k.

    Args:
        path: File to read, UTF-8 with or without a byte order mark.
        cure: Advice if it is missing, for the message.

    Raises:
        DataError: If the file is missing or not text.
    """
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except FileNotFoundError as error:
        raise DataError(f"'{path}' is missing; {cure}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"'{path}' can't be read as text ({error}); save it as UTF-8") from error


def read_classes(path: Path) -> tuple[str, ...]:
    """Read the foreground classes from a list with one name per line, or lines ``k name``.

    Plain lines count from 1, or from 0 if the first is a name of the background. Numbered lines may come in any order;
    number 0 is the background and is left out.

    Args:
        path: The list.

    Returns:
        Names of label 1, 2, … C.

    Raises:
        DataError: If the list is missing or empty, or its numbers are not 1 to C.
    """
    lines = [line for line in read_lines(path, "write the names of the classes there, one per line") if line]
    numbered = [match for line in lines if (match := re.fullmatch(r"(\d+)[\s:,]+(\S.*)", line))]
    if lines and len(numbered) == len(lines):
        return _numbered_classes(path, [(int(match[1]), match[2]) for match in numbered])
    if lines and lines[0].lower() in BACKGROUND_NAMES:
        lines = lines[1:]
    if not lines:
        raise DataError(f"'{path}' names no class; write the names of the classes there, one per line")
    return tuple(lines)


def _numbered_classes(path: Path, entries: list[tuple[int, str]]) -> tuple[str, ...]:
    names = [name for number, name in sorted(entries) if number != BACKGROUND]
    numbers = sorted(number for number, _ in entries)
    if not names or numbers not in (list(range(1, len(names) + 1)), list(range(len(names) + 1))):
        raise DataError(
            f"'{path}' numbers its classes {', '.join(map(str, numbers))}; the numbers must run from 1 without gaps, "
            f"each once, with 0 for the background if it is listed; renumber them"
        )
    return tuple(names)


def stray_masks(folder: Path, images: Collection[str]) -> list[DataError]:
    """Errors for masks that belong to no image.

    Args:
        folder: Folder of the masks, which need not exist.
        images: Names of all images that may have a mask.
    """
    found = sorted(path for path in folder.rglob("*.png") if not path.name.startswith("."))
    return [
        DataError(
            f"'{path}' is the mask of no image, a mask must have its image's name; rename or delete it",
            kind="mask without an image",
        )
        for path in found
        if path.relative_to(folder).with_suffix("").as_posix() not in images
    ]


def find_images(folder: Path) -> dict[str, Path]:
    """Find the images in a folder and its subfolders, following links to folders.

    Args:
        folder: Folder to search.

    Returns:
        The file of each image by its id (its path inside the folder without suffix); sorted.

    Raises:
        DataError: If two files have the same id, or a name is not UTF-8.
    """
    found: dict[str, Path] = {}
    for place, names in _walk(folder):
        for name in names:
            path = place / name
            if path.suffix.lower() not in IMAGE_SUFFIXES or name.startswith("."):
                continue
            id = path.relative_to(folder).with_suffix("").as_posix()
            with stepping_over():
                _require_text(id, path)
                if id in found:
                    raise DataError(
                        f"'{path}' and '{found[id]}' are both called '{id}'; each image needs a name of its own, "
                        f"rename one"
                    )
                found[id] = path
    return dict(sorted(found.items()))


def _walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Walk through a folder and linked folders; each place once, preferably by its own name rather than a link."""
    walked: set[Path] = set()
    waiting = [folder]
    while waiting:
        start = waiting.pop(0)
        real = start.resolve()
        # following a link to a parent folder would include everything beside this folder too
        if walked and any(within.is_relative_to(real) for within in (folder.resolve(), start.parent.resolve())):
            continue
        links: list[Path] = []
        for place, folders, names in os.walk(start):
            here = Path(place)
            there = real / here.relative_to(start)
            if there in walked:
                folders.clear()
                continue
            walked.add(there)
            links += [here / name for name in folders if (here / name).is_symlink()]
            yield here, names
        waiting += sorted(links)


def _require_text(id: str, path: Path) -> None:
    """Check that a name can be written to a file and displayed, that is, that its bytes are UTF-8."""
    try:
        id.encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(path).decode(errors="backslashreplace")
        raise DataError(f"'{shown}' has a name that is not UTF-8, names of images must be; rename it") from error


def _pixels_of_numbers(mask: LabelMap) -> NDArray[np.int64]:
    return np.bincount(mask.numpy().ravel(), minlength=256)


def read_content(path: Path, cure: str = "restore the file") -> bytes:
    """Read a file.

    Args:
        path: The file.
        cure: What to do where there is none, for the message.

    Raises:
        DataError: If it is missing or can't be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"'{path}' is missing; {cure}") from error
    except OSError as error:
        raise DataError(f"'{path}' can't be read ({error.strerror or error}); restore the file") from error
