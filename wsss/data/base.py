"""Common interface of all data sets."""

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b

import torch
from jaxtyping import Bool
from torch import Tensor

from wsss.annotations import Annotation, ImageTags
from wsss.errors import DataError
from wsss.types import MOST_CLASSES, Image, LabelMap, Sample, Tags, possible_labels, tagged_labels

SPLITS = ("train", "val")
"""``train`` is used for training; ``val`` for evaluation, and may be empty."""


@dataclass(frozen=True, kw_only=True)
class DatasetSettings:
    """Settings common to all data sets."""

    background: bool = True
    """Whether label 0 is a class of its own; if not, 0 in the ground truth means unknown."""


class Dataset(ABC):
    """Images by name, with their tags and, if available, ground truth.

    Only names and tags are held in memory; images and ground truth are read on access.

    Args:
        name: Name of the data set in reports.
        classes: Names of the C foreground classes; label k is ``classes[k - 1]``.
        background: Whether label 0 is a class of its own.
        ids: Names of the images of each split.

    Raises:
        DataError: If there are no classes, too many, or two of the same name.
    """

    def __init__(
        self, name: str, classes: tuple[str, ...], *, background: bool, ids: dict[str, tuple[str, ...]]
    ) -> None:
        self.name = name
        self.classes = classes
        self.background = background
        self._ids = ids
        self._fingerprints: dict[tuple[str, bool], str] = {}
        if not 1 <= len(classes) <= MOST_CLASSES:
            raise DataError(
                f"data set '{name}' has {len(classes)} classes, it must have 1 to {MOST_CLASSES}; list others"
            )
        twice = sorted({label for label in classes if classes.count(label) > 1})
        if twice:
            raise DataError(f"data set '{name}' names more than one class '{twice[0]}'; rename one of them")

    def ids(self, split: str) -> tuple[str, ...]:
        """Names of the images of a split, in a fixed order.

        Args:
            split: ``train`` or ``val``.

        Raises:
            ValueError: If there is no such split.
        """
        if split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
        return self._ids[split]

    @property
    def whole(self) -> "Dataset":
        """The data set with all images and only its own labels."""
        return self

    def samples(self, images: int) -> int:
        """Number of samples per epoch for that many training images; larger if images are repeated."""
        return images

    @property
    def settles_pixels(self) -> bool:
        """Whether labels of training images fix or exclude classes of single pixels."""
        return False

    @property
    def likely_labels(self) -> bool:
        """Whether labels of training images include likely but uncertain pixel labels."""
        return False

    @property
    def label_use(self) -> dict[str, object]:
        """Settings for the use of given labels, as plain values."""
        return {}

    def annotation(self, id: str) -> Annotation:
        """Return the labels of an image that are used in training: its tags, unless others are configured."""
        tags = self.tags(id)
        if tags is None:
            return Annotation()
        return Annotation(tags=ImageTags(tuple(tagged_labels(tags))), tags_complete=True)

    def annotations_fingerprint(self) -> str:
        """Hash the labels of all training images, beyond the tags that ``fingerprint`` covers."""
        labels = (repr(self.annotation(id)).encode() for id in self.ids("train"))
        return digest(*labels).hex()

    def presence(self, id: str) -> tuple[Bool[Tensor, " C"], Bool[Tensor, " C"]]:
        """Return which classes are present, and for which of them presence or absence is known."""
        tags = self.tags(id)
        known = torch.full((len(self.classes),), tags is not None)
        return torch.zeros_like(known) if tags is None else tags, known

    def named(self, id: str) -> Tags | None:
        """Classes known to be present; None if nothing is known about any."""
        present, known = self.presence(id)
        return present if known.any() else None

    def possible(self, id: str) -> list[int]:
        """Labels that the tags of an image allow, in ascending order."""
        return possible_labels(self.tags(id), len(self.classes), background=self.background)

    def place(self, id: str) -> str:
        """Location of an image, for messages."""
        return f"image '{id}'"

    def sample(self, id: str) -> Sample:
        """Read one image with its tags and ground truth."""
        return Sample(id=id, image=self.image(id), tags=self.tags(id), truth=self.truth(id))

    def fingerprint(self, split: str, *, truth: bool = False) -> str:
        """Hash the content that a stage reads from a split, independent of its location on disk.

        Args:
            split: ``train`` or ``val``.
            truth: Hash names and ground truth; otherwise names, images and tags, so that changes of the ground truth
                never affect results obtained without it.

        Returns:
            32 hexadecimal digits.
        """
        if (split, truth) not in self._fingerprints:
            self._fingerprints[split, truth] = self._fingerprint(split, truth=truth)
        return self._fingerprints[split, truth]

    def _fingerprint(self, split: str, *, truth: bool) -> str:
        ids = self.ids(split)
        part: Callable[[str], bytes] = self._truth_digest if truth else self._input_digest
        total = blake2b(json.dumps([self.classes, self.background, ids, truth]).encode(), digest_size=16)
        # hashing and reading files release the global interpreter lock
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for hashed in pool.map(part, ids):
                total.update(hashed)
        return total.hexdigest()

    @abstractmethod
    def size(self, id: str) -> tuple[int, int]:
        """Height and width of an image, without decoding it."""

    def native_size(self, id: str) -> tuple[int, int]:
        """Height and width of an image before any downscaling: the size on which it was annotated."""
        return self.size(id)

    @abstractmethod
    def image(self, id: str) -> Image:
        """Read an image, (3, H, W) uint8."""

    @abstractmethod
    def tags(self, id: str) -> Tags | None:
        """Return which of the C foreground classes are present; None unless this is known of all of them.

        All False means known to be empty.
        """

    @abstractmethod
    def truth(self, id: str) -> LabelMap | None:
        """Read the ground truth, (H, W) uint8 with ``IGNORE`` where unknown; None if the image has none."""

    def truth_faults(self, id: str) -> list[DataError]:
        """All errors in the ground truth of an image, where ``truth`` stops at the first."""
        try:
            self.truth(id)
        except DataError as error:
            return [error]
        return []

    def strays(self) -> list[DataError]:
        """Errors for files of the data set that should belong to an image but do not."""
        return []

    def _image_digest(self, id: str) -> bytes:
        image = self.image(id)
        return digest(repr(tuple(image.shape)).encode(), image.numpy().tobytes())

    def _input_digest(self, id: str) -> bytes:
        tags = self.tags(id)
        return digest(self._image_digest(id), b"unknown" if tags is None else bytes(tags.tolist()))

    def _truth_digest(self, id: str) -> bytes:
        truth = self.truth(id)
        return digest(b"none") if truth is None else digest(repr(tuple(truth.shape)).encode(), truth.numpy().tobytes())


def digest(*parts: bytes) -> bytes:
    """Hash byte strings, including their lengths."""
    total = blake2b(digest_size=16)
    for part in parts:
        total.update(len(part).to_bytes(8, "little"))
        total.update(part)
    return total.digest()
