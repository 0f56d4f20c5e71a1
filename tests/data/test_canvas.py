import numpy as np
import pytest
from numpy.typing import NDArray

from wsss.data.canvas import TILE, Canvas, Coat, Shape, ellipse, polygon, stroke, tiles

RED = Coat((1.0, 0.0, 0.0), strength=0.0)


def painted(shape: Shape, size: int = 40, **options: float) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    canvas = Canvas(size, size, np.random.default_rng(0))
    canvas.paint(shape, RED, 1, **options)
    return canvas.pixels[..., 0], canvas.owners


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        (ellipse((20, 20), 12, 12), np.pi * 144),
        (ellipse((20, 20), 15, 6, 0.7), np.pi * 90),
        (polygon([(5, 5), (30, 8), (28, 33), (9, 30)]), 547.0),
        (polygon([(9, 30), (28, 33), (30, 8), (5, 5)]), 547.0),  # the other way round
        (stroke((8, 10), (30, 25), 3), np.pi * 9 + 6 * np.hypot(22, 15)),
    ],
)
def test_shapes_cover_their_area(shape: Shape, area: float) -> None:
    cover, owners = painted(shape)
    assert cover.sum() == pytest.approx(area, rel=0.02)
    assert owners.sum() == pytest.approx(area, rel=0.05)


def test_a_square_on_the_grid_is_sharp_and_owned() -> None:
    cover, owners = painted(polygon([(1, 1), (3, 1), (3, 4), (1, 4)]), size=5)
    expected = np.zeros((5, 5))
    expected[1:4, 1:3] = 1
    assert np.array_equal(cover, expected)
    assert np.array_equal(owners, expected)


def test_shapes_beyond_the_picture_are_cut_off() -> None:
    for centre in ((-3.0, 20.0), (43.0, 20.0), (20.0, -3.0), (20.0, 43.0)):
        cover, _ = painted(ellipse(centre, 8, 8))
        assert 0 < cover.sum() < 32 * np.pi
    assert painted(ellipse((-50, 500), 8, 8))[0].sum() == 0


def test_what_is_seen_through_does_not_own_the_pixel() -> None:
    canvas = Canvas(4, 4, np.random.default_rng(0))
    canvas.paint(polygon([(0, 0), (4, 0), (4, 4), (0, 4)]), RED, None, opacity=0.25)
    assert canvas.pixels[1, 1].tolist() == [0.25, 0, 0]
    assert not canvas.owners.any()


def test_textures_lighten_as_much_as_they_darken() -> None:
    for name, tile in tiles().items():
        assert tile.shape == (TILE, TILE), name
        assert abs(tile.mean()) < 1e-5, name
        assert tile.std() == pytest.approx(1, abs=1e-4), name


def test_fur_runs_down_and_ripples_run_across() -> None:
    def roughness(name: str, axis: int) -> float:
        return float(np.abs(np.diff(tiles()[name], axis=axis)).mean())

    assert roughness("fur", 1) > 1.5 * roughness("fur", 0)
    assert roughness("ripple", 0) > 1.5 * roughness("ripple", 1)
