import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from wsss.functional.levels import LEVELS, count_levels, level_quantiles


def test_every_number_of_half_precision_between_0_and_1_is_a_level() -> None:
    levels = torch.arange(LEVELS, dtype=torch.int16).view(torch.float16)
    assert levels[0] == 0
    assert levels[-1] == 1
    assert (levels.diff() > 0).all()
    assert torch.equal(count_levels(levels.float()[None, None], None), torch.ones(1, LEVELS, dtype=torch.int64))


def test_only_present_classes_and_numbers_are_counted() -> None:
    maps = torch.tensor([[[0.5, torch.nan, 0.5]], [[-0.0, 0.0, 1.0]], [[torch.nan, -torch.nan, torch.nan]]])
    counts = count_levels(maps, torch.tensor([False, True, True]))
    assert counts.sum(1).tolist() == [0, 3, 0]
    assert counts[1, [0, LEVELS - 1]].tolist() == [2, 1]
    counts = count_levels(maps, None)
    assert counts.sum(1).tolist() == [2, 3, 0]
    assert level_quantiles(counts, 0.5)[:2].tolist() == [0.5, 0]
    assert level_quantiles(counts, 0.5)[2].isnan()


@given(st.lists(st.lists(st.floats(0, 1, width=16), min_size=1, max_size=20), min_size=1, max_size=3), st.floats(0, 1))
def test_quantiles_of_several_images_are_those_of_numpy(images: list[list[float]], share: float) -> None:
    counts = torch.stack([count_levels(torch.tensor(image)[None, None], None) for image in images]).sum(0)
    pixels = np.array([pixel for image in images for pixel in image])
    # a share within a millionth of a pixel of a step may fall on either side of it
    near = (share, max(0.0, share - 1e-6 / len(pixels)))
    expected = [float(np.quantile(pixels, one, method="inverted_cdf")) for one in near]
    assert level_quantiles(counts, share).item() in expected


def test_a_quantile_counts_exactly_where_the_share_is_a_whole_number_of_pixels() -> None:
    # 0.55 x 100 is a little more than 55 in floating point
    hundred = (torch.arange(1, 101).flip(0) / 128).view(1, 10, 10)
    counts = count_levels(hundred, None)
    for share in (0.07, 0.29, 0.55, 0.57, 0.58):
        assert level_quantiles(counts, share).item() * 128 == round(share * 100)
    assert level_quantiles(counts, 0.0).item() * 128 == 1
    assert level_quantiles(counts, 1.0).item() * 128 == 100
