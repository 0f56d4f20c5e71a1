"""Lists of image tags."""

import pytest

from tests.annotations.formats.samples import CLASSES, TAGS, read_text, write_texts
from wsss.annotations import Annotation, Box, Boxes, ImageTags
from wsss.annotations.manifest import Manifest
from wsss.errors import DataError


def test_a_line_names_all_classes_of_its_image() -> None:
    assert read_text("tags", TAGS).annotations == {
        "2007_000032": Annotation(tags=ImageTags((1, 2)), tags_complete=True),
        "empty": Annotation(tags=ImageTags(()), tags_complete=True),
        "one": Annotation(tags=ImageTags((2,)), tags_complete=True),
    }


def test_names_of_voc_need_no_list_of_classes_and_numbers_do() -> None:
    assert read_text("tags", "one dog aeroplane", None).annotations["one"].named() == {1, 12}
    with pytest.raises(DataError, match=r"'one.file', line 2, gives class '3' by number, .*--classes FILE"):
        read_text("tags", "one dog\ntwo 3", None)


@pytest.mark.parametrize(
    ("annotation", "image", "message"),
    [
        (Annotation(tags=ImageTags((1,))), "one", "image 'one' has tags that are not complete"),
        (
            Annotation(tags=ImageTags((1,)), boxes=Boxes((Box(2, 0, 0, 1, 1),)), tags_complete=True),
            "one",
            r"image 'one' has boxes of 'dog' and no tag of it, .*; add 'dog' to its tags in the manifest or take",
        ),
        (
            Annotation(tags=ImageTags((1,)), boxes=Boxes((Box(2, 0, 0, 1, 1),))),
            "one",
            "image 'one' has tags that are not complete",
        ),
        (Annotation(tags=ImageTags((1,)), tags_complete=True), "one two", "image 'one two' has a blank or one of"),
    ],
)
def test_what_a_line_would_say_wrongly_is_not_written(annotation: Annotation, image: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        write_texts("tags", Manifest(classes=CLASSES, annotations={image: annotation}))
