"""Data sets made of a folder of images and a table of tags."""

import csv
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch

from wsss.data.base import SPLITS, DatasetSettings, digest
from wsss.data.faults import raise_or_gather, stepping_over
from wsss.data.files import FileDataset, find_images, read_classes, read_lines, require_folder, stray_masks
from wsss.errors import DataError, require
from wsss.types import Tags

SPLIT_WORDS = (*SPLITS, "")
"""What may stand in the column split; an empty cell is for training."""

SEPARATORS = (";", ",")
"""Separators of tags in a cell; if the table uses neither, classes and numbers are separated by blanks."""


@dataclass(frozen=True, kw_only=True)
class FolderSettings(DatasetSettings):
    """A folder of images with a CSV of tags; masks are optional and used for evaluation only."""

    root: str = "data/folder"
    """Folder of the data set."""
    images: str = "images"
    """Folder of the images inside the root; empty if they lie in the root itself."""
    tags: str = "tags.csv"
    """Table in the root with the columns image, tags and optionally split (train or val)."""
    classes: str = "classes.txt"
    """List of the classes in the root; if it does not exist, the sorted names in the table are the classes."""
    masks: str = "masks"
    """Folder of the ground truth masks inside the root, <image>.png; it need not exist."""
    val_share: float = 0.2
    """Share of the images with a mask that are used for evaluation, if the table has no split column."""
    max_side: int = 2048
    """Larger images are downscaled to this longer side."""

    def __post_init__(self) -> None:
        require(0 <= self.val_share < 1, "val_share", "must lie in [0, 1)", self.val_share)
        require(bool(self.masks), "masks", "must name a folder, which need not exist", self.masks)
        require(self.max_side >= 1, "max_side", "must be at least 1", self.max_side)


@dataclass(frozen=True)
class _Row:
    """One line of the table.

    Attributes:
        id: Name of the image.
        cell: Its tags as unsplit text.
        split: The split, empty if the table has none.
        where: Position of the line, for messages.
    """

    id: str
    cell: str
    split: str
    where: str


class FolderDataset(FileDataset):
    """A folder of images and a table of tags.

    An empty cell means that an image shows no class; an image without a line has unknown tags. Cells contain class
    names or numbers, separated by semicolons or commas (in a quoted cell), consistently in the whole table. If the
    table has neither, numbers and names of listed classes are separated by blanks; other words form one name with
    blanks in it. A cell that is the name of a listed class is that tag alone.

    Args:
        settings: Location and reading options.

    Raises:
        DataError: If the folder or the table is missing, or a line names an image or a class that does not exist.
    """

    def __init__(self, settings: FolderSettings) -> None:
        root = Path(settings.root)
        require_folder(root, "data.root")
        require_folder(root / settings.images, "data.images")
        masks = root / settings.masks
        if settings.masks != FolderSettings.masks:
            require_folder(masks, "data.masks")
        images = {
            id: path
            for id, path in find_images(root / settings.images).items()
            # if images lie in the root itself, masks below it are not images
            if not path.is_relative_to(masks)
        }
        if not images:
            raise DataError(f"'{root / settings.images}' holds no image; set data.images to the folder of the images")
        rows: list[_Row] = []
        with stepping_over():
            rows = _read_table(root / settings.tags, images)
        path = root / settings.classes
        listed = read_classes(path) if settings.classes and path.exists() else ()
        words = _split_cells(rows, listed)
        classes = listed or _classes_of_words(words, root)
        tags: dict[str, Tags] = {}
        for row in rows:
            with stepping_over():
                tags[row.id] = _tags_of_words(words[row.id], classes, row.where)
        super().__init__(
            root.resolve().name,
            classes,
            settings=settings,
            ids=_splits(rows, images, masks, settings.val_share),
            images=images,
            masks=masks,
            max_side=settings.max_side,
        )
        self._tags = {id: tags.get(id) for id in images}

    def strays(self) -> list[DataError]:
        """Masks whose name does not match any image, and which would never be used."""
        return stray_masks(self._masks, self._images)

    def _find_tags(self, id: str) -> Tags | None:
        return self._tags[id]


def _read_table(path: Path, images: dict[str, Path]) -> list[_Row]:
    """Read the lines of the table; the image column may contain names with or without suffix."""
    lines = read_lines(path, "write a table with the columns image,tags there, or set data.tags to its name")
    try:
        return _rows(path, csv.DictReader(lines, strict=True), images)
    except csv.Error as error:
        raise DataError(f"'{path}' can't be read as a table ({error}); close its quotes and save it again") from error


def _rows(path: Path, reader: "csv.DictReader[str]", images: dict[str, Path]) -> list[_Row]:
    """Read the lines below the header."""
    columns = [name.strip() for name in reader.fieldnames or ()]
    reader.fieldnames = columns
    if not {"image", "tags"} <= set(columns):
        raise DataError(
            f"'{path}' has the columns {', '.join(columns) or 'none'}, it must have image and tags, separated by "
            f"commas; write 'image,tags' into its first line"
        )
    names = dict.fromkeys(images, "") | {f"{id}{file.suffix}": id for id, file in images.items()}
    rows: dict[str, _Row] = {}
    for entry in reader:
        with stepping_over():
            row = _read_row(entry, names, f"'{path}', line {reader.line_num},")
            if row.id in rows:
                name = entry["image"].strip()
                raise DataError(f"{row.where} names the image '{name}' again; put all its tags on one line")
            rows[row.id] = row
    return list(rows.values())


def _read_row(entry: dict[str, str | None], names: dict[str, str], where: str) -> _Row:
    name = (entry["image"] or "").strip()
    if name not in names:
        raise DataError(
            f"{where} names the image '{name}', which does not exist; restore the file or drop the line",
            kind="missing image",
        )
    if None in entry:
        raise DataError(f"{where} has more cells than the first line; separate tags by semicolons or quote the cell")
    if entry["tags"] is None:
        columns = list(entry)
        empty = ",".join(entry[column] or "" for column in columns[: columns.index("tags") + 1])
        raise DataError(
            f"{where} has no cell for tags; write '{empty}' if it is known to be empty, or drop the line if tags are "
            f"unknown"
        )
    id = names[name] or name
    return _Row(id, entry["tags"].strip(), (entry.get("split") or "").strip().lower(), where)


def _split_cells(rows: list[_Row], listed: Collection[str]) -> dict[str, list[str]]:
    """Split each cell that is not a listed class at the separator of the table."""
    cells = {row.id: row.cell for row in rows if row.cell not in listed}
    separator = next((mark for mark in SEPARATORS if any(mark in cell for cell in cells.values())), None)
    words = {row.id: [row.cell] for row in rows}
    if separator is not None:
        return words | {
            id: [word.strip() for word in cell.split(separator) if word.strip()] for id, cell in cells.items()
        }
    if not listed:
        _require_clear_names(rows)
    return words | {id: _split_at_blanks(cell, listed) for id, cell in cells.items()}


def _split_at_blanks(cell: str, listed: Collection[str]) -> list[str]:
    """Split a cell into numbers and listed classes; a cell with other words is one name with blanks."""
    words = cell.split()
    return words if all(word.isdecimal() or word in listed for word in words) else [cell]


def _require_clear_names(rows: list[_Row]) -> None:
    """Reject cells that may be one name or several, because other lines have each of their words alone."""
    alone = {row.cell for row in rows}
    for row in rows:
        words = row.cell.split()
        if len(words) > 1 and alone.issuperset(words) and not all(word.isdecimal() for word in words):
            fault = (
                f"{row.where} has '{row.cell}', and other lines have each of its words as a tag, so it may be one "
                f"class or {len(words)}; separate its tags by semicolons, or list all classes in classes.txt"
            )
            raise_or_gather(DataError(fault))


def _classes_of_words(words: dict[str, list[str]], root: Path) -> tuple[str, ...]:
    """Use the sorted tags as class names; if all tags are numbers, these are the labels."""
    found = sorted({word for cell in words.values() for word in cell})
    if not found:
        raise DataError(
            f"'{root}' has neither tags nor a list of classes; write the names of its classes to classes.txt"
        )
    if all(word.isdecimal() for word in found):
        return tuple(str(number) for number in range(1, max(int(word) for word in found) + 1))
    return tuple(found)


def _tags_of_words(words: list[str], classes: tuple[str, ...], where: str) -> Tags:
    tags = torch.zeros(len(classes), dtype=torch.bool)
    for word in words:
        if word in classes:
            tags[classes.index(word)] = True
        elif word.isdecimal() and 1 <= int(word) <= len(classes):
            tags[int(word) - 1] = True
        else:
            raise DataError(
                f"{where} has the tag '{word}', tags must be class names or numbers from 1 to {len(classes)}; "
                f"fix the line, separate its tags by semicolons, or add the class to classes.txt"
            )
    return tags


def _splits(rows: list[_Row], images: dict[str, Path], masks: Path, val_share: float) -> dict[str, tuple[str, ...]]:
    """Split by the table's column, or else hold out a share of the images that have a mask."""
    for row in rows:
        if row.split not in SPLIT_WORDS:
            fault = f"{row.where} has the split '{row.split}', it must be train or val; fix the line"
            raise_or_gather(DataError(fault))
    val = {row.id for row in rows if row.split == "val"}
    if not any(row.split for row in rows):
        # by a hash of the name, so that an image keeps its split when others are added
        measurable = sorted((digest(id.encode()), id) for id in images if (masks / f"{id}.png").exists())
        val = {id for _, id in measurable[: min(round(val_share * len(measurable)), len(images) - 1)]}
    splits = {
        "train": tuple(id for id in images if id not in val),
        "val": tuple(id for id in images if id in val),
    }
    if not splits["train"]:
        fault = f"{rows[0].where} and all other lines have the split val; some images must be for training"
        raise_or_gather(DataError(fault, kind="empty list"))
    return splits
