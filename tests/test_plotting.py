import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage

from tests.drawing import picture as grid
from wsss.plotting import (
    LINES,
    PALETTES,
    Curve,
    Picture,
    Strip,
    Tile,
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
