from pathlib import Path

import numpy as np
import pytest
import torch

from tests.drawing import grey, read
from wsss.plotting import Tile, draw_tiles, tile
from wsss.store import voc_palette


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
