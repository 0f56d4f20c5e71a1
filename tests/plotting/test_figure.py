import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.drawing import grey, picture, read
from wsss.plotting import (
    Curve,
    Picture,
    Tile,
    draw_confusion,
    draw_curves,
    draw_strips,
    draw_tiles,
    draw_tradeoff,
    strip_of_maps,
    with_column,
)
from wsss.plotting.figure import FONTS, _fonts, new_figure, write_figure


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


@pytest.mark.parametrize("long", ["2007_000032_as_the_camera_of_the_left_side_saw_it_on_a_sunday", "no " * 30])
def test_long_names_take_no_more_room_than_short_ones(long: str, tmp_path: Path) -> None:
    def drawn(name: str, remark: str = "") -> list[Picture]:
        row = strip_of_maps(grey(), [("labels", picture("01", "1.")), (name, None)], name + remark)
        draw_strips([row, row], tmp_path / "strips.png", classes=[name])
        draw_confusion(torch.tensor([[8, 2, 0], [0, 5, 0]]), tmp_path / "confusion.png", ["background", name])
        return [read(tmp_path / f"{figure}.png") for figure in ("strips", "confusion")]

    def clear(shown: Picture) -> bool:
        """Whether nothing is cut off above, below or on the left; on the right pictures reach the edge."""
        return bool((np.concatenate([shown[[0, -1]].reshape(-1, 3), shown[:, 0]]) > 250).all())

    for remark in ("", "\nIoU 12.5"):
        for fits, strained in zip(drawn("cat", remark), drawn(long, remark), strict=True):
            assert fits.shape == strained.shape
            assert clear(strained)


def test_letters_that_no_font_has_are_noted_without_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsss.plotting.figure._fonts", lambda: ["DejaVu Sans"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_name("café", tmp_path / "known.png")
        assert capsys.readouterr().err == ""
        write_name("猫", tmp_path / "unknown.png")
    assert f"'{tmp_path / 'unknown.png'}' has letters that no installed font contains" in capsys.readouterr().err


def test_other_warnings_of_a_figure_are_passed_on(tmp_path: Path) -> None:
    figure = new_figure(0.1, 0.1, layout="constrained")
    figure.subplots().set_title("far too long for this")
    with pytest.warns(UserWarning, match="constrained_layout"):
        write_figure(figure, tmp_path / "figure.png")


def test_fonts_of_other_scripts_are_used_where_they_are_installed() -> None:
    from matplotlib.font_manager import fontManager

    assert _fonts()[0] == "DejaVu Sans"
    assert set(_fonts()) <= {*FONTS} & set(fontManager.get_font_names())
