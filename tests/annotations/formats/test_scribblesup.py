"""Strokes of ScribbleSup."""

import pytest

from tests.annotations.formats.samples import SCRIBBLES, read_text, write_texts
from wsss.annotations import Annotation, Scribbles, Stroke
from wsss.annotations.formats import VOC_CLASSES
from wsss.annotations.manifest import Manifest
from wsss.errors import DataError


def test_strokes_run_along_rows_and_columns() -> None:
    read = read_text("scribblesup", SCRIBBLES)
    strokes = (Stroke(1, ((2, 1), (5, 7)), 3), Stroke(0, ((0, 0),), 3))
    assert read.annotations == {"one": Annotation(scribbles=Scribbles(strokes))}
    assert read.sizes == {"one": (6, 8)}


def test_short_names_of_the_published_files_are_known() -> None:
    read = read_text("scribblesup", SCRIBBLES.replace("cat", "plane"), None)
    assert read.classes == VOC_CLASSES
    assert read.annotations["one"].named() == {1}
    own = read_text("scribblesup", SCRIBBLES.replace("cat", "plane"), ("dog", "plane"))
    assert own.annotations["one"].named() == {2}


def test_short_names_stay_where_the_files_are_none_of_voc() -> None:
    both = read_text("scribblesup", SCRIBBLES.replace("background", "tree").replace("cat", "plant"), None)
    assert both.classes == ("plant", "tree")
    beside = read_text("scribblesup", SCRIBBLES.replace("background", "dog").replace("cat", "plant"), None)
    assert beside.classes == VOC_CLASSES
    assert beside.annotations["one"].named() == {12, 16}
    listed = read_text("scribblesup", SCRIBBLES.replace("cat", "plant"), VOC_CLASSES)
    assert listed.annotations["one"].named() == {16}
    with pytest.raises(DataError, match=r"polygon\[0\].tag, is 'plant', it must be one of the classes"):
        read_text("scribblesup", SCRIBBLES.replace("cat", "plant"), ("tree", "bush"))


def test_strokes_that_leave_the_image_are_brought_back_to_its_edge() -> None:
    read = read_text("scribblesup", SCRIBBLES.replace("<X>7</X><Y>5</Y>", "<X>9</X><Y>-2</Y>"))
    strokes = read.annotations["one"].scribbles
    assert strokes is not None
    assert strokes.strokes[0].path == ((2, 1), (0, 7))
    with pytest.raises(DataError, match=r"entry polygon\[0\].point\[1\].X, is '17', it must be a number from -8 to 16"):
        read_text("scribblesup", SCRIBBLES.replace("<X>7</X>", "<X>17</X>"))


def test_the_width_of_a_pen_is_what_the_files_cant_hold() -> None:
    wide = Annotation(scribbles=Scribbles((Stroke(1, ((0, 0), (1, 1)), 5),)))
    texts = write_texts("scribblesup", Manifest(classes=("cat", "dog"), annotations={"one": wide}))
    back = read_text("scribblesup", texts["one"]).annotations["one"].scribbles
    assert back == Scribbles((Stroke(1, ((0, 0), (1, 1)), 3),))
