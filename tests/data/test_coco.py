import json
import os
import pickle  # noqa: TID251 - how worker processes get a data set
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.data.toys import box_outline, make_coco, save_photo, write
from tests.drawing import picture
from wsss.data import Dataset, coco, coco_index, open_dataset
from wsss.data.coco import CocoSettings, draw_labels
from wsss.data.coco_index import CocoIndex
from wsss.errors import DataError, SettingsError

CAT, CAR, BRUSH = 17, 3, 90
"""Ids of the categories; as labels, in the order of their ids: car 1, cat 2, brush 3."""

CAR_LEFT = {"category_id": CAR, "segmentation": [box_outline(0, 0, 3, 4)]}
CAT_ABOVE = {"category_id": CAT, "segmentation": [box_outline(2, 0, 5, 2)]}
CROWD = {"category_id": BRUSH, "iscrowd": 1, "segmentation": {"size": [4, 6], "counts": [8, 12, 4]}}
"""Columns 2 to 4."""


def data(root: Path, **settings: Any) -> Dataset:
    return open_dataset(CocoSettings(root=str(root), **settings))


def make_default(root: Path) -> Path:
    return make_coco(
        root,
        train={"both": [CAR_LEFT, CAT_ABOVE], "crowd": [CROWD], "a crowd too": [CROWD, CAT_ABOVE], "nothing": []},
        val={"unseen": [CAT_ABOVE]},
    )


def drawn(*annotations: dict[str, Any], size: tuple[int, int] = (4, 6)) -> torch.Tensor:
    return draw_labels(annotations, [annotation["category_id"] for annotation in annotations], size)


def thing(label: int, *outline: float, **more: Any) -> dict[str, Any]:
    return {"category_id": label, "segmentation": [box_outline(*outline)], **more}


def test_a_folder_in_the_coco_layout_is_read(tmp_path: Path) -> None:
    dataset = data(make_default(tmp_path / "toy"))
    assert dataset.name == "toy"
    # by category id, neither by name nor as listed
    assert dataset.classes == ("car", "cat", "brush")
    assert dataset.ids("train") == ("a crowd too", "both", "crowd", "nothing")
    assert dataset.ids("val") == ("unseen",)
    sample = dataset.sample("both")
    assert sample.image.shape == (3, 4, 6)
    assert sample.truth is not None
    # the cat covers 6 pixels, the car 12: the cat is on top
    assert torch.equal(sample.truth, picture("112220", "112220", "111000", "111000"))
    assert dataset.size("both") == (4, 6)


def test_tags_are_the_categories_of_objects_and_unknown_where_only_a_crowd_shows_one(tmp_path: Path) -> None:
    brush = {**CAR_LEFT, "category_id": BRUSH}
    root = make_coco(
        tmp_path,
        train={
            "both": [CAR_LEFT, CAT_ABOVE],
            "crowd": [CROWD],
            "a crowd too": [CROWD, CAT_ABOVE],
            "one of the crowd": [CROWD, brush],
            "nothing": [],
        },
    )
    dataset = data(root, val="")
    tags = {id: dataset.tags(id) for id in dataset.ids("train")}
    assert {id: None if tag is None else tag.tolist() for id, tag in tags.items()} == {
        "both": [True, True, False],
        "crowd": None,
        "a crowd too": None,
        "one of the crowd": [False, False, True],
        "nothing": [False, False, False],
    }


def test_a_crowd_is_unknown_where_no_object_lies(tmp_path: Path) -> None:
    dataset = data(make_default(tmp_path))
    truth = {id: dataset.truth(id) for id in ("crowd", "a crowd too", "nothing")}
    assert truth["crowd"] is not None
    assert torch.equal(truth["crowd"], picture(*["00...0"] * 4))
    assert truth["a crowd too"] is not None
    assert torch.equal(truth["a crowd too"], picture("002220", "002220", "00...0", "00...0"))
    assert truth["nothing"] is not None
    assert not truth["nothing"].any()


def test_the_order_of_the_annotations_matters_only_for_objects_of_one_size() -> None:
    small, large, crowd = thing(2, 1, 1, 3, 2), thing(1, 0, 0, 4, 3), {**CROWD}
    wanted = picture("1111.0", "1221.0", "1111.0", "00...0")
    for order in ((small, large, crowd), (crowd, large, small), (large, crowd, small)):
        assert torch.equal(drawn(*order), wanted)
    assert torch.equal(drawn(thing(1, 0, 0, 2, 4), thing(2, 1, 0, 3, 4)), picture(*["122000"] * 4))
    assert torch.equal(drawn(thing(2, 1, 0, 3, 4), thing(1, 0, 0, 2, 4)), picture(*["112000"] * 4))


def test_an_object_may_have_several_polygons() -> None:
    parts = {"category_id": 3, "segmentation": [box_outline(0, 0, 1, 4), box_outline(4, 1, 9, 3)]}
    assert torch.equal(drawn(parts), picture("300000", "300033", "300033", "300000"))


def test_an_object_without_an_outline_is_unknown_in_its_box() -> None:
    box = {"category_id": 1, "bbox": [0.5, 1.0, 2.0, 1.5]}
    wanted = picture("000000", "...200", "...200", "000200")
    # degenerate outlines: none, two points, one point
    for outline in ([], None, [[1, 1, 2, 2]], [[1, 1, 2, 2], [3, 3]]):
        assert torch.equal(drawn(thing(2, 3, 1, 4, 4), {**box, "segmentation": outline}), wanted)
    for nothing in ([2, 2, 0, 0], [9, 9, 3, 3], []):
        assert not drawn({**box, "bbox": nothing, "segmentation": []}).any()


def test_run_lengths_are_decoded_as_the_tools_of_coco_encode_them() -> None:
    from pycocotools import mask as tools

    generator = random.Random(0)
    for _ in range(50):
        height, width = generator.randint(1, 40), generator.randint(1, 40)
        rows = np.repeat(np.random.default_rng(generator.randint(0, 999)).random((height, 1)) < 0.5, width, axis=1)
        region = (rows ^ (np.arange(width) % generator.randint(2, 9) == 0)).astype(np.uint8)
        encoded = tools.encode(np.asfortranarray(region))
        short = {"size": [height, width], "counts": encoded["counts"].decode()}
        # the plain way: how long each run is, column by column
        flat = [0, *region.T.ravel().tolist()]
        turns = [place for place in range(1, len(flat)) if flat[place] != flat[place - 1]]
        ends = [0, *(turn - 1 for turn in turns), height * width]
        plain = {"size": [height, width], "counts": np.diff(ends).tolist()}
        for outline in (short, plain):
            mask = draw_labels([{"segmentation": outline}], [1], (height, width))
            assert np.array_equal(mask.numpy(), region)


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (
            {"segmentation": {"size": [4, 6], "counts": [8, 12]}},
            "annotation 5 has run lengths that do not fill .* 4 × 6",
        ),
        ({"segmentation": {"size": [6, 4], "counts": [24]}}, "annotation 5 has run lengths that do not fill"),
        ({"segmentation": {"size": [4, 6], "counts": [30, -6]}}, "run lengths that do not fill"),
        ({"segmentation": {"size": [4, 6], "counts": "10"}}, "run lengths that do not fill"),
        ({"segmentation": {"size": [4, 6]}}, "run lengths that do not fill"),
        ({"segmentation": {"size": 24, "counts": [24]}}, "annotation 5 has run lengths that do not fill"),
        ({"segmentation": {"size": None, "counts": [24]}}, "annotation 5 has run lengths that do not fill"),
        ({"segmentation": {"size": [4, 6], "counts": [[1], [2, 3]]}}, "annotation 5 has run lengths that do not fill"),
        ({"segmentation": [[1, 1, 2, 2, 3]]}, "annotation 5 has a polygon that is not a list x, y"),
        ({"segmentation": [[1, 1, 2, 2, 3, 1e9]]}, "a polygon that is not a list"),
        ({"segmentation": [[1, 1, 2, 2, 3, 10**400]]}, "annotation 5 has a polygon that is not a list"),
        ({"segmentation": [[1, 1, 2, 2, 3, float("nan")]]}, "a polygon that is not a list"),
        ({"segmentation": [1, 1, 2, 2]}, "a polygon that is not a list"),
        ({"segmentation": [["a", 1, 2, 2, 3, 3]]}, "annotation 5 has a polygon that is not a list"),
        ({"segmentation": [[{}, 1, 2, 2, 3, 3]]}, "annotation 5 has a polygon that is not a list"),
        ({"segmentation": [[[1, 2], 1, 2, 2, 3, 3]]}, "annotation 5 has a polygon that is not a list"),
        ({"segmentation": "none"}, "neither a list of polygons nor run lengths"),
        ({"segmentation": [], "bbox": [1, 2, 3]}, "annotation 5 has a box that is not x, y, width, height"),
        ({"segmentation": [], "bbox": {"a": 1}}, "annotation 5 has a box that is not x, y, width, height"),
        ({"segmentation": [], "bbox": [1, 2, "c", 4]}, "annotation 5 has a box that is not x, y, width, height"),
    ],
)
def test_an_outline_that_is_none_is_an_error_that_names_its_annotation(
    tmp_path: Path, annotation: dict[str, Any], message: str
) -> None:
    broken = {"id": 5, "category_id": CAT, **annotation}
    with pytest.raises(ValueError, match=message):
        drawn(broken)
    dataset = data(make_coco(tmp_path, train={"a": [broken]}, val={"b": []}))
    with pytest.raises(DataError, match=rf"instances_train2017\.json', image 'a', .*{message}.*; fix the file"):
        dataset.truth("a")


def test_outlines_are_drawn_without_a_warning(tmp_path: Path) -> None:
    dataset = data(make_default(tmp_path))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert dataset.truth("both") is not None
    assert not warned


def test_without_a_background_class_unclaimed_pixels_are_unknown(tmp_path: Path) -> None:
    truth = data(make_default(tmp_path), background=False).truth("both")
    assert truth is not None
    assert torch.equal(truth, picture("11222.", "11222.", "111...", "111..."))


def test_large_images_and_their_labels_are_shrunk_together(tmp_path: Path) -> None:
    sample = data(make_default(tmp_path), max_side=3).sample("both")
    assert sample.image.shape == (3, 2, 3)
    assert sample.truth is not None
    assert torch.equal(sample.truth, picture("120", "100"))


def test_parts_and_years_are_chosen(tmp_path: Path) -> None:
    root = make_coco(tmp_path, train={"COCO_train2014_01": [CAT_ABOVE]}, val={"COCO_val2014_02": []}, year=2014)
    dataset = data(root, year=2014)
    assert (dataset.ids("train"), dataset.ids("val")) == (("COCO_train2014_01",), ("COCO_val2014_02",))
    assert data(root, year=2014, val="").ids("val") == ()
    both = data(root, year=2014, train="val")
    assert both.ids("train") == both.ids("val") == ("COCO_val2014_02",)
    with pytest.raises(DataError, match=r"instances_train2017\.json' is missing; fix data\.root, data\.year"):
        data(root)
    with pytest.raises(SettingsError, match="train must name a part"):
        CocoSettings(train="")


def edit(root: Path, **changes: Any) -> Path:
    """Change lists of the file to learn from."""
    path = root / "annotations" / "instances_train2017.json"
    write(path, json.dumps(json.loads(path.read_text()) | changes))
    return path


IMAGE = {"id": 1, "file_name": "both.png", "height": 4, "width": 6}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"annotations": [{**CAR_LEFT, "id": 9, "image_id": 4}]},
            r"annotation 9, names the image 4, which is not listed",
        ),
        (
            {"annotations": [{**CAR_LEFT, "id": 9, "image_id": 1000, "category_id": 18}]},
            "names the category 18, which is",
        ),
        (
            {"annotations": [{"id": 9, "image_id": 1000}]},
            r"the entry of annotations at byte \d+: KeyError\('category_id'\)",
        ),
        ({"annotations": [{**CAR_LEFT, "image_id": "both"}]}, "the entry of annotations at byte .* TypeError"),
        (
            {"images": [{**IMAGE, "file_name": "lost.png"}]},
            r"lost\.png' is missing \(1 of the 1 images of 'instances_tr",
        ),
        ({"images": [IMAGE, {**IMAGE, "file_name": "crowd.png"}]}, "lists the image 1 more than once"),
        ({"images": [IMAGE, {**IMAGE, "id": 2}]}, "differ only in their suffix"),
        ({"images": []}, "lists no image"),
        ({"images": [{"id": 1}]}, r"the entry of images at byte \d+: KeyError"),
        ({"images": [{**IMAGE, "height": 2**70}]}, r"the entry of images at byte \d+: OverflowError"),
        ({"images": [{**IMAGE, "height": 4.5}]}, r"the entry of images at byte \d+: TypeError"),
        ({"categories": [{"id": 2**70, "name": "car"}]}, r"the entry of categories at byte \d+: OverflowError"),
        (
            {"categories": [{"id": 3, "name": "car"}]},
            r"instances_val2017\.json' has other categories than '.*train2017",
        ),
        ({"categories": [{"id": 3, "name": "car"}] * 2}, "lists the category 3 more than once"),
    ],
)
def test_what_is_missing_or_named_wrongly_is_an_error(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    root = make_default(tmp_path)
    edit(root, **({"annotations": []} if "annotations" not in changes else {}), **changes)
    with pytest.raises(DataError, match=message):
        data(root)


def test_files_that_are_no_instances_are_refused(tmp_path: Path) -> None:
    root = make_default(tmp_path)
    path = root / "annotations" / "instances_train2017.json"
    text = path.read_text()
    for content, message in {
        "": "there must be '{' at byte 1",
        "[]": "there must be '{'",
        text[: len(text) // 2]: r"can't be read as instances of COCO \(.* at byte \d+\); fetch the file again",
        text.replace('"images": [', '"images": [{} '): "there must be ',' at byte|KeyError",
        text.replace('"annotations"', '"captions"'): "has no list 'annotations'; give the file of instances",
    }.items():
        write(path, content)
        with pytest.raises(DataError, match=message):
            data(root)


def test_an_image_of_another_size_is_an_error_that_names_both(tmp_path: Path) -> None:
    root = make_default(tmp_path)
    save_photo(root / "train2017" / "both.png", 6, 4)
    with pytest.raises(DataError, match=r"both\.png' with 4 × 6 pixels \(rows × columns\), it has 6 × 4"):
        data(root).truth("both")


def test_an_image_of_both_parts_is_an_error(tmp_path: Path) -> None:
    root = make_coco(tmp_path, train={"same": []}, val={"same": []})
    with pytest.raises(DataError, match=r"val2017/same\.png' has the name of an image of another part"):
        data(root)


@pytest.mark.parametrize("piece", [1, 7, 64, 1 << 24])
def test_the_file_is_read_the_same_in_pieces_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    root = make_coco(
        tmp_path,
        train={"größe": [CAR_LEFT], "b": [CAT_ABOVE, CROWD]},
        val={"c": []},
        categories={3: "Zug", 17: "Kühe", 90: "鳥"},
    )
    path = root / "annotations" / "instances_train2017.json"
    content = {"version": 12, "more": [1.5, {"x": None}], **json.loads(path.read_text())}
    # annotations before images, bytes that are not ASCII, blanks, a byte order mark
    content["images"] = content.pop("images")
    path.write_text("\ufeff" + json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
    monkeypatch.setattr(coco_index, "PIECE", piece)
    dataset = data(root)
    assert dataset.classes == ("Zug", "Kühe", "鳥")
    assert dataset.ids("train") == ("b", "größe")
    truth = dataset.truth("b")
    assert truth is not None
    assert torch.equal(truth, picture("002220", "002220", "00...0", "00...0"))


def test_worker_processes_get_the_settings_and_read_the_file_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = data(make_default(tmp_path))
    read: list[Path] = []

    def counted(path: Path) -> CocoIndex:
        read.append(path)
        return CocoIndex(path)

    monkeypatch.setattr(coco, "CocoIndex", counted)
    sent = pickle.dumps(dataset)
    assert len(sent) < 1000
    first, second = pickle.loads(sent), pickle.loads(sent)
    assert first is second
    assert len(read) == 2
    assert torch.equal(first.image("both"), dataset.image("both"))
    assert first.fingerprint("train") == dataset.fingerprint("train")


def test_a_file_that_changes_while_it_is_in_use_is_noticed(tmp_path: Path) -> None:
    root = make_default(tmp_path)
    dataset = data(root)
    edit(root, annotations=[])
    with pytest.raises(DataError, match="has changed while it was in use"):
        dataset.truth("both")


def test_the_fingerprint_knows_content_and_not_place(tmp_path: Path) -> None:
    def prints(root: Path, **settings: Any) -> tuple[str, str]:
        dataset = data(root, **settings)
        return dataset.fingerprint("train"), dataset.fingerprint("train", truth=True)

    root = make_default(tmp_path / "here")
    learnt, measured = prints(root)
    assert prints(make_default(tmp_path / "there")) == (learnt, measured)
    assert not {learnt, measured} & {*prints(root, max_side=3), *prints(root, background=False)}
    # another outline changes what is measured against, and not what was learnt from
    content = json.loads((root / "annotations" / "instances_train2017.json").read_text())
    content["annotations"][0]["segmentation"] = [box_outline(0, 0, 1, 4)]
    edit(root, **content)
    assert (prints(root)[0], prints(root)[1] != measured) == (learnt, True)
    content["annotations"][0]["category_id"] = BRUSH
    edit(root, **content)
    assert prints(root)[0] != learnt
    moved = make_default(tmp_path / "moved")
    os.replace(moved / "train2017" / "both.png", moved / "train2017" / "crowd.png")  # noqa: PTH105 - as a user would
    save_photo(moved / "train2017" / "both.png", 4, 6, seed=9)
    assert prints(moved)[0] != learnt
