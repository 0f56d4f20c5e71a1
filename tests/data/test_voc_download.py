import hashlib
import io
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image as PillowImage
from torch import Tensor

from tests.data.toys import make_voc, read_truth
from tests.drawing import picture
from wsss import console
from wsss.data import Dataset, open_dataset, voc_download
from wsss.data.voc import VocSettings
from wsss.errors import DataError

OFFICIAL = picture("00ff", "kk..")
"""A mask of VOC: the person (15) and the monitor (20)."""
DRAWN = picture("0111", "0000")
"""A mask of SBD, which has no pixels that nobody knows."""
LISTED = {"2007_000001": OFFICIAL, "2007_000002": OFFICIAL}
MEASURED = {"2007_000003": OFFICIAL}


def pack(folder: Path, archive: Path, inside: str) -> str:
    """Pack a folder under a name, and give the archive's checksum."""
    with tarfile.open(archive, "w:gz" if archive.suffix == ".tgz" else "w") as tar:
        tar.add(folder, inside)
    return hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest()


def matlab(labels: Tensor) -> bytes:
    from scipy.io import savemat

    stream = io.BytesIO()
    savemat(stream, {"GTcls": {"Segmentation": labels.numpy(), "CategoriesPresent": 1}})
    return stream.getvalue()


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for the archives: two images to learn from, one to measure on, and one that only SBD has drawn."""
    from torchvision.datasets import SBDataset
    from torchvision.datasets.voc import DATASET_YEAR_DICT

    away = tmp_path / "away"
    voc = make_voc(away / "voc", train={**LISTED, "2008_000004": OFFICIAL}, val=MEASURED)
    for name in ("classes.txt", "image_level_labels.txt", "SegmentationClass/2008_000004.png"):
        (voc / name).unlink()
    lists = voc / "ImageSets" / "Segmentation"
    (lists / "train.txt").write_text("\n".join(LISTED))
    annotations = voc / "Annotations"
    annotations.mkdir()
    for id in (*LISTED, *MEASURED, "2008_000004"):
        (annotations / f"{id}.xml").write_text("<annotation><object><name>bird</name></object></annotation>")
    sbd = away / "sbd" / "dataset"
    (sbd / "cls").mkdir(parents=True)
    (sbd / "inst").mkdir()
    for id in ("2007_000002", "2007_000003", "2008_000004"):
        (sbd / "cls" / f"{id}.mat").write_bytes(matlab(DRAWN))
        (sbd / "inst" / f"{id}.mat").write_bytes(b"something else")
    year = DATASET_YEAR_DICT["2012"]
    tar, tgz = away / year["filename"], away / SBDataset.filename
    monkeypatch.setitem(year, "md5", pack(voc, tar, "VOCdevkit/VOC2012"))
    monkeypatch.setitem(year, "url", tar.as_uri())
    monkeypatch.setattr(SBDataset, "md5", pack(away / "sbd", tgz, "benchmark_RELEASE"))
    monkeypatch.setattr(SBDataset, "url", tgz.as_uri())
    return away


def voc(root: Path, **settings: Any) -> Dataset:
    with console.quiet():
        return open_dataset(VocSettings(root=str(root), download=True, **settings))


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "away")


@pytest.mark.usefixtures("servers")
def test_voc_is_fetched_where_its_folder_is_missing(tmp_path: Path) -> None:
    dataset = voc(tmp_path / "data" / "mine")
    assert dataset.ids("train") == tuple(LISTED)
    assert dataset.ids("val") == tuple(MEASURED)
    assert (len(dataset.classes), dataset.classes[14], dataset.classes[19]) == (20, "person", "tvmonitor")
    assert torch.equal(read_truth(dataset, "2007_000003")[0], OFFICIAL)
    tags = dataset.tags("2007_000001")
    assert tags is not None
    assert dataset.classes[int(tags.int().argmax())] == "bird"
    # neither the archive nor a working folder stays behind
    assert left(tmp_path / "data") == ["mine"]


@pytest.mark.usefixtures("servers")
def test_the_augmented_images_get_the_masks_of_sbd(tmp_path: Path) -> None:
    root = tmp_path / "voc"
    dataset = voc(root, train_list="train_aug")
    assert dataset.ids("train") == (*LISTED, "2008_000004")
    # where there is an official mask it counts
    assert torch.equal(read_truth(dataset, "2007_000002")[0], OFFICIAL)
    assert torch.equal(read_truth(dataset, "2008_000004")[0], DRAWN)
    assert torch.equal(read_truth(dataset, "2007_000003")[0], OFFICIAL)
    with PillowImage.open(root / "SegmentationClassAug" / "2008_000004.png") as mask:
        assert mask.mode == "P"
        assert mask.palette is not None
        assert mask.palette.getdata()[1][3:6] == bytes([128, 0, 0])
    assert left(tmp_path) == ["voc"]
    assert left(root / "SegmentationClassAug") == ["2008_000004.png"]


def test_what_is_there_is_not_fetched_again(tmp_path: Path, servers: Path) -> None:
    root = tmp_path / "voc"
    before = voc(root, train_list="train_aug").fingerprint("train", truth=True)
    for archive in servers.glob("*.t*"):
        archive.unlink()
    assert voc(root, train_list="train_aug").fingerprint("train", truth=True) == before
    # a list that got lost is made anew from the masks, without the network
    (root / "ImageSets" / "Segmentation" / "train_aug.txt").unlink()
    assert voc(root, train_list="trainaug").fingerprint("train", truth=True) == before


@pytest.mark.usefixtures("servers")
def test_nothing_is_fetched_unless_asked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"voc' is missing, .* data\.download=true to download VOC 2012 there"):
        open_dataset(VocSettings(root=str(tmp_path / "voc")))
    assert left(tmp_path) == []
    voc(tmp_path / "voc")
    with pytest.raises(DataError, match=r"train_aug\.txt' is missing.*data\.download=true to create it from the masks"):
        open_dataset(VocSettings(root=str(tmp_path / "voc"), tags="xml", train_list="train_aug"))


def test_an_archive_with_another_checksum_is_refused_in_one_sentence(tmp_path: Path, servers: Path) -> None:
    archive = next(servers.glob("*.tar"))
    archive.write_bytes(archive.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match=r"trainval_11-May-2012\.tar' has another checksum than [0-9a-f]{32}.*by hand"):
        voc(tmp_path / "voc")
    assert left(tmp_path) == [".voc.download"]
    assert left(tmp_path / ".voc.download") == ["lock"]


def test_an_archive_that_can_not_be_fetched_may_be_put_there_by_hand(tmp_path: Path, servers: Path) -> None:
    archive = next(servers.glob("*.tar"))
    archive.rename(tmp_path / "by hand")
    with pytest.raises(
        DataError, match=r"can't be downloaded .*No such file.* by hand to '.*voc\.download/VOC.*\.tar'"
    ):
        voc(tmp_path / "voc")
    (tmp_path / "by hand").rename(tmp_path / ".voc.download" / archive.name)
    assert voc(tmp_path / "voc").ids("val") == tuple(MEASURED)


@pytest.mark.usefixtures("servers")
@pytest.mark.parametrize("step", ["_fetch", "_extract", "_convert"])
def test_whoever_is_interrupted_leaves_nothing_that_is_read_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    work = getattr(voc_download, step)

    def interrupted(*args: Any) -> None:
        work(*args)
        for path in (tmp_path / ".voc.download").rglob("*.[tp][an][rg]"):
            # as a kill in the middle leaves it
            path.write_bytes(path.read_bytes()[:50])
        raise KeyboardInterrupt

    monkeypatch.setattr(voc_download, step, interrupted)
    with pytest.raises(KeyboardInterrupt):
        voc(tmp_path / "voc", train_list="train_aug")
    monkeypatch.setattr(voc_download, step, work)
    assert not (tmp_path / "voc" / "SegmentationClassAug").exists()
    assert (tmp_path / "voc").exists() == (step == "_convert")
    dataset = voc(tmp_path / "voc", train_list="train_aug")
    assert torch.equal(read_truth(dataset, "2008_000004")[0], DRAWN)
    assert left(tmp_path) == ["voc"]


@pytest.mark.usefixtures("servers")
def test_processes_that_want_the_same_data_fetch_them_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch, fetched = voc_download._fetch, []

    def counted(url: str, name: str, md5: str, work: Path) -> Path:
        fetched.append(name)
        return fetch(url, name, md5, work)

    monkeypatch.setattr(voc_download, "_fetch", counted)
    # the lock belongs to an opening of its file, so threads shut each other out as processes do
    with ThreadPoolExecutor(3) as pool:
        opened = list(pool.map(lambda _: voc(tmp_path / "voc", train_list="train_aug"), range(3)))
    assert sorted(fetched) == ["VOCtrainval_11-May-2012.tar", "benchmark.tgz"]
    assert {dataset.ids("train") for dataset in opened} == {(*LISTED, "2008_000004")}
    assert left(tmp_path) == ["voc"]


@pytest.mark.usefixtures("servers")
def test_an_empty_folder_counts_as_missing(tmp_path: Path) -> None:
    (tmp_path / "voc").mkdir()
    assert voc(tmp_path / "voc").ids("val") == tuple(MEASURED)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    with pytest.raises(DataError, match="JPEGImages' is missing"):
        voc(tmp_path / "other")
