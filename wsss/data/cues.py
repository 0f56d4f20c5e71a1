"""Published cue files: a pickle of localisation cues, and a list that assigns entries to images."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from wsss.data.base import Dataset
from wsss.data.files import read_lines
from wsss.data.images import IMAGE_SUFFIXES
from wsss.data.pickles import read_pickle_safely
from wsss.errors import DataError


@dataclass(frozen=True)
class CueFiles:
    """The files of published cues, such as those of SEC (Kolesnikov and Lampert, ECCV 2016) and DSRG.

    Entry ``k_cues`` of the pickle has three rows: label, row and column of each cue. Tags in the file are ignored, as
    tags come from the data.

    Attributes:
        path: The pickle; code in it is never executed.
        ids: The list, with lines ``image k``, or with one image per line, whose entry is the line number from 0.
            Leading folders and image file suffixes are ignored.
        side: Points along a side of the cues' grid.
        settings: Names of the options for file, list and grid, for error messages.
    """

    path: Path
    ids: Path
    side: int
    settings: tuple[str, str, str] = ("seeds.cues", "seeds.cue_ids", "seeds.cue_grid")

    def read(self, dataset: Dataset) -> dict[str, Int64[Tensor, "3 N"]]:
        """Read and check the cues of the training images.

        The pickle is loaded into memory as a whole.

        Returns:
            Label, row and column of each cue, by image.

        Raises:
            DataError: If a file is missing or damaged, a training image has no cues, or a cue lies outside of the grid
                or has an unknown class.
        """
        return self.read_images(dataset.ids("train"), len(dataset.classes))

    def listed(self, images: Collection[str]) -> list[str]:
        """Return those of the images that the list contains.

        Raises:
            DataError: If the list is missing or gives an entry twice.
        """
        return list(self._numbers(frozenset(images)))

    def read_images(self, images: Collection[str], classes: int) -> dict[str, Int64[Tensor, "3 N"]]:
        """Read and check the cues of images.

        Args:
            images: Names of the images, each of which must have cues.
            classes: Number of foreground classes.

        Returns:
            Label, row and column of each cue, by image.

        Raises:
            DataError: As ``read``.
        """
        entries = self._entries(images)
        held = read_pickle_safely(self.path)
        if not isinstance(held, Mapping):
            raise DataError(
                f"'{self.path}' holds a {type(held).__name__}, it must hold a dictionary with entries '0_cues', "
                f"'1_cues' …; set {self.settings[0]} to the file of the cues"
            )
        return {image: self._cues(held, image, entry, classes) for image, entry in entries.items()}

    def _entries(self, images: Collection[str]) -> dict[str, str]:
        """Return the entry name of each image."""
        numbers = self._numbers(frozenset(images))
        missing = [image for image in images if image not in numbers]
        if missing:
            raise DataError(
                f"'{self.ids}' has no line for image '{missing[0]}' ({len(missing)} of the {len(images)} training "
                f"images have none), every training image needs cues; set {self.settings[1]} to the list that belongs "
                f"to the cues, or train on images that it names"
            )
        return {image: f"{numbers[image]}_cues" for image in images}

    def _numbers(self, images: Collection[str]) -> dict[str, int]:
        """Read the entry number of each image from the list."""
        lines = read_lines(self.ids, f"set {self.settings[1]} to the list of images that was published with the cues")
        # names may end with a number, so lines that equal an image's name have no number
        named = [(_image_of(line, images), number) for number, line in enumerate(lines)]
        if not any(image for image, _ in named):
            split = [line.rsplit(maxsplit=1) for line in lines]
            pairs = [words for words in split if len(words) == 2 and words[1].isdecimal()]
            named = [(_image_of(name, images), int(number)) for name, number in pairs]
        numbers: dict[str, int] = {}
        owners: dict[int, str] = {}
        for image, number in named:
            if image is None:
                continue
            if numbers.get(image, number) != number or owners.get(number, image) != image:
                raise DataError(
                    f"'{self.ids}' gives entry {number} to image '{image}', and another line gives that entry to "
                    f"another image or another entry to that image; each has one of its own, fix the list"
                )
            numbers[image], owners[number] = number, image
        return numbers

    def _cues(self, held: Mapping[Any, Any], image: str, entry: str, classes: int) -> Tensor:
        where = f"'{self.path}', entry '{entry}',"
        if entry not in held:
            raise DataError(
                f"'{self.path}' has no entry '{entry}', which '{self.ids}' gives to image '{image}'; set "
                f"{self.settings[1]} to the list that belongs to the cues"
            )
        try:
            cues = np.asarray(held[entry])
        except ValueError:  # rows of different lengths
            cues = np.empty(0)
        # three empty lists, for an image without cues, are floats to NumPy
        if cues.ndim != 2 or len(cues) != 3 or (cues.size and cues.dtype.kind not in "iu"):
            raise DataError(
                f"{where} holds {_outline(held[entry])}, it must hold three rows of whole numbers: labels, rows and "
                f"columns; fetch the file again or fix the entry"
            )
        labels, rows, columns = cues.astype(np.int64)
        outside = np.flatnonzero((np.minimum(rows, columns) < 0) | (np.maximum(rows, columns) >= self.side))
        if outside.size:
            raise DataError(
                f"{where} has a cue in row {rows[outside[0]]}, column {columns[outside[0]]}, a grid of {self.side} × "
                f"{self.side} counts them from 0 to {self.side - 1}; set {self.settings[2]} to the side of the cues' "
                f"grid"
            )
        wrong = labels[(labels < 0) | (labels > classes)]
        if wrong.size:
            raise DataError(
                f"{where} has a cue of class {wrong[0]}, labels must be 0 to {classes}; give cues of the classes in "
                f"this data set's class list"
            )
        return torch.from_numpy(np.stack([labels, rows, columns]))


def _image_of(name: str, images: Collection[str]) -> str | None:
    """Find the image that a line refers to: without leading folders, with or without a file suffix."""
    parts = PurePosixPath(name).parts
    for start in range(len(parts)):
        tail = PurePosixPath(*parts[start:])
        short = tail.with_suffix("") if tail.suffix.lower() in IMAGE_SUFFIXES else tail
        for found in (str(tail), str(short)):
            if found in images:
                return found
    return None


def _outline(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and type {value.dtype}"
    return f"a {type(value).__name__}"
