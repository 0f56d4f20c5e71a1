"""Cues as points."""

import pytest
import torch

from wsss.annotations import Points
from wsss.annotations.formats import FORMATS, Source
from wsss.annotations.formats.cues import points_of_cues
from wsss.errors import DataError
from wsss.functional.cues import draw_cues, spread_cues
from wsss.types import IGNORE


def test_grid_points_lie_on_pixels_from_corner_to_corner() -> None:
    cues = torch.tensor([[1, 2, 0], [0, 40, 20], [40, 0, 10]])
    points = points_of_cues(cues, 41, (321, 641)).points
    assert [(point.label, point.row, point.column) for point in points] == [(1, 0, 640), (2, 320, 0), (0, 160, 160)]


@pytest.mark.parametrize("size", [(4, 4), (9, 7), (50, 33)])
def test_each_point_lies_where_the_grid_is_drawn(size: tuple[int, int]) -> None:
    cues = torch.tensor([[1, 2, 3, 1], [0, 1, 2, 3], [3, 0, 1, 2]])
    drawn = spread_cues(draw_cues(cues, 4, labels=[0, 1, 2, 3]), size)
    seeds = Points(points_of_cues(cues, 4, size).points).seeds(torch.zeros(3, *size, dtype=torch.uint8))
    assert seeds is not None
    clicked = seeds != IGNORE
    assert clicked.sum() == 4
    assert torch.equal(seeds[clicked], drawn[clicked])


def test_cues_need_the_size_of_their_image() -> None:
    source = Source("cues.pickle", "one", (torch.zeros(3, 1, dtype=torch.int64), 41))
    with pytest.raises(DataError, match=r"'cues.pickle', image 'one', has no size .* add --images"):
        FORMATS["cues"].read([source], None)
