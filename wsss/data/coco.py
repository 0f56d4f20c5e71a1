"""Data sets in the layout of COCO (Lin et al., ECCV 2014), with labels drawn from object outlines."""

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wsss.data.base import DatasetSettings, digest
from wsss.data.coco_index import CocoIndex
from wsss.data.files import FileDataset, require_folder
from wsss.data.images import image_size
from wsss.errors import DataError, require
from wsss.types import BACKGROUND, IGNORE, LabelMap, Tags

Region = NDArray[np.bool_]

FARTHEST = 100_000
"""Maximum distance in pixels of an outline's points from the image origin; larger values are not coordinates."""


@dataclass(frozen=True, kw_only=True)
class CocoSettings(DatasetSettings):
    """A folder with annotations/instances_train2017.json, the images in train2017, and the same for val."""

    root: str = "data/coco"
    """Folder of the data set."""
    year: int = 2017
    """Edition, such as 2014 or 2017; part of the names of files and folders."""
    train: str = "train"
    """Part used for training: instances_<part><year>.json and the folder <part><year>."""
    val: str = "val"
    """Part used for evaluation; empty if there is none."""
    max_side: int = 2048
    """Larger images are downscaled to this longer side."""

    def __post_init__(self) -> None:
        require(bool(self.train), "train", "must name a part", self.train)
        require(self.max_side >= 1, "max_side", "must be at least 1", self.max_side)


class CocoDataset(FileDataset):
    """A folder in the COCO layout.

    The classes are the categories sorted by id; ids have gaps. Tags are the categories of an image's objects. An image
    without annotations is known to be empty; one with a crowd of a class of which there is no single object has unknown
    tags, since that class is present but not visible in the ground truth. In the ground truth, crowds and objects
    without outline are ``IGNORE`` where there is no other object; where outlines overlap, the smaller object is on top.

    Args:
        settings: Location and reading options.

    Raises:
        DataError: If a folder, an instances file or a listed image is missing, or an annotation is invalid.
    """

    def __init__(self, settings: CocoSettings) -> None:
        root = Path(settings.root)
        require_folder(root, "data.root")
        parts = {"train": settings.train, "val": settings.val}
        # the same part twice is read once
        indices = {
            part: CocoIndex(root / "annotations" / f"instances_{part}{settings.year}.json")
            for part in dict.fromkeys(parts.values())
            if part
        }
        listed = {part: _listed_images(root / f"{part}{settings.year}", index) for part, index in indices.items()}
        self._entries = _merge(listed, indices)
        super().__init__(
            root.resolve().name,
            _common_classes(list(indices.values())),
            settings=settings,
            ids={split: tuple(listed.get(part, ())) for split, part in parts.items()},
            images={id: path for images in listed.values() for id, path in images.items()},
            masks=root / "annotations",
            max_side=settings.max_side,
        )

    def _find_tags(self, id: str) -> Tags | None:
        index, place = self._entries[id]
        claims = index.claims(place)
        labels = {claim.label for claim in claims if not claim.crowd}
        if any(claim.label not in labels for claim in claims):
            return None
        return torch.tensor([label in labels for label in range(1, len(self.classes) + 1)])

    def _read_mask(self, id: str) -> LabelMap | None:
        """Draw the labels at the size of the image."""
        index, place = self._entries[id]
        size, native = index.size(place), image_size(self._images[id])
        if size != native:
            raise DataError(
                f"'{index.path}' has '{self._images[id]}' with {size[0]} × {size[1]} pixels (rows × columns), it has "
                f"{native[0]} × {native[1]}, they must agree; restore the image that was annotated"
            )
        labels = [claim.label for claim in index.claims(place)]
        try:
            mask = draw_labels(index.annotations(place), labels, size)
        except ValueError as error:
            raise DataError(f"'{index.path}', image '{id}', {error}; fix the file") from error
        return mask if self.background else mask.masked_fill(mask == BACKGROUND, IGNORE)

    def _truth_digest(self, id: str) -> bytes:
        index, place = self._entries[id]
        labels = [claim.label for claim in index.claims(place)]
        return digest(repr((self._max_side, index.size(place), labels)).encode(), *index.texts(place))


def draw_labels(annotations: Sequence[Mapping[str, Any]], labels: Sequence[int], size: tuple[int, int]) -> LabelMap:
    """Draw a label map from the outlines of objects.

    Where outlines overlap, the smaller object is on top: it is usually the one in front (a tie on its wearer, a cup on
    its table), and a large one on top could hide it completely. Of two equally large ones the later one is on top.

    Args:
        annotations: COCO annotations with ``segmentation`` (polygons or run lengths), ``bbox``, ``iscrowd`` and ``id``.
        labels: Label of each object.
        size: Height and width of the image.

    Returns:
        (H, W) uint8; ``IGNORE`` at pixels that belong only to a crowd, or to the box of an object without outline.

    Raises:
        ValueError: If an outline is invalid or does not fit the image.
    """
    mask = np.full(size, BACKGROUND, dtype=np.uint8)
    objects: list[tuple[int, Region]] = []
    for annotation, label in zip(annotations, labels, strict=True):
        region = _region(annotation, size)
        if region is None or annotation.get("iscrowd", 0):
            mask[_box(annotation, size) if region is None else region] = IGNORE
        else:
            objects.append((label, region))
    for label, region in sorted(objects, key=lambda entry: -np.count_nonzero(entry[1])):
        mask[region] = label
    return torch.from_numpy(mask)


def _region(annotation: Mapping[str, Any], size: tuple[int, int]) -> Region | None:
    """Pixels inside an outline; None if an annotation has no outline with an interior."""
    outline = annotation.get("segmentation")
    where = f"annotation {annotation.get('id')}"
    if isinstance(outline, Mapping):
        return _region_of_runs(outline, size, where)
    if not isinstance(outline, list | None):
        raise ValueError(f"{where} has an outline that is neither a list of polygons nor run lengths")
    polygons = [_polygon(entry, where) for entry in outline or ()]
    # polygons of two points have no interior
    closed = [polygon for polygon in polygons if len(polygon) >= 6]
    return _region_of_polygons(closed, size) if closed else None


def _polygon(entry: object, where: str) -> list[float]:
    try:
        points = np.asarray(entry, dtype=np.float64) if isinstance(entry, list) else np.array(np.nan)
    except (OverflowError, TypeError, ValueError):
        # texts, objects, lists of different lengths, numbers too large for a float
        points = np.array(np.nan)
    if points.ndim != 1 or len(points) % 2 or not (np.abs(points) <= FARTHEST).all():
        raise ValueError(f"{where} has a polygon that is not a list x, y, x, y … of numbers up to {FARTHEST}")
    return points.tolist()


def _region_of_polygons(polygons: list[list[float]], size: tuple[int, int]) -> Region:
    from pycocotools import mask as drawing

    with warnings.catch_warnings():
        # NumPy warns about the array conversion of pycocotools, which does not concern the user
        warnings.simplefilter("ignore", DeprecationWarning)
        return drawing.decode(drawing.merge(drawing.frPyObjects(polygons, *size))).astype(np.bool_)


def _region_of_runs(outline: Mapping[str, Any], size: tuple[int, int], where: str) -> Region:
    """Decode run lengths: background and object alternate, column by column."""
    height, width = size
    counts = outline.get("counts")
    runs = _decoded(counts) if isinstance(counts, str) else counts
    try:
        lengths = np.asarray(runs if isinstance(runs, list) else [-1])
    except ValueError:
        # lists of different lengths
        lengths = np.array([-1])
    stated = outline.get("size")
    fits = lengths.ndim == 1 and lengths.dtype.kind in "iu" and (lengths >= 0).all() and lengths.sum() == height * width
    if not isinstance(stated, Sequence) or list(stated) != [height, width] or not fits:
        raise ValueError(f"{where} has run lengths that do not fill an image of {height} × {width} (rows × columns)")
    inside = np.arange(len(lengths)) % 2 == 1
    return np.repeat(inside, lengths).reshape(width, height).T


def _decoded(text: str) -> list[int]:
    """Decode COCO's compressed run lengths: six bits per character, differences to the last but one."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs


def _box(annotation: Mapping[str, Any], size: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns that a box touches; empty if there is no box."""
    try:
        box = np.asarray(annotation.get("bbox") or [0, 0, 0, 0], dtype=np.float64)
    except (OverflowError, TypeError, ValueError):
        box = np.array(np.nan)
    if box.shape != (4,) or not np.isfinite(box).all():
        raise ValueError(f"annotation {annotation.get('id')} has a box that is not x, y, width, height")
    (left, top), (width, height) = box[:2], box[2:]
    return _span(top, height, size[0]), _span(left, width, size[1])


def _span(start: float, length: float, end: int) -> slice:
    low, high = np.clip([np.floor(start), np.ceil(start + length)], 0, end)
    return slice(int(low), int(high))


def _listed_images(folder: Path, index: CocoIndex) -> dict[str, Path]:
    """Find the file of each listed image by its id (its name without suffix)."""
    require_folder(folder, "data.root")
    there = {entry.name for entry in os.scandir(folder)}
    missing = [name for name in index.files if name not in there and not (folder / name).is_file()]
    if missing:
        raise DataError(
            f"'{folder / missing[0]}' is missing ({len(missing)} of the {len(index.files)} images of "
            f"'{index.path.name}' are); restore the files or take them out of it"
        )
    images = {Path(name).with_suffix("").as_posix(): folder / name for name in index.files}
    if not images:
        raise DataError(f"'{index.path}' lists no image; give a file that lists some")
    if len(images) < len(index.files):
        raise DataError(f"'{index.path}' lists images whose names differ only in their suffix; rename them")
    return images


def _merge(
    listed: Mapping[str, Mapping[str, Path]], indices: Mapping[str, CocoIndex]
) -> dict[str, tuple[CocoIndex, int]]:
    """Locate the annotations of each image; names must be unique across the parts."""
    entries: dict[str, tuple[CocoIndex, int]] = {}
    for part, images in listed.items():
        for place, (id, path) in enumerate(images.items()):
            if id in entries:
                raise DataError(f"'{path}' has the name of an image of another part; each needs its own, rename one")
            entries[id] = indices[part], place
    return entries


def _common_classes(indices: list[CocoIndex]) -> tuple[str, ...]:
    first = indices[0]
    for other in indices[1:]:
        if other.classes != first.classes:
            raise DataError(f"'{other.path}' has other categories than '{first.path}'; they must be the same, fix one")
    return first.classes
