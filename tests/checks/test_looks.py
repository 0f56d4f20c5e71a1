from pathlib import Path

import pytest
import torch
from PIL import Image as PillowImage

from tests.checks.broken import make_sound
from tests.data.toys import save_mask
from wsss.checks import looks
from wsss.checks.looks import look_at, look_at_all, read_outlines
from wsss.data import Dataset, open_dataset
from wsss.data.voc import VocSettings
from wsss.functional.lookalikes import outline
from wsss.ranks import Pool


def opened(root: Path, tags: str = "file", *, background: bool = True) -> Dataset:
    return open_dataset(VocSettings(root=str(root), tags=tags, background=background))


def test_a_file_that_is_read_with_a_warning_is_remarked_upon(tmp_path: Path) -> None:
    root = make_sound(tmp_path)
    with PillowImage.open(root / "JPEGImages" / "a.png") as picture:
        exif = b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\x00\x12\x01"
        picture.save(root / "JPEGImages" / "a.jpg", exif=exif)
    (root / "JPEGImages" / "a.png").unlink()
    (remark,) = look_at(opened(root), "train", "a").findings
    assert (remark.kind, remark.fault) == ("odd file", False)
    assert "a.jpg' is read with a warning (" in remark.text
    assert remark.text.endswith("; save it again")


def test_one_cause_is_told_once(tmp_path: Path) -> None:
    root = make_sound(tmp_path)
    (root / "JPEGImages" / "a.png").write_bytes(b"")
    (root / "SegmentationClass" / "b.png").write_bytes(b"")
    dataset = opened(root, tags="masks")
    # the size of an image is asked for its mask's sake, too; tags of a mask fail as the mask does
    assert [finding.kind for finding in look_at(dataset, "train", "a").findings] == ["unreadable image"]
    assert [finding.kind for finding in look_at(dataset, "train", "b").findings] == ["unreadable mask"]


def test_a_mask_that_is_unknown_all_over_contradicts_no_tag(tmp_path: Path) -> None:
    root = make_sound(tmp_path)
    unknown = torch.full((24, 32), 255, dtype=torch.uint8)
    save_mask(root / "SegmentationClass" / "a.png", unknown)
    assert look_at(opened(root), "train", "a").findings == ()
    # one pixel of background is something that it says
    unknown[0, 0] = 0
    save_mask(root / "SegmentationClass" / "a.png", unknown)
    assert [finding.kind for finding in look_at(opened(root), "train", "a").findings] == ["tags against mask"]
    assert look_at(opened(root, background=False), "train", "a").findings == ()


def test_outlines_are_read_in_portions_and_are_empty_where_an_image_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_sound(tmp_path)
    dataset = opened(root)
    whole = read_outlines(dataset, ["a", "b", "v"])
    assert torch.equal(whole[2], outline(dataset.image("v")))
    (root / "JPEGImages" / "b.png").write_bytes(b"")
    monkeypatch.setattr(looks, "PORTION", 2)
    assert torch.equal(read_outlines(dataset, ["a", "b", "v"]), whole * torch.tensor([1, 0, 1])[:, None, None])


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
    monkeypatch.setattr("wsss.ranks.cores", lambda: 3)
    assert look_at_all(dataset) == here
    monkeypatch.setattr(looks, "WORTHWHILE", 0.0)
    assert look_at_all(dataset) == here
    assert asked == [1, 3]
