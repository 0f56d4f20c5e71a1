"""Optional download of VOC 2012 and the masks of SBD (Hariharan et al., ICCV 2011).

Downloads appear atomically: they are assembled in a working folder beside the data set and renamed when complete. A
downloaded archive stays there until then, so that an interrupted download need not be repeated.
"""

import contextlib
import fcntl
import io
import os
import shutil
import tarfile
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import TextIO
from urllib.request import urlopen
from uuid import uuid4

import torch

from wsss import console
from wsss.annotations.formats import VOC_CLASSES
from wsss.data.files import read_lines
from wsss.errors import DataError
from wsss.store import encode_labels, write_atomically

MASKS_OF_SBD = 11355

PATIENCE = 60
"""Timeout of the server in seconds."""

PIECE = 1_000_000
"""Bytes per chunk."""

SBD_MASKS = "SegmentationClassAug"
"""Folder of the masks added by SBD."""

AUGMENTED = ("train_aug", "trainaug")
"""Names of the list of all images with a mask by VOC or SBD, without the validation images: 10582."""


def fetch_voc(root: Path) -> None:
    """Download the images, lists, boxes and masks of VOC 2012 (2 GB) unless the folder has content already.

    Args:
        root: Target folder, which will contain JPEGImages and the other parts.

    Raises:
        DataError: If they cannot be downloaded, or the checksum differs from the published one.
    """
    from torchvision.datasets.voc import DATASET_YEAR_DICT

    source = DATASET_YEAR_DICT["2012"]
    root = root.resolve()
    with _workshop(root) as work:
        # another process may have finished the download while this one waited for the lock
        if root.exists() and any(root.iterdir()):
            return
        console.note(f"downloading VOC 2012 (2 GB) to '{root}'")
        archive = _fetch(source["url"], source["filename"], source["md5"], work)
        _extract(archive, work / "extracted")
        whole = work / "extracted" / source["base_dir"]
        write_atomically(whole / "classes.txt", "\n".join(VOC_CLASSES).encode())
        root.parent.mkdir(parents=True, exist_ok=True)
        whole.rename(root)


def fetch_sbd(root: Path) -> None:
    """Download the masks of SBD (1.4 GB) for images without an official one, and list the training images.

    Masks are stored as palette PNG in SegmentationClassAug. The list, ImageSets/Segmentation/train_aug.txt, contains
    the images of train.txt and those with a mask of SBD, without those of val.txt. Existing files are kept.

    Args:
        root: Folder of VOC 2012.

    Raises:
        DataError: If they cannot be downloaded, or the checksum differs from the published one.
    """
    from torchvision.datasets import SBDataset

    lists = root / "ImageSets" / "Segmentation"
    root = root.resolve()
    with _workshop(root) as work:
        if not (root / SBD_MASKS).exists():
            console.note(f"downloading the masks of SBD (1.4 GB) to '{root / SBD_MASKS}'")
            archive = _fetch(SBDataset.url, SBDataset.filename, SBDataset.md5, work)
            official = {path.stem for path in (root / "SegmentationClass").glob("*.png")}
            _convert(archive, work / SBD_MASKS, official)
            (work / SBD_MASKS).rename(root / SBD_MASKS)
        if not any((lists / f"{name}.txt").exists() for name in AUGMENTED):
            cure = "restore the lists of VOC 2012"
            train, val = (set(read_lines(lists / f"{name}.txt", cure)) - {""} for name in ("train", "val"))
            drawn = {path.stem for path in (root / SBD_MASKS).glob("*.png")}
            names = sorted((train | drawn) - val)
            write_atomically(lists / f"{AUGMENTED[0]}.txt", "\n".join(names).encode())


@contextlib.contextmanager
def _workshop(root: Path) -> Iterator[Path]:
    """A folder beside the data set, for one process at a time; it is removed when the work is done."""
    work = root.parent / f".{root.name}.download"
    try:
        with _locked(work):
            yield work
            # rename at once and under the lock, as the next process may use the original name
            done = work.with_name(f"{work.name}.{uuid4().hex}")
            work.rename(done)
    except OSError as error:
        raise DataError(f"'{work}' can't be written ({error}); free disk space or set data.root elsewhere") from error
    # a process about to open the lock may still have created a file in it
    for _ in range(2):
        shutil.rmtree(done, ignore_errors=True)


def _locked(work: Path) -> TextIO:
    """Wait until no other process works in the folder; the lock ends with the process that holds it."""
    work.parent.mkdir(parents=True, exist_ok=True)
    while True:
        # another process may have finished and removed the folder just now, or while this one waited
        with contextlib.suppress(FileExistsError):
            work.mkdir()
        with contextlib.suppress(FileNotFoundError), contextlib.ExitStack() as closing:
            lock = closing.enter_context((work / "lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(lock.fileno()), (work / "lock").stat()):
                closing.pop_all()
                return lock


def _fetch(url: str, name: str, md5: str, work: Path) -> Path:
    """Download an archive unless it exists already, and verify its checksum."""
    from torchvision.datasets.utils import check_integrity

    path = work / name
    if check_integrity(path, md5):
        return path
    cure = f"download it by hand to '{path}' and run again"
    try:
        _retrieve(url, path)
    except (OSError, HTTPException) as error:
        raise DataError(f"'{url}' can't be downloaded ({getattr(error, 'reason', error)}); {cure}") from error
    if not check_integrity(path, md5):
        path.unlink()
        raise DataError(f"'{url}' has another checksum than {md5}, so it is damaged or not the archive; {cure}")
    return path


def _retrieve(url: str, path: Path) -> None:
    # torchvision's own function does not support file:// addresses, has no timeout and writes to the terminal
    with urlopen(url, timeout=PATIENCE) as answer, path.open("wb") as file:
        pieces = -(-int(answer.headers.get("Content-Length") or 0) // PIECE)
        with console.progress(f"{path.name}, MB", pieces) as advance:
            while piece := answer.read(PIECE):
                file.write(piece)
                advance()


def _extract(archive: Path, folder: Path) -> None:
    """Unpack an archive into an empty folder."""
    from torchvision.datasets.utils import extract_archive

    shutil.rmtree(folder, ignore_errors=True)
    extract_archive(archive, folder)


def _convert(archive: Path, folder: Path, official: set[str]) -> None:
    """Write SBD's masks as PNG, except those of images that have an official one."""
    from scipy.io import loadmat

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with tarfile.open(archive) as tar, console.progress("masks of SBD", MASKS_OF_SBD) as advance:
        for member in tar:
            path = Path(member.name)
            if path.suffix != ".mat" or path.parent.name != "cls":
                continue
            content = tar.extractfile(member)
            if content is not None and path.stem not in official:
                labels = loadmat(io.BytesIO(content.read()))["GTcls"][0]["Segmentation"][0]
                (folder / f"{path.stem}.png").write_bytes(encode_labels(torch.from_numpy(labels)))
            advance()
