"""The store: the only module that reads or writes artefacts.

An artefact is the folder of one finished stage, ``<root>/store/<stage>/<key>/``. Work is divided into units; a unit is
done when its record exists in ``.units``, the stage is done when its ``manifest.json`` exists. Every file is written by
temporary file, fsync and rename, so that neither a kill nor a full disk leaves incomplete files behind.
"""

import contextlib
import fcntl
import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import torch
from PIL import Image as PillowImage
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor
from torch.nn.functional import interpolate

from wsss.errors import StoreError, require
from wsss.types import LabelMap, ScoreMap

STRIDE = 4
"""Scores are stored at a quarter of the image's height and width."""

LONGEST_NAME = 150
"""Maximum length of an image's name within a file name; file systems allow 255 in total."""

MANIFEST = "manifest.json"
UNITS = ".units"
PROGRESS = ".progress"


@dataclass(frozen=True, kw_only=True)
class StoreSettings:
    """Location of artefacts and runs."""

    root: str = "runs"
    """Folder of everything that runs write."""

    def __post_init__(self) -> None:
        require(bool(self.root), "root", "must name a folder", self.root)


def digest(content: bytes) -> str:
    """Hash bytes to 32 hexadecimal digits."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def digest_of(value: object) -> str:
    """Hash a value made of dicts, lists, strings, numbers and None, independent of the order of dict keys."""
    return digest(json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode())


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file atomically.

    Raises:
        StoreError: If the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StoreError(
            f"'{path}' can't be written ({error.strerror or error}); free space there or choose another place "
            f"(store.root or --out)"
        ) from error


def json_bytes(value: object, *, sort: bool = True) -> bytes:
    """Encode JSON in a readable form, which is canonical if the keys are sorted."""
    return (json.dumps(value, indent=1, sort_keys=sort, allow_nan=False) + "\n").encode()


def stride_size(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width at which the scores of an image of that size are stored."""
    return -(-size[0] // STRIDE), -(-size[1] // STRIDE)


def encode_scores(scores: ScoreMap, labels: list[int]) -> bytes:
    """Encode the channels of the given labels as float16 at a quarter of the size.

    Args:
        scores: Class probabilities at the image's size, or already at ``stride_size`` of it.
        labels: Channels to store; the others are zero.
    """
    return save_tensors(
        {"scores": scores[labels].to(torch.float16).contiguous(), "labels": torch.tensor(labels, dtype=torch.uint8)}
    )


def decode_scores(content: bytes, classes: int) -> ScoreMap:
    """Decode the result of ``encode_scores``.

    Returns:
        (classes, h, w) float32, zero in the channels that were left out.
    """
    packed = load_tensors(content)
    scores = torch.zeros((classes, *packed["scores"].shape[1:]))
    scores[packed["labels"].long()] = packed["scores"].float()
    return scores


def resize_scores(scores: ScoreMap, size: tuple[int, int]) -> ScoreMap:
    """Resize class maps bilinearly, with antialiasing when downscaling."""
    if tuple(scores.shape[1:]) == size:
        return scores
    return interpolate(scores[None].float(), size=size, mode="bilinear", align_corners=False, antialias=True)[0]


def encode_labels(labels: LabelMap) -> bytes:
    """Write labels as a palette PNG in the VOC colours, ``IGNORE`` in white."""
    picture = PillowImage.fromarray(labels.to(torch.uint8).numpy(), mode=None)
    picture.putpalette(voc_palette().tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", compress_level=4)
    return buffer.getvalue()


def decode_labels(content: bytes) -> LabelMap:
    """Decode the result of ``encode_labels``."""
    return torch.from_numpy(np.array(PillowImage.open(io.BytesIO(content)), dtype=np.uint8))


def voc_palette() -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """Colours of the VOC development kit: bits of the label distributed over red, green and blue; ``IGNORE`` white.

    Returns:
        (256, 3) bytes.
    """
    label = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((label >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    colours[255] = 255
    return colours


class Artefact:
    """The folder of one stage, finished or in progress.

    Args:
        folder: ``<root>/store/<stage>/<key>``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, tuple[int, str]] | None = None

    @property
    def complete(self) -> bool:
        """Whether the stage is finished and its files have the sizes in its manifest.

        Raises:
            StoreError: If a file of a finished stage is missing or has another size.
        """
        if not (self.folder / MANIFEST).exists():
            return False
        for name, (size, _) in self.files.items():
            path = self.folder / name
            if not path.exists() or path.stat().st_size != size:
                raise StoreError(
                    f"'{path}' has changed since its stage wrote it (its manifest says {size} bytes); "
                    f"delete the folder '{self.folder}' and run again"
                )
        return True

    @property
    def files(self) -> dict[str, tuple[int, str]]:
        """Size and digest of each file of a finished stage."""
        if self._files is None:
            path = self.folder / MANIFEST
            try:
                listed = json.loads(path.read_bytes())["files"]
                self._files = {name: (int(entry[0]), str(entry[1])) for name, entry in listed.items()}
            except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
                raise StoreError(
                    f"'{path}' is not a manifest ({error}); delete the folder '{self.folder}' and run again"
                ) from error
        return self._files

    def path(self, kind: str, image: str, suffix: str) -> Path:
        """File of one image; valid for image names of any length and with any characters."""
        name = quote(image, safe="")
        if len(name) > LONGEST_NAME:
            name = f"{name[:LONGEST_NAME]}-{digest(image.encode())}"
        return self.folder / kind / f"{name}{suffix}"

    def read(self, path: Path) -> bytes:
        """Read a file, and verify it against the manifest of its finished stage.

        Raises:
            StoreError: If the file is missing or has changed.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise StoreError(f"'{path}' is missing; run `wsss run … until={self.folder.parent.name}` first") from error
        if (self.folder / MANIFEST).exists():
            known = self.files.get(path.relative_to(self.folder).as_posix())
            if known is None or known != (len(content), digest(content)):
                raise StoreError(
                    f"'{path}' has changed since its stage wrote it (its digest differs from the manifest's); "
                    f"delete the folder '{self.folder}' and run again"
                )
        return content

    def read_labels(self, image: str, kind: str = "labels") -> LabelMap:
        """Read the labels of one image, (H, W) uint8."""
        return decode_labels(self.read(self.path(kind, image, ".png")))

    def read_scores(self, image: str, classes: int) -> ScoreMap:
        """Read the scores of one image, (classes, H / 4, W / 4) float32."""
        return decode_scores(self.read(self.path("scores", image, ".safetensors")), classes)

    def read_tensors(self, name: str) -> dict[str, Tensor]:
        """Read a file of named tensors.

        Raises:
            StoreError: If it is not a safetensors file.
        """
        path = self.folder / name
        try:
            return load_tensors(self.read(path))
        except SafetensorError as error:
            raise StoreError(
                f"'{path}' contains no tensors ({error}); delete the folder '{self.folder}' and run again"
            ) from error

    def read_json(self, name: str) -> Any:  # noqa: ANN401 - whatever JSON holds
        """Read a JSON file."""
        return json.loads(self.read(self.folder / name))

    def finish(self, stage: str, key: str, version: int) -> None:
        """Complete the stage: collect the records of its units in the manifest, then delete files for resuming."""
        files: dict[str, list[Any]] = {}
        for note in sorted((self.folder / UNITS).glob("*.json")):
            files.update(json.loads(note.read_bytes()))
        manifest = {"stage": stage, "key": key, "version": version, "files": files}
        write_atomically(self.folder / MANIFEST, json_bytes(manifest))
        self.sweep()

    def sweep(self) -> None:
        """Delete files that are only needed for resuming from the folder of a finished stage."""
        for name in (UNITS, PROGRESS):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for leftover in self.folder.rglob(".*.tmp"):
            leftover.unlink(missing_ok=True)

    def unit_done(self, unit: str) -> bool:
        """Whether all files of a unit are written."""
        return (self.folder / UNITS / f"{unit}.json").exists()

    @contextlib.contextmanager
    def unit(self, name: str) -> "Iterator[UnitWriter]":
        """Write the files of one unit; the unit is done when the block ends without an error."""
        unit = UnitWriter(self)
        yield unit
        write_atomically(self.folder / UNITS / f"{name}.json", json_bytes(unit.written))

    @property
    def progress(self) -> Path:
        """Folder for files that only an interrupted training needs."""
        return self.folder / PROGRESS


class UnitWriter:
    """Writes the files of one unit of an artefact and records their digests."""

    def __init__(self, artefact: Artefact) -> None:
        self.artefact = artefact
        self.written: dict[str, tuple[int, str]] = {}

    def write(self, path: Path, content: bytes) -> None:
        """Write one file."""
        write_atomically(path, content)
        self.written[path.relative_to(self.artefact.folder).as_posix()] = (len(content), digest(content))

    def write_labels(self, image: str, labels: LabelMap, kind: str = "labels") -> None:
        """Write the labels of one image as a palette PNG."""
        self.write(self.artefact.path(kind, image, ".png"), encode_labels(labels))

    def write_scores(self, image: str, scores: ScoreMap, labels: list[int], size: tuple[int, int]) -> None:
        """Write the scores of one image at a quarter of its size (H, W)."""
        small = resize_scores(scores, stride_size(size))
        self.write(self.artefact.path("scores", image, ".safetensors"), encode_scores(small, labels))

    def write_tensors(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Write named tensors."""
        content = save_tensors({key: value.contiguous() for key, value in tensors.items()})
        self.write(self.artefact.folder / name, content)

    def write_json(self, name: str, value: object) -> None:
        """Write a JSON file."""
        self.write(self.artefact.folder / name, json_bytes(value))


class Store:
    """All artefacts below one root.

    Args:
        root: The setting ``store.root``.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def artefact(self, stage: str, key: str) -> Artefact:
        """The artefact of a stage, finished or not."""
        return Artefact(self.root / "store" / stage / key)

    @contextlib.contextmanager
    def locked(self, stage: str, key: str, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold the lock of a stage; wait while another running process holds it.

        The lock belongs to the open file of this process: the system releases it when the process ends, and child
        processes do not inherit it.

        Args:
            stage: Name of the stage.
            key: Key of the stage.
            waiting: Called once when another run holds the lock.

        Raises:
            StoreError: If the lock file cannot be written.
        """
        path = self.root / "locks" / f"{stage}-{key}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a")
        except OSError as error:
            raise StoreError(f"'{path}' can't be written ({error.strerror}); choose another store.root") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(file, fcntl.LOCK_EX)
            yield
