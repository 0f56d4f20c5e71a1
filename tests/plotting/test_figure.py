from pathlib import Path

import numpy as np
import pytest
import torch

from tests.drawing import grey, picture, read
from wsss.plotting import (
    Curve,
    Tile,
    draw_confusion,
    draw_curves,
    draw_strips,
    draw_tiles,
    draw_tradeoff,
    strip_of_maps,
    with_column,
)
from wsss.plotting.figure import new_figure, write_figure


def write_name(name: str, path: Path) -> int:
    """Draw one text of each kind, and count the pixels that it takes."""
    figure = new_figure(3, 3)
    place = figure.subplots()
    place.set_title(name)
    place.set_xlabel(name)
    place.set_xticks([0, 1], [name, name])
    place.text(0.5, 0.5, name)
    place.plot([0, 1], [0, 1], label=name)
    figure.legend()
    write_figure(figure, path)
    return int((read(path) < 128).any(-1).sum())


def test_dollars_around_a_name_are_drawn_as_well_as_the_name(tmp_path: Path) -> None:
    bare, paid = (write_name(name, tmp_path / "figure.png") for name in ("dog", "$dog$"))
    # each of six texts has two signs more
    assert paid > bare + 6 * 2 * 20


@pytest.mark.parametrize("name", ["price$10_$20", "$$", "x_$%d$"])
def test_no_name_of_an_image_or_a_class_is_a_formula(name: str, tmp_path: Path) -> None:
    path = tmp_path / "figure.png"
    labels = picture("01", "1.")
    draw_tiles([Tile(np.zeros((8, 8, 3), dtype=np.uint8), name, frozenset({1}))], path, classes=[name])
    row = with_column(strip_of_maps(grey(), [(name, labels)], name), name, grey(), labels)
    draw_strips([row], path, classes=[name])
    draw_confusion(torch.tensor([[8, 2, 0], [0, 5, 0]]), path, ["background", name])
    draw_curves([{"stage": name, "epoch": 0, name: 1.0}], path)
    curve = Curve(name, ((1.0, 0.5, 0.4, 0.6), (20.0, 0.6, 0.5, 0.7)))
    draw_tradeoff([curve], path, along=name, value=name, level=curve, title=name)
    assert path.exists()
