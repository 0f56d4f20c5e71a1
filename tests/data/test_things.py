import numpy as np
import pytest

from wsss.data import things
from wsss.data.canvas import Canvas
from wsss.data.synthetic import CLUTTER, THINGS
from wsss.data.things import Figure

OWNER = 9


def painted(painter: object, *, unit: float = 48.0, mirror: int = 1) -> Canvas:
    canvas = Canvas(81, 81, np.random.default_rng(0))
    figure = Figure(canvas, (40.5, 72.0), unit, mirror, OWNER)
    if painter in CLUTTER or painter is things.paint_post:
        painter(figure, np.random.default_rng(1))  # type: ignore[operator]
    else:
        painter(figure, np.random.default_rng(1), (0.4, 0.5, 0.2))  # type: ignore[operator]
    return canvas


PAINTERS = [*(kind.painter for kind in THINGS.values()), *CLUTTER, things.paint_post]


@pytest.mark.parametrize("painter", PAINTERS)
def test_a_thing_stands_on_its_foot_and_owns_what_it_covers(painter: object) -> None:
    owned = painted(painter).owners == OWNER
    rows = owned.any(axis=1).nonzero()[0]
    assert owned.sum() > 40
    assert 68 <= rows.max() <= 76
    assert owned.any(axis=0)[30:51].any()


@pytest.mark.parametrize("painter", [kind.painter for kind in THINGS.values()])
def test_a_mirrored_thing_looks_the_other_way(painter: object) -> None:
    left, right = (painted(painter, mirror=mirror).owners == OWNER for mirror in (1, -1))
    both = (left[:, ::-1] & right).sum() / (left[:, ::-1] | right).sum()
    assert both > 0.85


@pytest.mark.parametrize("painter", [kind.painter for kind in THINGS.values()])
def test_a_thing_grows_with_its_unit(painter: object) -> None:
    small, large = ((painted(painter, unit=unit).owners == OWNER).sum() for unit in (24.0, 48.0))
    assert 3 < large / small < 5
