from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.drawing import read
from wsss.plotting import LINES, Curve, Picture, draw_confusion, draw_curves, draw_tradeoff


def ink(shown: Picture) -> int:
    return int((shown < 250).any(-1).sum())


def test_curves_draw_a_plot_for_each_metric(tmp_path: Path) -> None:
    rows = [{"stage": "classifier", "epoch": epoch, "loss": 1 / (epoch + 1)} for epoch in range(3)]
    draw_curves(rows, tmp_path / "one.png")
    draw_curves([{**row, "held_out_map": 3.0, "name": "no number"} for row in rows], tmp_path / "two.png")
    one, two = read(tmp_path / "one.png"), read(tmp_path / "two.png")
    assert two.shape[1] == 2 * one.shape[1]
    assert ink(two) > 1.5 * ink(one)


def test_plots_have_the_names_of_their_metrics_as_title_with_spaces(tmp_path: Path) -> None:
    drawn = {}
    for name in ("train_loss", "train loss", "train-loss", "held_out_map", "held-out mAP"):
        draw_curves([{"stage": "s", "epoch": 0, name: 1.0}], tmp_path / f"{name}.png")
        drawn[name] = (tmp_path / f"{name}.png").read_bytes()
    assert drawn["train_loss"] == drawn["train loss"] != drawn["train-loss"]
    # but for what is more than words
    assert drawn["held_out_map"] == drawn["held-out mAP"]


def test_what_only_counts_has_no_plot(tmp_path: Path) -> None:
    rows = [{"stage": "s", "epoch": epoch, "loss": 1 / (epoch + 1)} for epoch in range(3)]
    draw_curves(rows, tmp_path / "plain.png")
    draw_curves([{**row, "step": 7} for row in rows], tmp_path / "counted.png")
    assert (tmp_path / "plain.png").read_bytes() == (tmp_path / "counted.png").read_bytes()


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
