"""Index of the annotations in a COCO instances file (Lin et al., ECCV 2014).

The files have up to half a gigabyte of text, nearly all of it outlines. They are read once in chunks, and only the
position, class and crowd flag of each annotation are kept; outlines are read on access.
"""

import json
from array import array
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsss.errors import DataError

PIECE = 1 << 24
"""Bytes per chunk."""

LISTS = ("images", "annotations", "categories")
"""Lists of the file that are read entry by entry."""

DECODER = json.JSONDecoder()
BLANKS = " \t\r\n"


class Claim(NamedTuple):
    """An annotation without its outline.

    Attributes:
        label: Class of the object, from 1.
        crowd: Whether it represents many unseparated objects.
        start: Its position in the file, in bytes.
        length: Its length in bytes.
    """

    label: int
    crowd: bool
    start: int
    length: int


class CocoIndex:
    """Images, classes and annotation positions of one file.

    Args:
        path: An instances file, JSON.

    Attributes:
        path: The file.
        classes: Names of the categories sorted by id; ids have gaps: label k is ``classes[k - 1]``.
        files: File name of each image, in ascending order.

    Raises:
        DataError: If the file is missing or damaged, lacks a field, lists an image or category twice, or has an
            annotation that refers to one that is not listed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        entries = _read_entries(path)
        self.classes, category_ids = _categories(entries, path)
        self.files, image_ids, self._sizes = _images(entries, path)
        images = _places(entries.images, image_ids, entries, "image", path)
        labels = _places(entries.categories, category_ids, entries, "category", path) + 1
        order = np.argsort(images, kind="stable")
        self._labels = labels[order].astype(np.uint8)
        self._crowds = np.array(entries.crowds, dtype=bool)[order]
        self._starts = np.array(entries.starts, dtype=np.int64)[order]
        self._lengths = np.array(entries.lengths, dtype=np.int64)[order]
        self._first = np.searchsorted(images[order], np.arange(len(self.files) + 1))

    def size(self, image: int) -> tuple[int, int]:
        """Height and width of an image, as given in the file."""
        height, width = self._sizes[image].tolist()
        return height, width

    def claims(self, image: int) -> list[Claim]:
        """Annotations of an image without outlines, in file order."""
        part = slice(self._first[image], self._first[image + 1])
        columns = (self._labels, self._crowds, self._starts, self._lengths)
        return [Claim(*row) for row in zip(*(column[part].tolist() for column in columns), strict=True)]

    def texts(self, image: int) -> list[bytes]:
        """Read the raw text of an image's annotations."""
        claims = self.claims(image)
        if not claims:
            return []
        with self.path.open("rb") as file:
            return [_text(file, claim.start, claim.length) for claim in claims]

    def annotations(self, image: int) -> list[dict[str, Any]]:
        """Read the annotations of an image.

        Raises:
            DataError: If the file has changed since it was indexed.
        """
        try:
            return [json.loads(text) for text in self.texts(image)]
        except (OSError, ValueError) as error:
            raise DataError(f"'{self.path}' has changed while it was in use ({error}); run again") from error


class _Entries(NamedTuple):
    """Parsed lists of the file: images and categories as they are, annotations in columns."""

    image_list: list[dict[str, Any]]
    category_list: list[dict[str, Any]]
    images: "array[int]"
    categories: "array[int]"
    crowds: bytearray
    starts: "array[int]"
    lengths: "array[int]"


def _read_entries(path: Path) -> _Entries:
    entries = _Entries([], [], array("q"), array("q"), bytearray(), array("q"), array("q"))
    found = set()
    try:
        with path.open("rb") as file:
            for name, value, start, end in _Stream(file).entries():
                found.add(name)
                _keep(entries, name, value, start, end)
    except FileNotFoundError as error:
        cure = "fix data.root, data.year, data.train and data.val"
        raise DataError(f"'{path}' is missing; {cure}") from error
    except (OSError, ValueError) as error:
        raise DataError(f"'{path}' can't be read as instances of COCO ({error}); fetch the file again") from error
    missing = [name for name in LISTS if name not in found]
    if missing:
        raise DataError(f"'{path}' has no list '{missing[0]}'; give the file of instances, not of captions or images")
    return entries


def _keep(entries: _Entries, name: str, value: Any, start: int, end: int) -> None:  # noqa: ANN401 - JSON
    """Store the needed parts of an entry."""
    if value is None:
        return
    try:
        if name == "images":
            numbers = {key: _number(value[key]) for key in ("id", "height", "width")}
            entries.image_list.append({"file_name": value["file_name"], **numbers})
        elif name == "categories":
            entries.category_list.append({"id": _number(value["id"]), "name": value["name"]})
        else:
            entries.images.append(value["image_id"])
            entries.categories.append(value["category_id"])
            entries.crowds.append(bool(value.get("iscrowd", 0)))
            entries.starts.append(start)
            entries.lengths.append(end - start)
    except (AttributeError, KeyError, OverflowError, TypeError) as error:
        raise ValueError(f"the entry of {name} at byte {start}: {error!r}") from error


def _number(value: Any) -> int:  # noqa: ANN401 - JSON
    """Return a whole number that fits into 64 bits; others raise a TypeError or an OverflowError."""
    return array("q", [value])[0]


def _categories(entries: _Entries, path: Path) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    listed = sorted(entries.category_list, key=lambda entry: entry["id"])
    return tuple(str(entry["name"]) for entry in listed), _unique([entry["id"] for entry in listed], "category", path)


def _images(entries: _Entries, path: Path) -> tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.int64]]:
    listed = sorted(entries.image_list, key=lambda entry: str(entry["file_name"]))
    sizes = np.array([(entry["height"], entry["width"]) for entry in listed], dtype=np.int64).reshape(-1, 2)
    ids = _unique([entry["id"] for entry in listed], "image", path)
    return tuple(str(entry["file_name"]) for entry in listed), ids, sizes


def _unique(ids: Sequence[int], kind: str, path: Path) -> NDArray[np.int64]:
    numbers = np.array(ids, dtype=np.int64)
    found, counts = np.unique(numbers, return_counts=True)
    if (counts > 1).any():
        twice = found[counts > 1][0]
        raise DataError(f"'{path}' lists the {kind} {twice} more than once; each needs an id of its own, fix the file")
    return numbers


def _places(
    named: "array[int]", known: NDArray[np.int64], entries: _Entries, kind: str, path: Path
) -> NDArray[np.int64]:
    """Index of each annotation's image or category among the known ones."""
    wanted = np.array(named, dtype=np.int64)
    order = np.argsort(known)
    place = np.searchsorted(known, wanted, sorter=order).clip(max=max(len(known) - 1, 0))
    strange = np.flatnonzero(known[order][place] != wanted) if len(known) else np.arange(len(wanted))
    if len(strange):
        first = strange[0]
        with path.open("rb") as file:
            id = json.loads(_text(file, entries.starts[first], entries.lengths[first])).get("id")
        raise DataError(
            f"'{path}', annotation {id}, names the {kind} {wanted[first]}, which is not listed there ({len(strange)} "
            f"of {len(wanted)} annotations name such); list the {kind} or take the annotation out"
        )
    return order[place] if len(known) else wanted


def _text(file: BinaryIO, start: int, length: int) -> bytes:
    file.seek(start)
    return file.read(length)


class _Stream:
    """JSON text that is read in chunks.

    The bytes are decoded as Latin-1, so that positions in the text are positions in the file; values that are not plain
    ASCII are decoded again, as UTF-8.

    Args:
        file: The file.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._text = ""
        self._at = 0
        self._before = 0
        self._ended = False

    def entries(self) -> Iterator[tuple[str, Any, int, int]]:
        """Iterate over the lists of the root object.

        Yields:
            Name of the list, the entry, its start and end in bytes; once ``(name, None, 0, 0)`` for each list.

        Raises:
            ValueError: If the text is not a JSON object.
        """
        if self._file.read(len(BOM_UTF8)) == BOM_UTF8:
            self._before = len(BOM_UTF8)
        else:
            self._file.seek(0)
        for _ in self._members("{", "}"):
            name, _, _ = self._value()
            self._take(":")
            if name not in LISTS:
                self._value()
                continue
            yield name, None, 0, 0
            for _ in self._members("[", "]"):
                yield name, *self._value()

    def _members(self, opening: str, closing: str) -> Iterator[None]:
        """Yield at the beginning of each member of a list or an object; the caller reads the member."""
        self._take(opening)
        if self._peek() == closing:
            self._take(closing)
            return
        while True:
            yield
            if self._peek() == closing:
                self._take(closing)
                return
            self._take(",")

    def _peek(self) -> str:
        """The next non-blank character; empty at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in BLANKS:
                    return self._text[self._at]
                self._at += 1
            if self._ended:
                return ""
            self._read_on()

    def _take(self, character: str) -> None:
        if self._peek() != character:
            raise ValueError(f"there must be '{character}' at byte {self._before + self._at}")
        self._at += 1

    def _value(self) -> tuple[Any, int, int]:
        """Read a value; return it with its start and end."""
        self._peek()
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._ended:
                    raise ValueError(f"{error.msg} at byte {self._before + error.pos}") from None
            else:
                # a number at the end of a chunk may continue in the next one
                if end < len(self._text) or self._ended:
                    break
            self._read_on()
        text, start = self._text[self._at : end], self._before + self._at
        self._at = end
        return value if text.isascii() else json.loads(text.encode("latin-1")), start, self._before + end

    def _read_on(self) -> None:
        """Read the next chunk, longer ones while a value is incomplete, and drop the text already parsed."""
        rest = self._text[self._at :]
        piece = self._file.read(max(PIECE, len(rest)))
        self._ended = not piece
        self._before += self._at
        self._text, self._at = rest + piece.decode("latin-1"), 0
