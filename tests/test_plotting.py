import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage

from tests.drawing import picture as grid
from wsss.annotations import Annotation, Box, Boxes, ImageTags, Mask, Point, Points, Scribbles, Stroke
from wsss.plotting import (
    LINES,
    PALETTES,
    Curve,
    Picture,
    Strip,
    Tile,
    annotated,
    colour_blind_palette,
    draw_confusion,
    draw_curves,
    draw_strips,
    draw_tiles,
    draw_tradeoff,
    heat,
    overlay,
    picture,
    strip,
    strip_of_maps,
    tile,
    with_annotation,
    with_column,
)
from wsss.store import voc_palette
from wsss.types import Image

DEUTERANOPIA = np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]])
"""How linear RGB looks without green cones (Machado et al., 2009)."""


def grey(height: int = 2, width: int = 2, value: int = 100) -> Image:
    return torch.full((3, height, width), value, dtype=torch.uint8)


def read(path: Path) -> Picture:
    return np.asarray(PillowImage.open(path).convert("RGB"))


def closest_pair(colours: Picture) -> float:
    """Smallest distance between two colours as people without green cones see them."""
    linear = (colours / 255) ** 2.2
    seen = (linear @ DEUTERANOPIA.T).clip(0, 1) ** (1 / 2.2)
    distances = np.linalg.norm(seen[:, None] - seen[None], axis=-1)
    return float(distances[~np.eye(len(seen), dtype=bool)].min())


def test_the_voc_palette_has_the_colours_of_the_development_kit() -> None:
    known = {
        0: (0, 0, 0),
        1: (128, 0, 0),
        2: (0, 128, 0),
        5: (128, 0, 128),
        8: (64, 0, 0),
        15: (192, 128, 128),
        20: (0, 64, 128),
        255: (255, 255, 255),
    }
    palette = voc_palette()
    assert {label: tuple(palette[label].tolist()) for label in known} == known


@pytest.mark.parametrize("name", PALETTES)
def test_no_two_labels_share_a_colour(name: str) -> None:
    palette = PALETTES[name]()
    assert palette.shape == (256, 3)
    assert palette.dtype == np.uint8
    assert len(np.unique(palette, axis=0)) == 256


def test_the_colour_blind_palette_is_told_apart_without_green_cones() -> None:
    assert closest_pair(colour_blind_palette()[:8]) > 0.15
    assert closest_pair(voc_palette()[:8]) < 0.12  # what it is there for


def test_an_overlay_mixes_image_and_colours() -> None:
    # VOC label 1 is (128, 0, 0): half of it and half of grey 100; ignored pixels go half way to white
    mixed = overlay(grey(1, 3), grid("01."), 0.5)
    assert mixed.tolist() == [[[50, 50, 50], [114, 50, 50], [178, 178, 178]]]


def test_opacity_runs_from_the_image_to_the_colours() -> None:
    labels = grid("12", "0.")
    assert (overlay(grey(), labels, 0) == 100).all()
    assert (overlay(grey(), labels, 1, palette="colour_blind") == colour_blind_palette()[labels.numpy()]).all()


def test_heat_shows_the_greatest_activation_at_the_size_of_the_image() -> None:
    cams = torch.zeros(2, 3, 4)
    cams[1, 0, 0] = 1
    image = grey(12, 16)
    shown = heat(image, cams, 1)
    assert shown.shape == (12, 16, 3)
    assert (heat(image, cams.amax(0), 1) == shown).all()
    assert (shown[0, 0] != shown[-1, -1]).any()
    red, _, blue = shown[0, 0].tolist()
    assert red > blue
    assert (heat(image, cams, 0) == 100).all()


def test_inputs_are_left_as_they_are() -> None:
    image, labels = grey(), grid("01", "1.")
    shown = picture(image)
    overlay(image, labels)
    shown_before = shown.copy()
    assert (image == 100).all()
    assert (labels == grid("01", "1.")).all()
    assert (shown == shown_before).all()


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


def ink(shown: Picture) -> int:
    return int((shown < 250).any(-1).sum())


def test_curves_draw_a_plot_for_each_metric(tmp_path: Path) -> None:
    rows = [{"stage": "classifier", "epoch": epoch, "loss": 1 / (epoch + 1)} for epoch in range(3)]
    draw_curves(rows, tmp_path / "one.png")
    draw_curves([{**row, "held_out_map": 3.0, "name": "no number"} for row in rows], tmp_path / "two.png")
    one, two = read(tmp_path / "one.png"), read(tmp_path / "two.png")
    assert two.shape[1] == 2 * one.shape[1]
    assert ink(two) > 1.5 * ink(one)


def test_what_only_counts_has_no_plot(tmp_path: Path) -> None:
    rows = [{"stage": "s", "epoch": epoch, "loss": 1 / (epoch + 1)} for epoch in range(3)]
    draw_curves(rows, tmp_path / "plain.png")
    draw_curves([{**row, "step": 7} for row in rows], tmp_path / "counted.png")
    assert (tmp_path / "plain.png").read_bytes() == (tmp_path / "counted.png").read_bytes()


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


def test_an_epoch_done_twice_counts_as_it_went_last(tmp_path: Path) -> None:
    rows = [{"stage": "s", "epoch": 0, "loss": 1.0}, {"stage": "s", "epoch": 1, "loss": 0.5}]
    draw_curves(rows, tmp_path / "undisturbed.png")
    draw_curves([rows[0], {"stage": "s", "epoch": 1, "loss": 9.0}, rows[1]], tmp_path / "resumed.png")
    assert (tmp_path / "undisturbed.png").read_bytes() == (tmp_path / "resumed.png").read_bytes()


def test_rows_without_an_epoch_are_no_curve(tmp_path: Path) -> None:
    draw_curves([], tmp_path / "nothing.png")
    draw_curves([{"stage": "s", "summary": {"miou": 1.0}}], tmp_path / "summary.png")
    assert (tmp_path / "nothing.png").read_bytes() == (tmp_path / "summary.png").read_bytes()


def test_a_confusion_matrix_is_drawn_in_shares_of_each_true_class(tmp_path: Path) -> None:
    confusion = torch.tensor([[8, 2, 0, 0], [0, 5, 0, 5], [0, 0, 0, 0]])
    draw_confusion(confusion, tmp_path / "a.png", ["background", "cat", "never seen"])
    draw_confusion(confusion * torch.tensor([[10], [3], [1]]), tmp_path / "b.png", ["background", "cat", "never seen"])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    draw_confusion(confusion.roll(1, 1), tmp_path / "c.png", ["background", "cat", "never seen"])
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "c.png").read_bytes()


def test_a_tile_is_small_and_shows_the_truth_over_the_image() -> None:
    image, truth = grey(2000, 1000), torch.zeros((2000, 1000), dtype=torch.uint8)
    truth[1000:] = 1
    small = tile(image, truth, "one", opacity=1)
    assert max(small.picture.shape) == 480
    assert small.picture.shape[0] == 2 * small.picture.shape[1]
    assert small.picture[-9, 9].tolist() == [128, 0, 0]
    assert small.labels == {0, 1}
    bare = tile(grey(3, 3), None, "two")
    assert (bare.picture == 100).all()
    assert bare.labels == frozenset()


def test_a_contact_sheet_draws_every_tile_once_in_rows(tmp_path: Path) -> None:
    red = Tile(np.full((8, 8, 3), (255, 0, 0), dtype=np.uint8), "a caption that is longer than a line " * 3)
    blue = Tile(np.full((8, 8, 3), (0, 0, 255), dtype=np.uint8), "short")
    draw_tiles([red, blue, blue], tmp_path / "sheet.png", columns=2)
    shown = read(tmp_path / "sheet.png")
    is_red, is_blue = (shown == (255, 0, 0)).all(-1), (shown == (0, 0, 255)).all(-1)
    side = is_red.any(0).sum()
    assert is_red.sum() == side * side
    assert is_blue.sum() == pytest.approx(2 * side * side, rel=0.02)
    # one blue beside the red, one below it
    assert (is_blue & is_red.any(1)[:, None]).sum() == pytest.approx(side * side, rel=0.02)
    assert (is_blue & is_red.any(0)[None]).sum() == pytest.approx(side * side, rel=0.02)
    draw_tiles([red, blue, blue], tmp_path / "again.png", columns=2)
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "sheet.png").read_bytes()


def test_a_contact_sheet_names_the_classes_that_it_shows(tmp_path: Path) -> None:
    shown = tile(grey(9, 9), torch.full((9, 9), 2, dtype=torch.uint8), "two", opacity=0)
    draw_tiles([shown], tmp_path / "without.png")
    draw_tiles([shown], tmp_path / "with.png", classes=["cat", "dog"])
    without, named = read(tmp_path / "without.png"), read(tmp_path / "with.png")
    assert named.shape[0] > without.shape[0]
    assert (named == voc_palette()[2]).all(-1).any()
    assert not (named == voc_palette()[1]).all(-1).any()


ONE, TWO, THREE = ((128, 0, 0), (0, 128, 0), (128, 128, 0))  # VOC colours of the first labels


def at(shown: Picture, row: float, column: float, zoom: int) -> tuple[int, ...]:
    """The colour in the middle of a pixel of the image."""
    return tuple(shown[int((row + 0.5) * zoom), int((column + 0.5) * zoom)].tolist())


def test_given_labels_have_the_colours_of_their_classes_over_a_darker_image() -> None:
    annotation = Annotation(
        points=Points((Point(1, 10, 10), Point(0, 10, 50))),
        scribbles=Scribbles((Stroke(2, ((30, 10), (30, 50)), width=3),)),
        boxes=Boxes((Box(3, 40, 20, 60, 44),)),
    )
    shown = annotated(grey(80, 60), annotation, side=480)
    assert shown.shape == (480, 360, 3)
    assert at(shown, 10, 10, 6) == ONE
    assert at(shown, 10, 50, 6) == (0, 0, 0)
    assert {at(shown, 30, column, 6) for column in range(10, 51)} == {TWO}
    assert at(shown, 28, 30, 6) != TWO  # the pen is three pixels wide
    assert {tuple(shown[side].tolist()) for side in ((244, 180), (355, 180), (300, 124), (300, 259))} == {THREE}
    assert at(shown, 50, 32, 6) == at(shown, 0, 0, 6) == (65, 65, 65)
    assert {tuple(shown[side].tolist()) for side in ((240, 180), (359, 180), (300, 120), (300, 263))} == {
        (255, 255, 255)
    }
    assert at(shown, 60, 30, 6) == (65, 65, 65)  # boxes are half-open


def test_dots_have_a_white_rim() -> None:
    shown = annotated(grey(60, 60), Annotation(points=Points((Point(1, 30, 30),))), side=480)
    along = [tuple(colour) for colour in shown[244].tolist()]
    assert list(dict.fromkeys(along)) == [(65, 65, 65), (255, 255, 255), ONE]
    assert along.count(ONE) > 10
    inside, rims = along.index(ONE), along.count((255, 255, 255))
    left = along[:inside].count((255, 255, 255))
    assert 1 <= left <= 5
    assert abs(rims - 2 * left) <= 1


def test_a_full_mask_lies_over_the_image_as_labels_do() -> None:
    labels = grid("01", "2.")
    shown = annotated(grey(), Annotation(masks=Mask.of(labels)), 0.5, palette="colour_blind", side=4)
    assert (shown == overlay(grey(), labels, 0.5, palette="colour_blind").repeat(2, 0).repeat(2, 1)).all()


def test_marks_at_the_border_and_a_stroke_of_one_corner_are_drawn() -> None:
    annotation = Annotation(
        points=Points((Point(1, 0, 0),)),
        scribbles=Scribbles((Stroke(2, ((39, 39),)),)),
        boxes=Boxes((Box(3, 0, 20, 1, 21),)),
    )
    shown = annotated(grey(40, 40), annotation, side=40)
    assert shown[0, 0].tolist() == list(ONE)
    assert shown[39, 39].tolist() == list(TWO)


def test_a_large_image_is_not_enlarged_and_none_is_changed() -> None:
    image = grey(600, 300)
    assert annotated(image, Annotation(points=Points((Point(1, 5, 5),)))).shape == (600, 300, 3)
    assert (image == 100).all()


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


def drawn_tradeoff(path: Path, *curves: Curve, level: Curve | None = None) -> Picture:
    draw_tradeoff(curves, path / "one.png", along="seconds", value="mIoU", level=level, title="title")
    return read(path / "one.png")


def coloured(shown: Picture, colour: str) -> NDArray[np.bool_]:
    """Where the plot, without its legend, has about this colour: thin lines mix with what lies beside them."""
    wanted = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)])
    return np.linalg.norm(shown[:, :740].astype(float) - wanted, axis=-1) < 60


def test_each_curve_of_a_tradeoff_has_its_colour_and_its_intervals(tmp_path: Path) -> None:
    low = Curve("low", ((1.0, 10.0, 9.0, 11.0), (3.0, 20.0, 19.0, 21.0), (4.0, 0.0, 0.0, 100.0)))
    shown = drawn_tradeoff(tmp_path, low, Curve("high", ((2.0, 90.0, 80.0, 95.0),)))
    longer = drawn_tradeoff(tmp_path, low, Curve("high", ((2.0, 90.0, 20.0, 95.0),)))
    first, second, third = coloured(shown, LINES[0]), coloured(shown, LINES[1]), coloured(longer, LINES[1])
    assert first.any()
    # the second is higher up
    assert np.argwhere(second)[:, 0].mean() < np.argwhere(first)[:, 0].mean()
    # from 80 or 20 to 95
    assert np.ptp(np.argwhere(third)[:, 0]) / np.ptp(np.argwhere(second)[:, 0]) == pytest.approx(75 / 15, rel=0.05)


def test_what_is_spent_is_drawn_by_factors_where_it_differs_much(tmp_path: Path) -> None:
    def middle(*places: float) -> float:
        """Where the middle of three points stands between the others."""
        shown = drawn_tradeoff(
            tmp_path, *(Curve(f"{place} in the long words of a legend", ((place, 5.0, 1.0, 9.0),)) for place in places)
        )
        columns = [np.median(np.argwhere(coloured(shown, colour))[:, 1]) for colour in LINES[:3]]
        return float((columns[1] - columns[0]) / (columns[2] - columns[0]))

    assert middle(1, 2, 3) == pytest.approx(0.5, abs=0.02)
    assert middle(1, 10, 100) == pytest.approx(0.5, abs=0.02)


def test_full_supervision_is_a_line_across_the_figure(tmp_path: Path) -> None:
    curve, level = Curve("a", ((1.0, 10.0, 9.0, 11.0),)), Curve("full", ((0.0, 70.0, 65.0, 75.0),))
    shown = drawn_tradeoff(tmp_path, curve, level=level)[:, :740]
    band = (abs(shown.astype(int) - 235).max(-1) < 8).mean(1) > 0.5
    # of 9 to 75, and a little more, it covers 65 to 75
    assert band.mean() == pytest.approx(0.84 * 10 / 72, abs=0.03)
    assert np.argwhere(band).mean() < len(band) / 3
