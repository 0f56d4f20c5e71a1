from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from tests.annotations import drawn_labels as drawn
from wsss.annotations import Annotation, Box, Boxes, ImageTags, Mask, Point, Points
from wsss.annotations.entries import LARGEST
from wsss.annotations.manifest import Classes, Manifest, check_classes, same_but_for
from wsss.errors import DataError
from wsss.types import MOST_CLASSES

pytestmark = pytest.mark.filterwarnings(drawn.RANDOM_CHECKS)

CLICK = Annotation(points=Points((Point(1, 5, 8),)))


def clicked(row: int, column: int, label: int = 1) -> Annotation:
    return Annotation(points=Points((Point(label, row, column),)))


def manifest(annotation: Annotation, size: tuple[int, int] | None = None) -> Manifest:
    sizes = {} if size is None else {"one": size}
    return Manifest(classes=("cat", "dog"), annotations={"one": annotation}, sizes=sizes)


@pytest.mark.parametrize("classes", [("cat",), tuple(f"class {number}" for number in range(MOST_CLASSES))])
def test_classes_that_a_byte_can_number_are_taken(classes: Classes) -> None:
    check_classes(classes, "'a.json'")


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ((), r"^'a.json' lists 0 classes, there must be 1 to 254; fix the list"),
        (tuple(map(str, range(255))), "^'a.json' lists 255 classes"),
        (("cat", " "), "^'a.json' calls class 2 ' ', that is not a class name"),
        (("background", "cat"), "^'a.json' calls class 1 'background'"),
        (("cat", "dog", "cat"), "^'a.json' names two classes 'cat'; rename one"),
    ],
)
def test_classes_by_which_nothing_can_be_numbered_are_refused(classes: Classes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_classes(classes, "'a.json'")
    with pytest.raises(DataError, match=message):
        Manifest(classes=classes, annotations={}).check("'a.json'")


def test_a_place_must_lie_in_its_image_where_its_size_is_known() -> None:
    manifest(clicked(5, 8), (6, 9)).check("'a.json'")
    for row, column in ((6, 8), (5, 9)):
        with pytest.raises(
            DataError,
            match=rf"^'a.json', image 'one', is wrong: points\[0\] lies at row {row}, column {column}, the image has",
        ):
            manifest(clicked(row, column), (6, 9)).check("'a.json'")


def test_where_no_size_is_known_a_place_may_be_anywhere_but_before_the_first_pixel() -> None:
    manifest(clicked(LARGEST - 1, LARGEST - 1)).check("'a.json'")
    for row, column in ((-1, 0), (0, -1), (LARGEST, 0)):
        with pytest.raises(DataError, match="image 'one', is wrong"):
            manifest(clicked(row, column)).check("'a.json'")


def test_a_mask_says_how_large_its_image_is() -> None:
    mask = Mask.of(torch.zeros(4, 4, dtype=torch.uint8))
    manifest(replace(clicked(3, 3), masks=mask)).check("'a.json'")
    with pytest.raises(DataError, match="image 'one', is wrong"):
        manifest(replace(clicked(4, 3), masks=mask)).check("'a.json'")
    with pytest.raises(DataError, match="image 'one', is wrong"):
        manifest(Annotation(masks=mask), (5, 4)).check("'a.json'")


def test_a_label_must_be_one_of_the_classes() -> None:
    manifest(clicked(0, 0, label=2)).check("'a.json'")
    with pytest.raises(DataError, match="image 'one', is wrong: points name label 3, labels must be 0 to 2"):
        manifest(clicked(0, 0, label=3)).check("'a.json'")


def test_an_image_must_have_a_name() -> None:
    with pytest.raises(DataError, match="image ' ', has no name"):
        Manifest(classes=("cat",), annotations={" ": Annotation()}).check("'a.json'")


def test_what_is_wrong_is_told_with_the_file_of_its_image() -> None:
    two = Manifest(classes=("cat",), annotations={"one": CLICK, "two": clicked(0, 0, label=7)})
    with pytest.raises(DataError, match=r"^'two.xml', image 'two', is wrong"):
        two.check("'folder'", {"one": "'one.xml'", "two": "'two.xml'"})
    with pytest.raises(DataError, match=r"^'folder', image 'two', is wrong"):
        two.check("'folder'", {"one": "'one.xml'"})


def test_kinds_are_counted_and_told_in_a_sentence() -> None:
    boxed = Annotation(boxes=Boxes((Box(1, 0, 0, 2, 2), Box(1, 1, 1, 3, 3))))
    tagged = replace(CLICK, tags=ImageTags((2,)))
    told = Manifest(classes=("cat", "dog"), annotations={"a": CLICK, "b": boxed, "c": tagged, "d": Annotation()})
    assert told.counts() == {"points": 2, "boxes": 1, "tags": 1}
    assert told.outline() == "4 images, 2 classes; points of 2, boxes of 1, tags of 1"
    assert Manifest(classes=("cat",), annotations={}).outline() == "0 images, 1 classes; nothing is labelled"


@settings(max_examples=25)
@given(drawn.manifests(drawn.annotations()), drawn.manifests(drawn.annotations()))
def test_parts_that_changed_are_counted_as_a_plain_comparison_counts_them(before: Manifest, after: Manifest) -> None:
    found = same_but_for(before.annotations, after.annotations)
    for part in ("tags", "points", "scribbles", "boxes", "masks", "tags_complete"):
        expected = [
            image
            for image, one in before.annotations.items()
            if getattr(one, part) != getattr(after.annotations.get(image, Annotation()), part)
        ]
        assert found.pop(part, 0) == len(expected)
    assert found == {}


@settings(max_examples=25)
@given(drawn.manifests(drawn.annotations()), some.booleans())
def test_labels_that_lie_in_their_images_are_never_refused(labelled: Manifest, sized: bool) -> None:
    whole = replace(labelled, sizes=dict.fromkeys(labelled.annotations, drawn.SIZE)) if sized else labelled
    whole.check("'drawn'")
