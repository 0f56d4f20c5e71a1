from pathlib import Path
from typing import Any

import pytest
import torch

from tests.data.toys import save_mask, save_photo, write
from tests.drawing import picture
from wsss.data import Dataset, open_dataset
from wsss.data.folder import FolderSettings
from wsss.errors import DataError, SettingsError

MASK = picture("0012", "....")


def make_folder(root: Path, *lines: str, images: tuple[str, ...] = ("a.png", "b.jpg", "sub/c.png", "d.png")) -> Path:
    for seed, name in enumerate(images):
        save_photo(root / "images" / name, 2, 4, seed)
    write(root / "tags.csv", *lines)
    return root


def folder(root: Path, **settings: Any) -> Dataset:
    return open_dataset(FolderSettings(root=str(root), **settings))


def tags_of(dataset: Dataset) -> dict[str, list[str] | None]:
    """Names of the present classes of each image."""
    named: dict[str, list[str] | None] = {}
    for id in (*dataset.ids("train"), *dataset.ids("val")):
        tags = dataset.tags(id)
        named[id] = None if tags is None else [name for name, there in zip(dataset.classes, tags, strict=True) if there]
    return named


def test_images_and_a_table_of_tags_are_a_data_set_without_truth(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "mine", "image,tags", "a.png,dog;cat", "b,", "sub/c.png,dog")
    dataset = folder(root)
    assert dataset.name == "mine"
    assert dataset.classes == ("cat", "dog")
    assert (dataset.ids("train"), dataset.ids("val")) == (("a", "b", "d", "sub/c"), ())
    assert tags_of(dataset) == {"a": ["cat", "dog"], "b": [], "sub/c": ["dog"], "d": None}
    assert all(dataset.truth(id) is None for id in dataset.ids("train"))
    assert dataset.image("sub/c").shape == (3, 2, 4)
    assert dataset.size("sub/c") == (2, 4)


@pytest.mark.parametrize(
    "cells",
    [
        ("traffic light;cat", "cat"),
        ("'traffic light,cat'", "cat"),
        ("2;1", "1"),
        ("2 1", "1"),
        ("2 ; cat", " cat "),
    ],
)
def test_tags_are_names_or_numbers_between_semicolons_commas_or_blanks(tmp_path: Path, cells: tuple[str, str]) -> None:
    lines = (f"{id},{cell}".replace("'", '"') for id, cell in zip("ab", cells, strict=True))
    root = make_folder(tmp_path, "image,tags", *lines)
    write(root / "classes.txt", "cat", "traffic light")
    named = tags_of(folder(root))
    assert (named["a"], named["b"]) == (["cat", "traffic light"], ["cat"])


@pytest.mark.parametrize(
    ("cell", "named"),
    [
        ("traffic light", ["traffic light"]),
        ("cat car", ["cat", "car"]),
        ("2 car", ["car"]),
        ("cup, black", ["cup, black"]),
        ("", []),
    ],
)
def test_blanks_separate_listed_classes_and_numbers_unless_the_cell_is_a_class(
    tmp_path: Path, cell: str, named: list[str]
) -> None:
    root = make_folder(tmp_path, "image,tags", f'a,"{cell}"', "b,cat")
    write(root / "classes.txt", "cat", "car", "traffic light", "cup, black")
    assert tags_of(folder(root))["a"] == named


def test_a_class_with_blanks_beside_separated_ones(tmp_path: Path) -> None:
    root = make_folder(tmp_path, "image,tags", "a,traffic light;car", "b,traffic light")
    write(root / "classes.txt", "traffic light", "car")
    assert tags_of(folder(root)) == {"a": ["traffic light", "car"], "b": ["traffic light"], "d": None, "sub/c": None}


def test_words_that_are_not_all_classes_are_refused_as_a_whole(tmp_path: Path) -> None:
    root = make_folder(tmp_path, "image,tags", "a,traffic light car")
    write(root / "classes.txt", "traffic light", "car")
    with pytest.raises(DataError, match=r"has the tag 'traffic light car', .*separate its tags by semicolons"):
        folder(root)


def test_without_a_class_list_names_may_hold_blanks(tmp_path: Path) -> None:
    dataset = folder(make_folder(tmp_path, "image,tags", "a,golden retriever", "b,poodle", "sub/c,golden hamster"))
    assert dataset.classes == ("golden hamster", "golden retriever", "poodle")
    assert tags_of(dataset)["a"] == ["golden retriever"]


def test_without_a_class_list_names_that_stand_alone_elsewhere_need_a_separator(tmp_path: Path) -> None:
    root = make_folder(tmp_path, "image,tags", "a,cat dog", "b,dog", "sub/c,cat")
    with pytest.raises(DataError, match=r"line 2, has 'cat dog', .* one class or 2; separate its tags by semicolons"):
        folder(root)
    write(root / "classes.txt", "cat", "dog")
    assert tags_of(folder(root))["a"] == ["cat", "dog"]


def test_numbers_without_a_class_list_are_the_labels(tmp_path: Path) -> None:
    dataset = folder(make_folder(tmp_path, "image,tags", "a,3", "b,1 3"))
    assert dataset.classes == ("1", "2", "3")
    assert tags_of(dataset)["b"] == ["1", "3"]


def test_a_table_from_a_spreadsheet_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    dataset = folder(make_folder(tmp_path, "\ufeffimage , tags", "a,cat"))
    assert tags_of(dataset)["a"] == ["cat"]


def test_the_table_can_say_the_split(tmp_path: Path) -> None:
    root = make_folder(tmp_path, "image,tags,split", "a,cat,train", "b,cat,VAL", "sub/c,cat,")
    dataset = folder(root)
    assert (dataset.ids("train"), dataset.ids("val")) == (("a", "d", "sub/c"), ("b",))


def test_without_a_split_a_share_of_the_images_with_a_mask_is_measured_on(tmp_path: Path) -> None:
    names = tuple(f"{index}.png" for index in range(10))
    root = make_folder(tmp_path, "image,tags", "0,cat;dog", images=names)
    for index in range(4):
        save_mask(root / "masks" / f"{index}.png", MASK)
    dataset = folder(root, val_share=0.5)
    assert len(dataset.ids("val")) == 2
    assert set(dataset.ids("val")) <= {"0", "1", "2", "3"}
    assert sorted(dataset.ids("train") + dataset.ids("val")) == sorted(str(index) for index in range(10))
    truth = dataset.truth(dataset.ids("val")[0])
    assert truth is not None
    assert torch.equal(truth, MASK)
    assert folder(root, val_share=0.0).ids("val") == ()
    # an image without a mask that is added later moves nothing
    save_photo(root / "images" / "99.png", 2, 4)
    assert folder(root, val_share=0.5).ids("val") == dataset.ids("val")


def test_masks_that_no_image_claims_are_strays(tmp_path: Path) -> None:
    root = make_folder(tmp_path, "image,tags", "a,cat;dog")
    for name in ("a.png", "sub/c.png", "sub/a.png", "b_mask.png", ".b_old.png"):
        save_mask(root / "masks" / name, MASK)
    strays = [str(stray) for stray in folder(root).strays()]
    assert [text.partition("; ")[0] for text in strays] == [
        f"'{root / 'masks' / name}' is the mask of no image, a mask must have its image's name"
        for name in ("b_mask.png", "sub/a.png")
    ]


def test_one_image_is_left_to_learn_from_whatever_the_share(tmp_path: Path) -> None:
    root = make_folder(tmp_path, "image,tags", "a,cat;dog", images=("a.png",))
    save_mask(root / "masks" / "a.png", MASK)
    dataset = folder(root, val_share=0.9)
    assert (dataset.ids("train"), dataset.ids("val")) == (("a",), ())


def test_images_may_lie_in_the_root_beside_the_masks(tmp_path: Path) -> None:
    save_photo(tmp_path / "a.png", 2, 4)
    save_mask(tmp_path / "masks" / "a.png", MASK)
    write(tmp_path / "tags.csv", "image,tags", "a,cat;dog")
    dataset = folder(tmp_path, images="")
    assert dataset.ids("train") == ("a",)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("picture,tags", "a,cat"), r"has the columns picture, tags, it must have image and tags"),
        ((), r"has the columns none"),
        (("image,tags", "a,cat", "z,cat"), r"line 3, names the image 'z', which does not exist"),
        (("image,tags", "a,cat", "a.png,dog"), r"line 3, names the image 'a\.png' again"),
        (("image,tags", "a,cat,dog"), r"line 2, has more cells than the first line; separate tags by semicolons"),
        (
            ("image,tags", "a,cat", "b"),
            r"line 3, has no cell for tags; write 'b,' if it is known to be empty, or drop",
        ),
        (("image,split,tags", "a,train,cat", "b,val"), r"line 3, has no cell for tags; write 'b,val,' if"),
        (("image,tags,split", "a,cat,test"), r"line 2, has the split 'test', it must be train or val"),
        (("image,tags", 'a,"cat', "b,dog"), r"can't be read as a table \(unexpected end of data\); close its quotes"),
        (("image,tags", f"a,{'cat;' * 40_000}"), r"can't be read as a table \(field larger than"),
        (("image,tags", "a,", "b,"), "has neither tags nor a list of classes"),
        (("image,tags,split", *(f"{id},cat,val" for id in ("a", "b", "sub/c", "d"))), "some images must be for train"),
    ],
)
def test_a_table_with_a_fault_is_refused_with_its_line(tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        folder(make_folder(tmp_path, *lines))


def test_a_tag_that_is_no_class_is_refused(tmp_path: Path) -> None:
    root = make_folder(tmp_path, "image,tags", "a,cat", "b,cow")
    write(root / "classes.txt", "cat", "dog")
    with pytest.raises(DataError, match="line 3, has the tag 'cow', tags must be class names or numbers from 1 to 2"):
        folder(root)


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    root = make_folder(tmp_path, "image,tags", "a,cat", images=("a.png", "a.jpg"))
    with pytest.raises(DataError, match="are both called 'a'"):
        folder(root)


def test_what_is_missing_is_named_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"mine' is missing.*set data\.root"):
        folder(tmp_path / "mine")
    write(tmp_path / "mine" / "tags.csv", "image,tags")
    with pytest.raises(DataError, match=r"images' is missing.*set data\.images"):
        folder(tmp_path / "mine")
    (tmp_path / "mine" / "images").mkdir()
    with pytest.raises(DataError, match="holds no image"):
        folder(tmp_path / "mine")
    root = make_folder(tmp_path / "mine", "image,tags", "a,cat")
    with pytest.raises(DataError, match=r"other\.csv' is missing; write a table"):
        folder(root, tags="other.csv")
    with pytest.raises(DataError, match=r"truths' is missing.*set data\.masks"):
        folder(root, masks="truths")
    with pytest.raises(SettingsError, match=r"val_share must lie in \[0, 1\)"):
        FolderSettings(val_share=1.0)
