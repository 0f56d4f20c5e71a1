import pytest
import torch
from torch.nn.functional import interpolate

from wsss.functional.resampling import read_between, spread_over


def test_places_between_cells_are_read_bilinearly_and_those_beyond_as_the_last() -> None:
    row = torch.tensor([[[[0.0, 4.0, 8.0]]]])
    assert read_between(row, (1, 5), (1, 0.5), (0, -0.25)).tolist() == [[[[0.0, 1.0, 3.0, 5.0, 7.0]]]]
    assert read_between(row, (1, 3), (1, 1), (3, 1)).tolist() == [[[[4.0, 8.0, 8.0]]]]
    column = row.transpose(2, 3)
    assert read_between(column, (3, 2), (0.5, 1), (0, 0)).tolist() == [[[[0.0] * 2, [2.0] * 2, [4.0] * 2]]]


@pytest.mark.parametrize("stride", [8, 16])
def test_blocks_with_features_in_their_middle_are_resized_as_usual(stride: int) -> None:
    maps = torch.rand(2, 3, 4, 6)
    usual = interpolate(maps, (4 * stride // 4, 6 * stride // 4), mode="bilinear", align_corners=False)
    image = (4 * stride, 6 * stride)
    found = spread_over(maps, usual.shape[2:], image, stride=stride, anchor=0.5)
    torch.testing.assert_close(found, usual)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_features_on_the_first_pixel_of_their_blocks_are_drawn_there() -> None:
    # a map that says how far right it was seen: feature k at stride 4 is centred on pixel 4 k
    maps = 4 * torch.arange(5.0).view(1, 1, 1, 5)
    at_pixels = spread_over(maps, (1, 20), (4, 20), stride=4, anchor=0.125)
    torch.testing.assert_close(at_pixels.flatten(), torch.arange(20.0).clamp(max=16))
    # the middle of each second block of two pixels lies between them; an image need not be whole blocks
    halved = spread_over(maps, (1, 9), (4, 18), stride=4, anchor=0.125)
    torch.testing.assert_close(halved.flatten(), (2 * torch.arange(9.0) + 0.5).clamp(max=16))


def test_features_of_half_precision_stay_so_whatever_is_cast_automatically() -> None:
    maps = torch.full((1, 1, 2, 2), 257.0)
    with torch.autocast("cpu", torch.bfloat16):
        # 257 is not a number in bfloat16
        assert read_between(maps, (1, 1), (1, 1), (0.3, 0.3)).item() == pytest.approx(257)
        assert read_between(maps.bfloat16(), (3, 3), (0.5, 0.5), (0, 0)).dtype == torch.bfloat16


def test_gradients_are_shared_like_the_values() -> None:
    maps = torch.rand(1, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda values: read_between(values, (4, 5), (0.4, 0.7), (-0.2, 0.1)), maps)
