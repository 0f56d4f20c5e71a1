import pickle  # noqa: TID251 - how worker processes get a data set
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.data.toys import SHARED, make_voc, needs_shared, save_mask, save_photo, write
from tests.drawing import picture
from wsss.data import Dataset, open_dataset
from wsss.data.voc import VocSettings
from wsss.errors import DataError, SettingsError

MASK = picture("001122", "00..22", "000022", "000000")


def voc(root: Path, **settings: Any) -> Dataset:
    return open_dataset(VocSettings(root=str(root), **settings))


def make_default(root: Path) -> Path:
    return make_voc(
        root,
        train={"cats": MASK, "nothing": MASK, "unsaid": None, "two words": None},
        val={"unseen": MASK},
        tags=("cats 1", "nothing", "two words 2 1", "elsewhere 9"),
    )


def test_a_folder_in_the_voc_layout_is_read(tmp_path: Path) -> None:
    dataset = voc(make_default(tmp_path / "toy"))
    assert dataset.name == "toy"
    assert dataset.classes == ("cat", "dog")
    assert dataset.ids("train") == ("cats", "nothing", "unsaid", "two words")
    assert dataset.ids("val") == ("unseen",)
    sample = dataset.sample("cats")
    assert sample.image.shape == (3, 4, 6)
    assert sample.image.dtype == torch.uint8
    assert dataset.size("cats") == (4, 6)
    assert sample.truth is not None
    assert torch.equal(sample.truth, MASK)
    assert dataset.truth("unsaid") is None


def test_unknown_tags_differ_from_tags_known_to_be_empty(tmp_path: Path) -> None:
    dataset = voc(make_default(tmp_path))
    listed = {id: dataset.tags(id) for id in dataset.ids("train")}
    assert listed["unsaid"] is None
    assert {id: tags.tolist() for id, tags in listed.items() if tags is not None} == {
        "cats": [True, False],  # the mask shows a dog too: tags are evidence, not fact
        "nothing": [False, False],
        "two words": [True, True],
    }
    assert dataset.possible("unsaid") == [0, 1, 2]
    assert dataset.possible("nothing") == [0]


def test_tags_derived_from_masks_are_unknown_where_there_is_no_mask(tmp_path: Path) -> None:
    dataset = voc(make_default(tmp_path), tags="masks")
    seen = dataset.tags("cats")
    assert seen is not None
    assert seen.tolist() == [True, True]
    assert dataset.tags("unsaid") is None


def test_tags_derived_from_a_mask_that_knows_no_pixel_are_unknown(tmp_path: Path) -> None:
    masks = {"blank": picture("....", "...."), "ground": picture("00..", "...."), "sea": picture("0..2", "....")}
    root = make_voc(tmp_path, train=masks, val={"unseen": MASK}, classes=("sky", "sea"))

    def tags(**settings: Any) -> dict[str, list[bool] | None]:
        dataset = voc(root, tags="masks", **settings)
        found = {id: dataset.tags(id) for id in masks}
        return {id: None if entry is None else entry.tolist() for id, entry in found.items()}

    assert tags() == {"blank": None, "ground": [False, False], "sea": [False, True]}
    assert tags(background=False) == {"blank": None, "ground": None, "sea": [False, True]}


def test_tags_are_read_from_xml_by_name(tmp_path: Path) -> None:
    root = make_default(tmp_path)
    write(root / "Annotations" / "cats.xml", "<annotation><object><name> dog </name></object></annotation>")
    write(root / "Annotations" / "nothing.xml", "<annotation/>")
    dataset = voc(root, tags="xml")
    tags = [dataset.tags(id) for id in ("cats", "nothing")]
    assert [entry.tolist() for entry in tags if entry is not None] == [[False, True], [False, False]]
    assert dataset.tags("unsaid") is None

    write(root / "Annotations" / "unseen.xml", "<annotation><object><name>cow</name></object></annotation>")
    with pytest.raises(DataError, match=r"unseen\.xml' names an object 'cow'.*add it to classes\.txt"):
        dataset.tags("unseen")
    write(root / "Annotations" / "unseen.xml", "<annotation>")
    with pytest.raises(DataError, match=r"unseen\.xml' is not XML"):
        dataset.tags("unseen")


def test_tags_are_read_from_an_array_by_name(tmp_path: Path) -> None:
    root = make_default(tmp_path / "voc")
    np.save(root / "cls_labels.npy", np.array({"cats": np.array([0.0, 1.0]), "elsewhere": np.ones(2)}, dtype=object))
    np.save(tmp_path / "other.npy", np.array({"cats": np.array([1.0, 1.0])}, dtype=object))
    for path, wanted in {"cls_labels.npy": [False, True], str(tmp_path / "other.npy"): [True, True]}.items():
        dataset = voc(root, tags=path)
        tags = dataset.tags("cats")
        assert tags is not None
        assert tags.tolist() == wanted
        assert dataset.tags("nothing") is None
    with pytest.raises(DataError, match=r"voc/none\.npy' is missing"):
        voc(root, tags="none.npy")


@pytest.mark.parametrize("file", ["train_aug", "trainaug"])
@pytest.mark.parametrize("name", ["train_aug", "trainaug"])
def test_augmented_images_have_the_masks_of_both_folders(tmp_path: Path, file: str, name: str) -> None:
    root = make_default(tmp_path)
    # as published: a list of paths
    lines = (f"/JPEGImages/{id}.jpg /SegmentationClassAug/{id}.png" for id in ("cats", "unsaid", "two words"))
    write(root / "ImageSets" / "Segmentation" / f"{file}.txt", *lines)
    save_mask(root / "SegmentationClassAug" / "cats.png", torch.zeros_like(MASK))
    save_mask(root / "SegmentationClassAug" / "unsaid.png", MASK.flip(0))
    dataset = voc(root, train_list=name)
    assert dataset.ids("train") == ("cats", "unsaid", "two words")
    for id, wanted in {"cats": MASK, "unsaid": MASK.flip(0), "unseen": MASK}.items():
        truth = dataset.truth(id)
        assert truth is not None
        assert torch.equal(truth, wanted)
    assert dataset.truth("two words") is None
    # a folder that is named counts alone
    chosen = voc(root, train_list=name, masks="SegmentationClassAug")
    assert chosen.truth("unseen") is None
    truth = chosen.truth("cats")
    assert truth is not None
    assert not truth.any()
    measured = dataset.fingerprint("train", truth=True)
    save_mask(root / "SegmentationClassAug" / "unsaid.png", MASK)
    assert voc(root, train_list=name).fingerprint("train", truth=True) != measured


def test_the_folders_of_voc_itself_need_no_class_list(tmp_path: Path) -> None:
    root = make_default(tmp_path / "VOCdevkit" / "VOC2012")
    (root / "classes.txt").unlink()
    write(root / "image_level_labels.txt", "cats 20")
    assert voc(root).classes[::19] == ("aeroplane", "tvmonitor")
    assert voc(root).possible("cats") == [0, 20]


def test_without_a_background_class_unclaimed_pixels_are_unknown(tmp_path: Path) -> None:
    mask = picture("0123", "321.")
    root = make_voc(tmp_path, train={"a": mask}, classes=("sky", "sea", "land"), tags=("a 1 2",))
    write(root / "ImageSets" / "Segmentation" / "val.txt", "a")
    dataset = voc(root, background=False)
    assert dataset.classes == ("sky", "sea", "land")
    truth = dataset.truth("a")
    assert truth is not None
    assert torch.equal(truth, picture(".123", "321."))
    assert dataset.possible("a") == [1, 2]


def test_twenty_three_classes_without_background_are_read(tmp_path: Path) -> None:
    mask = torch.arange(1, 25, dtype=torch.uint8).view(4, 6).clamp(max=23)
    classes = [f"class {number}" for number in range(1, 24)]
    root = make_voc(tmp_path, train={"a": mask}, val={"b": mask}, classes=classes, tags=("a 1 23",))
    dataset = voc(root, background=False, tags="masks")
    tags = dataset.tags("b")
    assert tags is not None
    assert tags.all()
    assert len(tags) == 23


def test_large_images_and_their_masks_are_shrunk_together(tmp_path: Path) -> None:
    mask = torch.zeros(40, 100, dtype=torch.uint8)
    mask[:, 50:] = 1
    dataset = voc(make_voc(tmp_path, train={"a": mask}, val={"b": mask}), max_side=10)
    sample = dataset.sample("a")
    assert dataset.size("a") == (4, 10)
    assert sample.image.shape == (3, 4, 10)
    assert sample.truth is not None
    assert torch.equal(sample.truth, picture(*["0000011111"] * 4))


def test_a_label_without_class_is_an_error_that_names_file_value_and_rule(tmp_path: Path) -> None:
    dataset = voc(make_voc(tmp_path, train={"a": picture("0137")}, val={"b": MASK}))
    with pytest.raises(DataError, match=r"a\.png' has a pixel labelled 3, labels must be 0 to 2 or 255"):
        dataset.truth("a")


def test_a_mask_of_another_size_is_an_error_that_names_both(tmp_path: Path) -> None:
    root = make_voc(tmp_path, train={"a": MASK}, val={"b": MASK})
    save_mask(root / "SegmentationClass" / "a.png", MASK.T.contiguous())
    with pytest.raises(DataError, match=r"Class/a\.png' is 6 × 4 .*Images/a\.png' is 4 × 6, they must agree"):
        voc(root).truth("a")


def test_masks_that_no_image_claims_are_strays_and_those_of_images_on_no_list_are_not(tmp_path: Path) -> None:
    root = make_voc(tmp_path, train={"a": MASK, "b": None}, val={"c": MASK})
    save_photo(root / "JPEGImages" / "unlisted.jpg", 4, 6)
    for name in ("unlisted", "orphan"):
        save_mask(root / "SegmentationClass" / f"{name}.png", MASK)
    (stray,) = voc(root).strays()
    assert str(stray).startswith(f"'{root / 'SegmentationClass' / 'orphan.png'}' is the mask of no image")


def test_all_that_is_wrong_with_a_mask_can_be_asked_for(tmp_path: Path) -> None:
    root = make_voc(tmp_path, train={"a": MASK, "b": None}, val={"c": MASK})
    save_mask(root / "SegmentationClass" / "a.png", picture("378", "012"))
    dataset = voc(root)
    assert [(fault.kind, str(fault).partition("; ")[0].partition("' ")[2]) for fault in dataset.truth_faults("a")] == [
        (
            "label without a class",
            "has a pixel labelled 3, labels must be 0 to 2 or 255 (unknown), and 2 more of its numbers are invalid",
        ),
        (
            "mask of another size",
            f"is 2 × 3 (rows × columns), its upright image '{root / 'JPEGImages' / 'a.png'}' is 4 × 6, they must agree",
        ),
    ]
    assert dataset.truth_faults("b") == dataset.truth_faults("c") == dataset.strays() == []
    assert dataset.place("a") == f"'{root / 'JPEGImages' / 'a.png'}'"


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("JPEGImages", "JPEGImages' is missing, it must be a folder; set data.root"),
        ("JPEGImages/cats.png", r"JPEGImages/cats\.jpg' is missing.*1 of the 4 images of the list 'train'"),
        ("ImageSets/Segmentation/train.txt", r"train\.txt' is missing.*set data\.train_list"),
        ("ImageSets/Segmentation/val.txt", r"val\.txt' is missing.*set data\.val_list"),
        ("classes.txt", r"classes\.txt' is missing; write the names"),
        ("image_level_labels.txt", r"image_level_labels\.txt' is missing.*set data\.tags=xml or data\.tags=masks"),
    ],
)
def test_what_is_missing_is_named_with_the_cure(tmp_path: Path, gone: str, message: str) -> None:
    root = make_default(tmp_path / "toy")
    (root / gone).rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=message):
        voc(root)


def test_missing_folders_of_tags_and_masks_are_named_when_they_are_asked_for(tmp_path: Path) -> None:
    root = make_default(tmp_path)
    with pytest.raises(DataError, match="Annotations' is missing"):
        voc(root, tags="xml")
    with pytest.raises(DataError, match="Trimaps' is missing"):
        voc(root, masks="Trimaps")
    with pytest.raises(DataError, match="nowhere' is missing"):
        voc(root / "nowhere")


def test_a_wrong_tag_is_an_error_that_names_its_line(tmp_path: Path) -> None:
    for word in ("3", "0", "-1", "cat"):
        root = make_voc(tmp_path, train={"a": MASK, "b": MASK}, tags=("a 1", f"b 2 {word}"))
        write(root / "ImageSets" / "Segmentation" / "val.txt", "a")
        with pytest.raises(DataError, match=rf"labels\.txt', line 2, tags class '{word}'.*1 to 2"):
            voc(root)


def test_lists_that_repeat_an_image_or_name_none_are_refused(tmp_path: Path) -> None:
    root = make_default(tmp_path)
    write(root / "ImageSets" / "Segmentation" / "twice.txt", "cats", "nothing", "cats")
    write(root / "ImageSets" / "Segmentation" / "empty.txt", "")
    with pytest.raises(DataError, match=r"twice\.txt' names 'cats' more than once"):
        voc(root, train_list="twice")
    with pytest.raises(DataError, match=r"empty\.txt' names no image"):
        voc(root, train_list="empty")
    assert voc(root, val_list="").ids("val") == ()


def test_settings_that_break_their_rule_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"tags must be one of file, xml, masks, or .* ends in \.npy, got 'guess'"):
        VocSettings(tags="guess")
    with pytest.raises(SettingsError, match="max_side"):
        VocSettings(max_side=0)


def test_the_fingerprint_knows_content_and_not_place(tmp_path: Path) -> None:
    root = make_default(tmp_path / "here")
    before = voc(root).fingerprint("train")
    assert voc(make_default(tmp_path / "there")).fingerprint("train") == before
    assert voc(root, background=False).fingerprint("train") != before
    assert voc(root, max_side=3).fingerprint("train") != before
    assert voc(root).fingerprint("val") != before

    save_photo(root / "JPEGImages" / "cats.png", 4, 6, seed=99)
    changed = voc(root).fingerprint("train")
    assert changed != before
    write(root / "image_level_labels.txt", "cats 2")
    assert voc(root).fingerprint("train") not in (before, changed)


def test_the_fingerprint_of_what_is_learnt_from_does_not_know_the_truth(tmp_path: Path) -> None:
    root = make_default(tmp_path)
    learnt, measured = voc(root).fingerprint("train"), voc(root).fingerprint("train", truth=True)
    save_mask(root / "SegmentationClass" / "cats.png", MASK.flip(0))
    assert voc(root).fingerprint("train") == learnt
    assert voc(root).fingerprint("train", truth=True) != measured
    # where tags come from masks, the truth is what is learnt from
    before = voc(root, tags="masks").fingerprint("train")
    save_mask(root / "SegmentationClass" / "cats.png", torch.zeros_like(MASK))
    assert voc(root, tags="masks").fingerprint("train") != before


def test_worker_processes_are_sent_the_settings_and_open_the_data_set_once(tmp_path: Path) -> None:
    dataset = voc(make_default(tmp_path))
    tags = [str(dataset.tags(id)) for id in dataset.ids("train")]
    sent = pickle.dumps(dataset)
    assert len(sent) < 1000
    first, second = pickle.loads(sent), pickle.loads(sent)
    assert first is second
    assert [str(first.tags(id)) for id in first.ids("train")] == tags
    assert first.fingerprint("train") == dataset.fingerprint("train")


def test_an_unknown_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="split must be one of train, val, got 'test'"):
        voc(make_default(tmp_path)).ids("test")


def test_opening_a_data_set_loads_neither_lightning_nor_torchvision(tmp_path: Path) -> None:
    root = make_default(tmp_path)
    script = (
        "import sys; from wsss.data import DATASETS, open_dataset; "
        "dataset = open_dataset(DATASETS['voc'].settings(root=sys.argv[1])); dataset.fingerprint('train'); "
        "sys.exit(any(name in sys.modules for name in ('pytorch_lightning', 'torchvision', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", script, str(root)], check=False).returncode == 0


@needs_shared
def test_the_photographs_beside_the_project_are_read() -> None:
    dataset = voc(SHARED / "voc21")
    assert (len(dataset.ids("train")), len(dataset.ids("val")), len(dataset.classes)) == (346, 233, 20)
    for id in dataset.ids("train")[::40]:
        sample = dataset.sample(id)
        assert sample.truth is not None
        assert sample.image.shape[1:] == sample.truth.shape == dataset.size(id)


@needs_shared
def test_published_tags_that_disagree_with_the_masks_are_kept() -> None:
    said, shown = (voc(SHARED / "voc_mini", tags=tags) for tags in ("file", "masks"))
    ids = [*said.ids("train"), *said.ids("val")]
    # the data set's notes count 21 of the 278 images
    assert sum(str(said.tags(id)) != str(shown.tags(id)) for id in ids) == 21


@pytest.mark.parametrize("encoding", ["klingon", "utf-32"])
def test_xml_of_an_encoding_that_nobody_can_read_is_refused(tmp_path: Path, encoding: str) -> None:
    root = make_default(tmp_path)
    write(root / "Annotations" / "cats.xml", f'<?xml version="1.0" encoding="{encoding}"?><annotation/>')
    with pytest.raises(DataError, match=r"cats\.xml' is not XML \(.*\); replace the file or delete it"):
        voc(root, tags="xml").tags("cats")


def test_a_folder_in_the_place_of_xml_is_refused(tmp_path: Path) -> None:
    root = make_default(tmp_path)
    (root / "Annotations" / "cats.xml").mkdir(parents=True)
    with pytest.raises(DataError, match=r"cats\.xml' can't be read \(Is a directory\); replace the file or delete it"):
        voc(root, tags="xml").tags("cats")


def test_without_a_file_of_tags_boxes_say_what_is_there_as_in_voc_itself(tmp_path: Path) -> None:
    root = make_default(tmp_path)
    (root / "image_level_labels.txt").unlink()
    things = ("<object><name>dog</name></object>", "")
    for image, thing in zip(("cats", "nothing"), things, strict=True):
        write(root / "Annotations" / f"{image}.xml", f"<annotation>{thing}</annotation>")
    dataset = voc(root)
    tags = {id: dataset.tags(id) for id in dataset.ids("train")}
    assert {id: None if one is None else one.tolist() for id, one in tags.items()} == {
        "cats": [False, True],
        "nothing": [False, False],
        "unsaid": None,
        "two words": None,
    }
    write(root / "image_level_labels.txt", "cats 1")
    assert voc(root).tags("cats").tolist() == [True, False]  # type: ignore[union-attr]
