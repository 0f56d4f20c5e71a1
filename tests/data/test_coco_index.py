"""The places that the index finds, against a plain reading of the whole file."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from wsss.data import coco_index
from wsss.data.coco_index import Claim, CocoIndex
from wsss.errors import DataError

IDS = some.integers(-5, 40)
EXTRAS = some.dictionaries(
    some.text('a]}{"\\é犬,', max_size=4),
    some.none() | some.floats(-9, 9) | some.text("[{]}é犬", max_size=5),
    max_size=3,
)
"""What the index has no use for, with all that could confuse a reader that counts brackets."""


@some.composite
def instances(draw: some.DrawFn) -> dict[str, Any]:
    """Draw a file of instances, its lists in any order and with things between them that nobody asked for."""
    images = draw(some.lists(IDS, min_size=1, max_size=5, unique=True))
    categories = draw(some.lists(IDS, min_size=1, max_size=4, unique=True))
    names = draw(some.permutations([f"{name}.jpg" for name in "dacbé"]))
    annotations = draw(
        some.lists(
            some.fixed_dictionaries(
                {"image_id": some.sampled_from(images), "category_id": some.sampled_from(categories)},
                optional={"iscrowd": some.integers(0, 1), "about": EXTRAS},
            ),
            max_size=8,
        )
    )
    lists = {
        "images": [
            {"id": id, "file_name": name, "height": 4 + place, "width": 9}
            for place, (id, name) in enumerate(zip(images, names, strict=False))
        ],
        "annotations": [{"id": place, **annotation} for place, annotation in enumerate(annotations)],
        "categories": [{"id": id, "name": f"class {id}"} for id in categories],
        "info": draw(EXTRAS),
        "licenses": [draw(EXTRAS)],
    }
    return {name: lists[name] for name in draw(some.permutations(list(lists)))}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=instances(), piece=some.integers(1, 50), indent=some.none() | some.just(1), plain=some.booleans())
def test_each_image_has_what_the_whole_file_says_of_it(
    content: dict[str, Any], piece: int, indent: int | None, plain: bool, tmp_path: Path
) -> None:
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(content, indent=indent, ensure_ascii=plain), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coco_index, "PIECE", piece)
        index = CocoIndex(path)
    labels = {category["id"]: label for label, category in enumerate(by(content["categories"], "id"), 1)}
    assert index.classes == tuple(f"class {id}" for id in labels)
    images = by(content["images"], "file_name")
    assert index.files == tuple(image["file_name"] for image in images)
    whole = path.read_bytes()
    for place, image in enumerate(images):
        expected = [one for one in content["annotations"] if one["image_id"] == image["id"]]
        assert index.size(place) == (image["height"], image["width"])
        assert index.annotations(place) == expected
        claims = index.claims(place)
        assert [claim.label for claim in claims] == [labels[one["category_id"]] for one in expected]
        assert [claim.crowd for claim in claims] == [bool(one.get("iscrowd", 0)) for one in expected]
        assert [whole[claim.start : claim.start + claim.length] for claim in claims] == index.texts(place)


def by(entries: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    return sorted(entries, key=lambda entry: entry[key])


def written(path: Path, **lists: list[dict[str, Any]]) -> Path:
    content = {"images": [{"id": 1, "file_name": "a.jpg", "height": 4, "width": 6}], "annotations": []} | lists
    path.write_text(json.dumps({"categories": [{"id": 3, "name": "cat"}]} | content))
    return path


def test_places_are_worked_out_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "by hand.json"
    path.write_text(
        '{"annotations":[{"image_id":7,"category_id":3},{"image_id":1,"category_id":9,"iscrowd":1}],'
        '"images":[{"id":1,"file_name":"b","height":2,"width":3},{"id":7,"file_name":"a","height":4,"width":5}],'
        '"categories":[{"id":9,"name":"dog"},{"id":3,"name":"cat"}]}'
    )
    index = CocoIndex(path)
    assert (index.classes, index.files) == (("cat", "dog"), ("a", "b"))
    assert (index.size(0), index.size(1)) == ((4, 5), (2, 3))
    assert index.claims(0) == [Claim(label=1, crowd=False, start=16, length=30)]
    assert index.claims(1) == [Claim(label=2, crowd=True, start=47, length=42)]


def test_an_image_without_annotations_is_not_looked_up(tmp_path: Path) -> None:
    path = written(tmp_path / "empty.json")
    index = CocoIndex(path)
    path.unlink()
    assert [index.claims(0), index.texts(0), index.annotations(0)] == [[], [], []]


def test_a_file_that_is_gone_since_it_was_indexed_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "gone.json", annotations=[{"image_id": 1, "category_id": 3}])
    index = CocoIndex(path)
    path.unlink()
    with pytest.raises(DataError, match=r"gone\.json' has changed while it was in use .*; run again"):
        index.annotations(0)


def test_all_annotations_of_what_is_not_listed_are_counted(tmp_path: Path) -> None:
    strange = [{"id": 11, "image_id": 5, "category_id": 3}, {"id": 12, "image_id": 6, "category_id": 3}]
    path = written(tmp_path / "strange.json", annotations=[{"id": 10, "image_id": 1, "category_id": 3}, *strange])
    with pytest.raises(DataError, match=r"annotation 11, names the image 5, .* \(2 of 3 annotations name such\)"):
        CocoIndex(path)
