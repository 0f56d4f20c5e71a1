import pytest
from hypothesis import given
from hypothesis import strategies as some

from wsss.annotations import Annotation, ImageTags, Point, Points
from wsss.annotations.formats.base import VOC_CLASSES, Source, carriers, finished, number_classes, only_source
from wsss.annotations.manifest import Classes, Manifest
from wsss.errors import DataError
from wsss.types import BACKGROUND_NAME

CLICK = Annotation(points=Points((Point(1, 2, 3),)))


def source(path: str) -> Source:
    return Source(path, "", "content")


def test_one_file_is_the_only_one() -> None:
    first = source("a.json")
    assert only_source([first], "a manifest") is first


def test_a_second_file_is_one_too_many() -> None:
    with pytest.raises(DataError, match=r"^'b\.json' is one file more than a manifest has, .*; give one"):
        only_source(iter([source("a.json"), source("b.json"), source("c.json")]), "a manifest")


def numbered(*names: str, classes: Classes | None = None) -> dict[str, int]:
    return number_classes({name: f"'a.xml', object {name}," for name in names}, classes)


def test_the_classes_that_are_given_number_the_names_in_their_order() -> None:
    assert numbered("dog", classes=("dog", "cat")) == {"dog": 1, "cat": 2, "background": 0}


def test_names_of_voc_have_its_numbers_unless_others_are_given() -> None:
    assert numbered("dog", "cat") == {name: label for label, name in enumerate(VOC_CLASSES, 1)} | {"background": 0}
    assert numbered()["tvmonitor"] == 20


def test_other_names_are_numbered_by_the_alphabet() -> None:
    assert numbered("zebra", "cat", "Ant") == {"Ant": 1, "cat": 2, "zebra": 3, "background": 0}


def test_the_background_is_no_class_wherever_it_is_named() -> None:
    assert numbered(BACKGROUND_NAME, "zebra") == {"zebra": 1, "background": 0}
    with pytest.raises(DataError, match="calls class 1 'background'"):
        numbered("zebra", classes=(BACKGROUND_NAME, "zebra"))


def test_a_name_that_is_no_class_is_told_with_its_place_and_what_comes_near() -> None:
    with pytest.raises(DataError, match=r"^'a\.xml', object catt, is 'catt', .* did you mean cat\?"):
        numbered("dog", "catt", classes=("cat", "dog"))


@given(some.sets(some.text("abcå犬", min_size=1, max_size=4), min_size=1, max_size=6))
def test_labels_of_all_names_are_1_to_their_number(names: set[str]) -> None:
    found = numbered(*names)
    assert sorted(found.values()) == list(range(len(names) + 1))
    assert found[BACKGROUND_NAME] == 0
    # the last, so that the others are the classes in order
    assert list(found.values()) == [*range(1, len(names) + 1), 0]


def test_a_manifest_is_put_together_and_checked() -> None:
    numbers = numbered("dog", classes=("dog", "cat"))
    made = finished(numbers, {"one": CLICK}, {"one": (3, 4)}, "'a.json'")
    assert made == Manifest(classes=("dog", "cat"), annotations={"one": CLICK}, sizes={"one": (3, 4)})
    with pytest.raises(DataError, match=r"^'one\.xml', image 'one', is wrong"):
        finished(numbers, {"one": CLICK}, {"one": (3, 3)}, "'folder'", {"one": "'one.xml'"})


def test_images_that_carry_a_kind_come_by_name_with_that_kind_alone() -> None:
    both = Annotation(points=CLICK.points, tags=ImageTags((1,)))
    tagged = Annotation(tags=ImageTags((2,)), tags_complete=True)
    manifest = Manifest(classes=("cat", "dog"), annotations={"c": both, "b": tagged, "a": CLICK, "d": Annotation()})
    assert list(carriers(manifest, "points")) == [("a", CLICK), ("c", CLICK)]
    assert list(carriers(manifest, "tags")) == [("b", tagged), ("c", Annotation(tags=ImageTags((1,))))]
    assert list(carriers(manifest, "boxes")) == []
