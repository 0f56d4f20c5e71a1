import json
import pickle  # noqa: TID251 - as worker processes get it
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

import wsss
from tests.checks.broken import make_broken, make_sound, smooth_photo
from tests.data.toys import write
from wsss.annotations import Annotation, Box, Boxes, ImageTags, Point, Points
from wsss.checks.data import check_data
from wsss.checks.looks import Finding
from wsss.checks.report import DataReport
from wsss.config import load
from wsss.data import Dataset, open_dataset
from wsss.data.faults import gathered_faults
from wsss.data.manifests import write_manifest
from wsss.data.synthetic import SyntheticSettings
from wsss.data.voc import VocSettings
from wsss.errors import DataError, SettingsError
from wsss.plotting import draw_tiles
from wsss.types import Image, LabelMap, Tags


def check(root: Path, *settings: str, kind: str = "voc") -> DataReport:
    return check_data(f"data={kind}", f"data.root={root}", f"store.root={root.parent / 'runs'}", *settings)


def of_kind(report: DataReport, kind: str) -> list[Finding]:
    return [finding for finding in report.findings if finding.kind == kind]


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw one contact sheet, that of the broken data set, and no other."""
    monkeypatch.setattr("wsss.checks.sheet.draw_tiles", lambda *_, **__: None)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> DataReport:
    return check(make_broken(tmp_path_factory.mktemp("data") / "broken"))


def test_what_is_in_a_sound_data_set_is_counted_and_nothing_is_wrong(tmp_path: Path) -> None:
    report = check(make_sound(tmp_path / "sound"))
    assert report.ok
    assert report.findings == []
    train, val = report.splits
    assert train == {
        "split": "train",
        "images": 3,
        "tagged": 2,
        "known_empty": 1,
        "untagged": 0,
        "with_truth": 2,
        "smallest": (24, 32),
        "median": (24, 32),
        "largest": (24, 32),
    }
    assert (val["images"], val["tagged"], val["with_truth"]) == (1, 1, 1)
    counts = {row["class"]: tuple(row.values())[2:] for row in report.classes}
    # a mask has 768 pixels, 128 of them a cat; that of b has one of a dog, too
    assert counts == {
        "background": (None, 2, 2 * 640 - 1, None, 1, 640),
        "cat": (2, 2, 256, 1, 1, 128),
        "dog": (1, 1, 1, 0, 0, 0),
        "unknown": (None, 0, 0, None, 0, 0),
    }


def test_sizes_are_ordered_by_area(tmp_path: Path) -> None:
    root = make_sound(tmp_path / "sound")
    for id, size in {"a": (30, 10), "b": (12, 12), "c": (40, 20)}.items():
        (root / "SegmentationClass" / f"{id}.png").unlink(missing_ok=True)
        PillowImage.new("RGB", (size[1], size[0]), (size[0], 0, 0)).save(root / "JPEGImages" / f"{id}.png")
    (train, _) = check(root).splits
    assert (train["smallest"], train["median"], train["largest"]) == ((12, 12), (30, 10), (40, 20))


@pytest.mark.parametrize(
    ("kind", "file", "rule", "cure"),
    [
        ("list or table", "train.txt", "names 'b' more than once", "delete the repeated lines"),
        ("list or table", "image_level_labels.txt", "line 5, tags class '9'", "fix the line"),
        ("missing image", "gone.jpg", "is missing", "restore the files or take them off the list"),
        ("unreadable image", "cut.jpg", "truncated", "replace the file"),
        ("unreadable image", "nothing.jpg", "cannot identify", "replace the file"),
        ("mask of another size", "size.png", "is 32 × 24 (rows × columns)", "draw the mask on that image again"),
        ("label without a class", "label.png", "labelled 7, labels must be 0 to 3 or 255", "fix the mask"),
        ("mask of colours", "colours.png", "must be one byte per pixel", "save the class numbers"),
        ("duplicate image", "same.png", "of split train have the same pixels", "keep one"),
        ("image in two splits", "leak.png", "b.png' of split train and", "remove one"),
        ("look-alike in two splits", "near.jpg", "c.png' of split train and", "remove one"),
        ("class without a training image", "'cow'", "has no tag or other label in any training image", "tag some"),
    ],
)
def test_every_fault_is_one_line_with_file_rule_and_cure(
    broken: DataReport, kind: str, file: str, rule: str, cure: str
) -> None:
    (found,) = (finding for finding in of_kind(broken, kind) if file in finding.text)
    assert found.fault
    assert rule in found.text
    assert cure in found.text
    assert "\n" not in found.text


@pytest.mark.parametrize(("values", "shown"), [((0, 255), "0 and 255"), ((255,), "255"), ((0,), "0")])
def test_masks_that_show_no_class_at_all_are_a_fault(tmp_path: Path, values: tuple[int, ...], shown: str) -> None:
    root = make_sound(tmp_path / "sound")
    for path in (root / "SegmentationClass").glob("*.png"):
        mask = np.zeros((24, 32), dtype=np.uint8)
        mask[:], mask[:12] = values[0], values[-1]
        PillowImage.fromarray(mask).save(path)
    (found,) = of_kind(check(root), "masks without classes")
    assert found.fault
    assert f"contain only {shown}; 0 is background and 255 unknown; save the number" in found.text


def test_a_mask_that_is_unknown_throughout_is_remarked(tmp_path: Path) -> None:
    root = make_sound(tmp_path / "sound")
    PillowImage.fromarray(np.full((24, 32), 255, dtype=np.uint8)).save(root / "SegmentationClass" / "b.png")
    report = check(root)
    (found,) = of_kind(report, "mask without labels")
    assert not found.fault
    assert "b.png' is 255 (unknown) at every pixel" in found.text
    assert of_kind(report, "masks without classes") == []


def test_a_validation_image_without_a_mask_is_remarked_where_others_have_one(tmp_path: Path) -> None:
    root = make_sound(tmp_path / "sound")
    lists = root / "ImageSets" / "Segmentation"
    train, (scored, *_) = ((lists / f"{name}.txt").read_text().split() for name in ("train", "val"))
    bare = next(id for id in train if not (root / "SegmentationClass" / f"{id}.png").exists())
    (lists / "val.txt").write_text(f"{scored}\n{bare}\n")
    (found,) = of_kind(check(root), "image without a mask")
    assert not found.fault
    assert bare in found.text
    (root / "SegmentationClass" / f"{scored}.png").unlink()
    report = check(root)
    assert [len(of_kind(report, kind)) for kind in ("image without a mask", "no truth")] == [0, 1]


def test_nothing_else_is_found_wrong(broken: DataReport) -> None:
    assert not broken.ok
    assert len(broken.faults) == 13
    (untold,) = (fault.text for fault in broken.faults if fault.kind == "tags against mask")
    assert "odd.jpg" in untold
    assert "shows 'cat' in its mask and is not tagged with it" in untold


def test_what_may_be_meant_is_remarked(broken: DataReport) -> None:
    remarks = [finding for finding in broken.findings if not finding.fault]
    kinds = [remark.kind for remark in remarks]
    assert kinds == ["tags against mask", *2 * ["image without a mask"], "untagged image"]
    assert "odd.jpg" in remarks[0].text
    assert "is tagged 'dog', which its mask does not show" in remarks[0].text
    assert "untagged.jpg" in remarks[-1].text


def test_images_that_can_be_read_are_counted_beside_those_that_can_not(broken: DataReport) -> None:
    train = broken.splits[0]
    # 13 lines, one of them repeated, one without a file
    assert (train["images"], train["tagged"], train["known_empty"], train["untagged"]) == (11, 9, 1, 1)
    assert train["with_truth"] == 3
    assert broken.sheet is not None
    with PillowImage.open(broken.sheet) as drawn:
        assert drawn.width > 300


def test_the_same_image_named_in_both_lists_is_a_leak(tmp_path: Path) -> None:
    root = make_sound(tmp_path / "sound")
    write(root / "ImageSets/Segmentation/val.txt", "v", "a")
    assert [finding.kind for finding in check(root).findings] == ["image in two splits"]


def test_a_missing_list_leaves_the_rest_to_be_checked(tmp_path: Path) -> None:
    root = make_sound(tmp_path / "sound")
    write(root / "ImageSets/Segmentation/train.txt")
    (root / "JPEGImages" / "v.png").write_bytes(b"no image")
    report = check(root)
    assert [finding.kind for finding in report.faults] == ["empty list", "unreadable image"]
    assert "train.txt' names no image; write one image name per line" in report.faults[0].text
    assert report.sheet is None


def test_what_leaves_nothing_to_look_at_is_still_told_with_all_before_it(tmp_path: Path) -> None:
    root = make_sound(tmp_path / "sound")
    (root / "classes.txt").unlink()
    write(root / "ImageSets/Segmentation/train.txt", "a", "a", "gone")
    report = check(root)
    told = ("names 'a' more", "gone.jpg' is missing", "classes.txt' is missing")
    assert [part for finding in report.faults for part in told if part in finding.text] == list(told)
    assert (report.splits, report.classes, report.sheet) == ([], [], None)


def test_a_folder_with_a_table_is_checked_line_by_line(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    for seed, id in enumerate("abcd"):
        smooth_photo(root / "images" / f"{id}.png", seed)
    smooth_photo(root / "images" / "a.bmp", 9)
    smooth_photo(root / "masks" / "a_mask.png", 0)
    lines = ("a,cat,train", "b,cow,train", "x,cat,train", "c,cat,test", "a,cat,train", "d,cat;dog,val")
    write(root / "tags.csv", "image,tags,split", *lines)
    write(root / "classes.txt", "cat", "dog")
    report = check(root, kind="folder")
    texts = [finding.text for finding in report.findings]
    for part in (
        "are both called 'a'",
        "line 3, has the tag 'cow'",
        "line 4, names the image 'x'",
        "line 5, has the split 'test'",
        "line 6, names the image 'a' again",
        "a_mask.png' is the mask of no image",
        "class 'dog' (label 2) has no tag or other label in any training image",
        "b.png' is a training image without tags",
    ):
        assert len([text for text in texts if part in text]) == 1, part
    assert (report.splits[0]["images"], report.splits[1]["images"]) == (3, 1)


def test_settings_that_are_none_and_folders_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"data\.rooot is not a setting"):
        check_data("data.rooot=1")
    with pytest.raises(DataError, match=r"set data\.root to the folder of the data"):
        check(tmp_path / "nowhere")
    with pytest.raises(SettingsError, match="config must be given alone"):
        check_data("seed=1", config=load())


def test_synthetic_images_are_sound_and_python_can_ask_with_names(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"data.train": 12, "data.val": 0, "data.size": 32}
    report = wsss.check_data(out=tmp_path / "sheet.png", **settings)
    assert report.ok
    assert [finding.text for finding in report.findings if "validation" in finding.text] == [
        "data set 'synthetic' has no validation image; without one nothing is scored"
    ]
    assert report.splits[0]["images"] == 12
    assert report.sheet == tmp_path / "sheet.png"
    assert json.loads(json.dumps(report.to_dict()))["ok"]


@pytest.mark.parametrize("place", ["file/sheet.png", "folder"], ids=["in what is no folder", "at a folder"])
def test_a_contact_sheet_that_can_not_be_written_costs_nothing_of_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "folder").mkdir()
    monkeypatch.setattr("wsss.checks.sheet.draw_tiles", draw_tiles)
    root = make_sound(tmp_path / "sound")
    report = check_data("data=voc", f"data.root={root}", out=tmp_path / place)
    (finding,) = report.findings
    assert finding.text.startswith(f"'{tmp_path / place}' can't be written (")
    assert finding.text.endswith("; choose another file with --out")
    assert (report.ok, report.sheet, [row["images"] for row in report.splits]) == (True, None, [3, 1])
    assert not list((tmp_path / "folder").iterdir())


class Noise(Dataset):
    """A data set that is none of the house's and of which one image can't be drawn."""

    def __init__(self) -> None:
        super().__init__("noise", ("cat",), background=True, ids={"train": ("a", "b", "c"), "val": ("d",)})

    def size(self, id: str) -> tuple[int, int]:  # noqa: ARG002 - all alike
        return 8, 8

    def image(self, id: str) -> Image:
        if id == "b":
            raise DataError("'b' ran dry")
        return torch.from_numpy(np.random.default_rng(ord(id)).integers(0, 256, (3, 8, 8), dtype=np.uint8))

    def tags(self, id: str) -> Tags | None:
        return None if id == "c" else torch.tensor([True])

    def truth(self, id: str) -> LabelMap | None:
        if id == "d":
            raise DataError("polygon 7 of 'd' has two corners")
        return None


def test_a_data_set_of_any_kind_is_checked_through_its_interface(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opener: Callable[[object], Dataset] = lambda _: Noise()  # noqa: E731
    monkeypatch.setattr("wsss.checks.data.open_dataset", opener)
    report = check_data(out=tmp_path / "sheet.png")
    assert [(finding.kind, finding.text) for finding in report.faults] == [
        ("unreadable image", "'b' ran dry"),
        ("unreadable mask", "polygon 7 of 'd' has two corners"),
    ]
    assert "image 'c' is a training image without tags" in report.table()


def test_a_data_set_with_faults_reaches_the_workers(tmp_path: Path) -> None:
    settings = VocSettings(root=str(make_broken(tmp_path / "broken")))
    with gathered_faults() as faults:
        dataset = open_dataset(settings)
    assert faults
    assert pickle.loads(pickle.dumps(dataset)).ids("train") == dataset.ids("train")


def test_labels_are_checked_too_where_they_are_given(tmp_path: Path) -> None:
    small: dict[str, Any] = {
        "data": "synthetic",
        "data.train": 3,
        "data.val": 1,
        "data.size": 32,
        "store.root": str(tmp_path),
    }
    data = open_dataset(SyntheticSettings(train=3, val=1, size=32))
    names = data.ids("train")
    small |= {"labels.kinds": ["boxes"], "labels.source": "manifest", "labels.manifest": str(tmp_path / "labels.json")}

    def faults() -> list[str]:
        found = check_data(**small).findings
        return [finding.text for finding in found if finding.kind == "labels"]

    (missing,) = faults()
    assert "labels.json" in missing
    boxes = {names[0]: Box(1, 0, 0, 2, 2), names[2]: Box(1, 0, 0, 50, 2)}
    annotations = {name: Annotation(boxes=Boxes((box,))) for name, box in boxes.items()}
    write_manifest(tmp_path / "labels.json", annotations, data.classes)
    (outside,) = faults()
    assert names[2] in outside
    assert "(0, 0, 50, 2)" in outside


def test_what_a_manifest_names_is_neither_untagged_nor_without_an_image(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    for seed, id in enumerate("abcv"):
        smooth_photo(root / "images" / f"{id}.png", seed)
    write(root / "tags.csv", "image,tags,split", "v,cat,val")
    write(root / "classes.txt", "cat", "dog", "cow")
    labels = root / "labels.json"
    annotations = {
        "a": Annotation(tags=ImageTags((1,)), tags_complete=True),
        "b": Annotation(points=Points((Point(2, 3, 4),))),
    }
    write_manifest(labels, annotations, ("cat", "dog", "cow"))

    def told(*settings: str) -> list[tuple[str, str]]:
        findings = check(root, *settings, kind="folder").findings
        kinds = ("untagged image", "class without a training image", "labels")
        return [(finding.kind, finding.text.partition(";")[0]) for finding in findings if finding.kind in kinds]

    def unlearnt(*names: str) -> list[tuple[str, str]]:
        labelled = {name: f"class '{name}' (label {label})" for label, name in enumerate(("cat", "dog", "cow"), 1)}
        rule = "has no tag or other label in any training image"
        return [("class without a training image", f"{labelled[name]} {rule}") for name in names]

    def untagged(*ids: str) -> list[tuple[str, str]]:
        rule = "is a training image without tags or other labels"
        return [("untagged image", f"'{root / 'images' / id}.png' {rule}") for id in ids]

    given = ("labels.source=manifest", f"labels.manifest={labels}")
    assert told() == unlearnt("cat", "dog", "cow") + untagged("a", "b", "c")
    assert told("labels.kinds=[tags,points]", *given) == unlearnt("cow") + untagged("c")
    assert told(*given) == unlearnt("dog", "cow") + untagged("b", "c")
    # what lies outside is told once, and is no image without labels
    write_manifest(labels, annotations | {"c": Annotation(points=Points((Point(3, 99, 0),)))}, ("cat", "dog", "cow"))
    *rest, (kind, text) = told("labels.kinds=[tags,points]", *given)
    assert rest == unlearnt("cow")
    assert (kind, "row 99" in text) == ("labels", True)
