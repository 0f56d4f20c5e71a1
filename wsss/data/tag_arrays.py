"""Image tags in the format of published code: ``cls_labels.npy``, a dictionary of multi-hot arrays."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from wsss.data.pickles import read_pickle_safely
from wsss.errors import DataError
from wsss.types import Tags


def read_tag_array(path: Path, ids: Iterable[str], classes: int) -> dict[str, Tags | None]:
    """Read a dictionary of multi-hot arrays, one per image.

    Images are named by text (``2007_000032``) or by its digits as one number (2007000032); both are in use. Other
    images are ignored.

    Args:
        path: A ``.npy`` file or a pickle; code in it is never executed.
        ids: Names of the images.
        classes: Number C of foreground classes.

    Returns:
        Tags of the images in the file; all False if no class is present.

    Raises:
        DataError: If the file is missing, damaged or not such a dictionary, or contains none of the images.
    """
    table = read_pickle_safely(path)
    if not isinstance(table, dict):
        shape = " × ".join(map(str, np.shape(table))) or "one value"
        raise DataError(
            f"'{path}' holds an array ({shape}) that does not say which row is which image; save a dictionary "
            f"{{image name: array of {classes} zeros and ones}} with numpy.save"
        )
    names = _names(ids)
    tags: dict[str, Tags | None] = {
        names[key]: _tags(row, classes, f"'{path}', image {key!r},") for key, row in table.items() if key in names
    }
    if not tags:
        raise DataError(
            f"'{path}' contains none of the images: its first key is {next(iter(table), None)!r}, the first image is "
            f"{next(iter(names), None)!r}; set data.tags to the file of this data set"
        )
    return tags


def _names(ids: Iterable[str]) -> dict[str | int, str]:
    """Return the image for each of its possible names."""
    names: dict[str | int, str] = {}
    for id in ids:
        digits = id.replace("_", "")
        if digits.isdecimal():
            names[int(digits)] = id
        names[id] = id
    return names


def _tags(row: object, classes: int, where: str) -> Tags:
    rule = f"it must be {classes} zeros and ones, one for each class of classes.txt; fix the file"
    try:
        values = np.asarray(row)
    except ValueError as error:
        raise DataError(f"{where} has entries of different lengths in one row, {rule}") from error
    if values.shape != (classes,) or not np.isin(values, (0, 1)).all():
        raise DataError(f"{where} has {np.array2string(values, threshold=6)} of shape {values.shape}, {rule}")
    return torch.from_numpy(values.astype(np.bool_))
