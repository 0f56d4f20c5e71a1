import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.drawing import grey, read
from tests.drawing import picture as grid
from wsss.annotations import Annotation, Boxes, ImageTags, Point, Points
from wsss.plotting import (
    Picture,
    Strip,
    annotated,
    draw_strips,
    heat,
    overlay,
    picture,
    strip,
    strip_of_maps,
    with_annotation,
    with_column,
)
from wsss.store import voc_palette


def test_a_strip_of_maps_tells_activations_from_labels() -> None:
    image, cams, labels = grey(), torch.rand(3, 2, 2), grid("01", "1.")
    row = strip_of_maps(image, [("CAM", cams), ("seeds", labels), ("truth", None)], "cat_07")
    assert row.title == "cat_07"
    assert row.labels == {0, 1, 255}
    assert [name for name, _ in row.columns] == ["image", "CAM", "seeds", "truth"]
    shown = dict(row.columns)
    assert shown["truth"] is None
    for name, expected in [("CAM", heat(image, cams)), ("seeds", overlay(image, labels))]:
        assert np.array_equal(np.asarray(shown[name]), expected)


def two_strips() -> list[Strip]:
    red, blue = picture(grey(8, 12)).copy(), picture(grey(12, 8)).copy()
    red[:], blue[:] = (255, 0, 0), (0, 0, 255)
    return [strip([("image", red), ("truth", None)], "wide"), strip([("image", red), ("seeds", blue)], "tall")]


def test_strips_draw_every_picture_once(tmp_path: Path) -> None:
    draw_strips(two_strips(), tmp_path / "strips.png")
    shown = read(tmp_path / "strips.png")
    is_red, is_blue = (shown == (255, 0, 0)).all(-1), (shown == (0, 0, 255)).all(-1)
    # two reds in the first of three columns, one below the other, each 2 high where it is 3 wide; a blue in the last
    assert (np.diff(is_red.any(1).astype(int)) == 1).sum() == 2
    column = is_red.any(0).sum()
    assert is_red.any(0).nonzero()[0].max() < shown.shape[1] - 2 * column
    assert is_blue.any(0).nonzero()[0].min() > 2 * column
    assert is_red.sum() == pytest.approx(2 * column * column * 2 / 3, rel=0.02)
    assert is_blue.sum() == pytest.approx(column * column * 3 / 2, rel=0.02)


def test_the_legend_names_what_is_shown(tmp_path: Path) -> None:
    row = strip_of_maps(grey(), [("seeds", grid("02", "2."))])
    draw_strips([row], tmp_path / "without.png")
    draw_strips([row], tmp_path / "with.png", classes=["cat", "dog"])
    without, named = read(tmp_path / "without.png"), read(tmp_path / "with.png")
    assert named.shape[0] > without.shape[0]

    def has(shown: Picture, colour: Picture) -> bool:
        return bool((shown == colour).all(-1).any())

    assert has(named, voc_palette()[2])
    assert not has(named, voc_palette()[1])
    assert not has(without, voc_palette()[2])


def test_the_same_strips_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        draw_strips(two_strips(), tmp_path / name, classes=["cat"])
    content = (tmp_path / "a.png").read_bytes()
    assert content == (tmp_path / "b.png").read_bytes()
    assert b"tEXt" not in content


def test_drawing_loads_no_pyplot_and_leaves_the_backend_alone(tmp_path: Path) -> None:
    script = """
import sys, pathlib
import wsss.plotting as plotting
assert "matplotlib" not in sys.modules
import matplotlib, numpy
matplotlib.use("svg")
plotting.draw_strips([plotting.strip([("image", numpy.zeros((4, 4, 3), numpy.uint8))])], pathlib.Path(sys.argv[1]))
assert matplotlib.get_backend() == "svg"
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "strip.png")], check=True)
    assert (tmp_path / "strip.png").exists()


def test_a_column_holds_a_map_marks_or_nothing() -> None:
    image, row = grey(4, 4), strip([("image", None)], "one")
    labels = torch.full((4, 4), 2, dtype=torch.uint8)
    marks = Annotation(points=Points((Point(3, 1, 1),)))
    filled = with_column(
        with_column(with_column(row, "map", image, labels), "marks", image, marks), "none", image, None
    )
    columns = dict(filled.columns)
    assert list(columns) == ["image", "map", "marks", "none"]
    assert columns["none"] is None
    assert columns["map"] is not None
    assert (columns["map"] == overlay(image, labels)).all()
    assert columns["marks"] is not None
    assert (columns["marks"] == annotated(image, marks)).all()
    assert filled.labels == {2, 3}
    assert row.columns == (("image", None),)


def test_given_labels_stand_beside_the_image_with_the_tags_written_into_them() -> None:
    row = strip_of_maps(grey(), [("truth", grid("01", "1."))])
    given = Annotation(tags=ImageTags((1, 2)), points=Points((Point(2, 0, 0), Point(0, 1, 1))))
    shown = with_annotation(row, grey(), given, ["cat", "dog"])
    assert [name for name, _ in shown.columns] == ["image", "given labels", "truth"]
    assert shown.labels == {0, 1, 2, 255}
    assert shown.notes == (("given labels", "tags: cat, dog"),)
    assert np.array_equal(np.asarray(dict(shown.columns)["given labels"]), annotated(grey(), given))


def test_tags_alone_leave_a_strip_as_it_is_and_no_tags_are_not_written() -> None:
    row = strip_of_maps(grey(), [])
    assert with_annotation(row, grey(), Annotation(tags=ImageTags((1,)), tags_complete=True), ["cat"]) == row
    assert with_annotation(row, grey(), Annotation(), ["cat"]) == row
    empty = Annotation(tags=ImageTags(()), boxes=Boxes(()), tags_complete=True)
    assert with_annotation(row, grey(), empty, ["cat"]).notes == (("given labels", "tags: none"),)
    assert with_annotation(row, grey(), Annotation(boxes=Boxes(())), ["cat"]).notes == ()


def test_a_note_is_written_into_the_foot_of_its_picture(tmp_path: Path) -> None:
    plain = Strip("one", (("image", picture(grey(60, 60, 255))),))
    noted = Strip("one", plain.columns, notes=(("image", "tags: cat"),))
    for name, row in (("plain", plain), ("noted", noted)):
        draw_strips([row], tmp_path / f"{name}.png")
    before, after = read(tmp_path / "plain.png").astype(int), read(tmp_path / "noted.png").astype(int)
    changed = np.argwhere((before != after).any(axis=2))
    assert len(changed) > 50
    assert changed[:, 0].min() > 0.7 * before.shape[0]
