"""VOC 2012 and the masks of SBD (Hariharan et al., ICCV 2011) over the network, for those who ask for them.

What is fetched appears whole or not at all: it is put together in a working folder beside the data set and renamed when
it is complete. An archive that has arrived stays there until then, so whoever is interrupted does not fetch it again.
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
"""Seconds that a server may take to say something."""

PIECE = 1_000_000
"""Bytes that are read and written at once."""

SBD_MASKS = "SegmentationClassAug"
"""Folder of the masks that SBD adds."""

AUGMENTED = ("train_aug", "trainaug")
"""Names of the list of all images that VOC or SBD has drawn a mask for, less those to measure on: 10582."""


def fetch_voc(root: Path) -> None:
    """Fetch the images, lists, boxes and masks of VOC 2012 (2 GB) unless something lies there already.

    Args:
        root: The folder to be, which will hold JPEGImages and what belongs to it.

    Raises:
        DataError: If they can't be fetched, or have another checksum than the published one.
    """
    from torchvision.datasets.voc import DATASET_YEAR_DICT

    source = DATASET_YEAR_DICT["2012"]
    root = root.resolve()
    with _workshop(root) as work:
        # whoever waited for the lock may find the work done
        if root.exists() and any(root.iterdir()):
            return
        console.note(f"fetching VOC 2012 (2 GB) to '{root}'")
        archive = _fetch(source["url"], source["filename"], source["md5"], work)
        _extract(archive, work / "extracted")
        whole = work / "extracted" / source["base_dir"]
        write_atomically(whole / "classes.txt", "\n".join(VOC_CLASSES).encode())
        root.parent.mkdir(parents=True, exist_ok=True)
        whole.rename(root)


def fetch_sbd(root: Path) -> None:
    """Fetch the masks of SBD (1.4 GB) for images without an official one, and list the images to learn from.

    Masks are kept as palette PNG in SegmentationClassAug. The list, ImageSets/Segmentation/train_aug.txt, holds the
    images of train.txt and those with a mask of SBD, without those of val.txt. What is there already stays as it is.

    Args:
        root: Folder of VOC 2012.

    Raises:
        DataError: If they can't be fetched, or have another checksum than the published one.
    """
    from torchvision.datasets import SBDataset

    lists = root / "ImageSets" / "Segmentation"
    root = root.resolve()
    with _workshop(root) as work:
        if not (root / SBD_MASKS).exists():
            console.note(f"fetching the masks of SBD (1.4 GB) to '{root / SBD_MASKS}'")
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
    """A folder beside the data set, for one process at a time; it goes when the work is done."""
    work = root.parent / f".{root.name}.download"
    try:
        with _locked(work):
            yield work
            # at once and under the lock, or it would be taken from under the process that comes next
            done = work.with_name(f"{work.name}.{uuid4().hex}")
            work.rename(done)
    except OSError as error:
        raise DataError(f"'{work}' can't be written ({error}); make room or set data.root elsewhere") from error
    # one that was about to open the lock may still have made a file in it
    for _ in range(2):
        shutil.rmtree(done, ignore_errors=True)


def _locked(work: Path) -> TextIO:
    """Wait until no other process works in the folder; the lock goes with its holder, however that ends."""
    work.parent.mkdir(parents=True, exist_ok=True)
    while True:
        # another process, done this moment, may have taken the folder away, or have done so while this one waited
        with contextlib.suppress(FileExistsError):
            work.mkdir()
        with contextlib.suppress(FileNotFoundError), contextlib.ExitStack() as closing:
            lock = closing.enter_context((work / "lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(lock.fileno()), (work / "lock").stat()):
                closing.pop_all()
                return lock


def _fetch(url: str, name: str, md5: str, work: Path) -> Path:
    """Fetch an archive unless it lies there, and check its sum."""
    from torchvision.datasets.utils import check_integrity

    path = work / name
    if check_integrity(path, md5):
        return path
    cure = f"fetch it by hand to '{path}' and start again"
    try:
        _retrieve(url, path)
    except (OSError, HTTPException) as error:
        raise DataError(f"'{url}' can't be fetched ({getattr(error, 'reason', error)}); {cure}") from error
    if not check_integrity(path, md5):
        path.unlink()
        raise DataError(f"'{url}' has another checksum than {md5}, so it is damaged or not the archive; {cure}")
    return path


def _retrieve(url: str, path: Path) -> None:
    # torchvision's own function reads no file:// address, waits for ever and writes to the terminal by itself
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
