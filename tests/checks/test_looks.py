from pathlib import Path

import pytest
from PIL import Image as PillowImage

from tests.checks.broken import make_sound
from wsss.checks import looks
from wsss.checks.looks import look_at, look_at_all
from wsss.data import Dataset, open_dataset
from wsss.data.voc import VocSettings
from wsss.ranks import Pool


def opened(root: Path, tags: str = "file") -> Dataset:
    return open_dataset(VocSettings(root=str(root), tags=tags))


def test_a_file_that_is_read_with_a_warning_is_remarked_upon(tmp_path: Path) -> None:
    root = make_sound(tmp_path)
    with PillowImage.open(root / "JPEGImages" / "a.png") as picture:
        exif = b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\x00\x12\x01"
        picture.save(root / "JPEGImages" / "a.jpg", exif=exif)
    (root / "JPEGImages" / "a.png").unlink()
    (remark,) = look_at(opened(root), "train", "a").findings
    assert (remark.kind, remark.fault) == ("odd file", False)
    assert "a.jpg' is read with a warning (" in remark.text
    assert remark.text.endswith("; save it anew")


def test_one_cause_is_told_once(tmp_path: Path) -> None:
    root = make_sound(tmp_path)
    (root / "JPEGImages" / "a.png").write_bytes(b"")
    (root / "SegmentationClass" / "b.png").write_bytes(b"")
    dataset = opened(root, tags="masks")
    # the size of an image is asked for its mask's sake, too; tags of a mask fail as the mask does
    assert [finding.kind for finding in look_at(dataset, "train", "a").findings] == ["unreadable image"]
    assert [finding.kind for finding in look_at(dataset, "train", "b").findings] == ["unreadable mask"]


def test_worker_processes_tell_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = opened(make_sound(tmp_path))
    here = look_at_all(dataset)
    assert [(look.split, look.id) for look in here] == [("train", "a"), ("train", "b"), ("train", "c"), ("val", "v")]
    asked: list[int] = []

    class Counted(Pool):
        def __init__(self, workers: int) -> None:
            asked.append(workers)
            super().__init__(1)

    monkeypatch.setattr(looks, "PORTION", 1)
    monkeypatch.setattr(looks, "Pool", Counted)
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    assert look_at_all(dataset) == here
    monkeypatch.setattr(looks, "WORTHWHILE", 0.0)
    assert look_at_all(dataset) == here
    assert asked == [1, 3]
