from typing import Any

import pytest
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from wsss.errors import SettingsError
from wsss.functional.superpixels import SuperpixelSettings, slic_segments


def quarters(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Draw an image of four plain colours, and tell which quarter each pixel lies in."""
    colours = torch.tensor([[200, 30, 30], [30, 200, 30], [30, 30, 200], [220, 220, 40]], dtype=torch.uint8)
    quarter = 2 * (torch.arange(height)[:, None] * 2 >= height) + (torch.arange(width) * 2 >= width).long()
    return colours[quarter].permute(2, 0, 1).contiguous(), quarter


def numbers_of(segments: Tensor) -> list[int]:
    return sorted(set(segments.flatten().tolist()))


def test_no_segment_crosses_a_strong_edge() -> None:
    image, quarter = quarters(60, 80)
    segments = slic_segments(image, SuperpixelSettings(count=40, smoothing=0.0))
    for number in numbers_of(segments):
        assert len(set(quarter[segments == number].tolist())) == 1


def test_segments_are_connected_and_numbered_without_gaps() -> None:
    image = torch.randint(0, 64, (3, 50, 70), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    image[:, :25] += 150
    segments = slic_segments(image, SuperpixelSettings(count=30))
    assert numbers_of(segments) == list(range(int(segments.max()) + 1))
    assert len(numbers_of(segments)) > 10
    for number in numbers_of(segments):
        assert ndimage.label(segments == number)[1] == 1


def test_the_count_is_near_what_was_asked_for() -> None:
    rows, columns = torch.arange(100)[:, None] * 2, torch.arange(150) * 1.5
    image = torch.stack([(rows + 0 * columns), (0 * rows + columns), (rows + columns) / 2]).to(torch.uint8)
    for count in (20, 60, 200):
        assert 0.6 * count <= int(slic_segments(image, SuperpixelSettings(count=count)).max()) + 1 <= 1.4 * count


def test_more_compact_segments_are_rounder() -> None:
    generator = torch.Generator().manual_seed(1)
    blots = torch.randint(0, 256, (1, 3, 12, 15), generator=generator).float()
    image = functional.interpolate(blots, scale_factor=8, mode="bicubic")[0].clamp(0, 255).to(torch.uint8)

    def border(compactness: float) -> float:
        segments = slic_segments(image, SuperpixelSettings(count=80, compactness=compactness))
        sides = (segments[1:] != segments[:-1]).sum() + (segments[:, 1:] != segments[:, :-1]).sum()
        return float(sides) / len(numbers_of(segments)) ** 0.5

    assert border(100.0) < border(5.0)


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (1, 40), (40, 1), (2, 2), (3, 5), (16, 16), (4, 300)])
@pytest.mark.parametrize("grey", [False, True])
def test_images_of_any_size_are_cut(size: tuple[int, int], grey: bool) -> None:
    image = torch.randint(0, 256, (3, *size), generator=torch.Generator().manual_seed(2)).to(torch.uint8)
    if grey:
        image = image[:1].expand(3, -1, -1)
    segments = slic_segments(image, SuperpixelSettings())
    assert segments.shape == size
    assert numbers_of(segments) == list(range(int(segments.max()) + 1))


def test_an_image_of_one_colour_is_cut_too() -> None:
    segments = slic_segments(torch.full((3, 40, 40), 7, dtype=torch.uint8), SuperpixelSettings(count=16))
    assert int(segments.max()) + 1 == 16


def test_one_segment_is_the_whole_image() -> None:
    image, _ = quarters(20, 20)
    assert not slic_segments(image, SuperpixelSettings(count=1)).any()


def test_the_same_image_is_cut_the_same_way() -> None:
    image = torch.randint(0, 256, (3, 33, 41), generator=torch.Generator().manual_seed(3)).to(torch.uint8)
    before = image.clone()
    assert torch.equal(slic_segments(image, SuperpixelSettings()), slic_segments(image, SuperpixelSettings()))
    assert torch.equal(image, before)


def test_noise_does_not_melt_the_segments_together() -> None:
    noise = torch.randint(60, 140, (3, 80, 80), generator=torch.Generator().manual_seed(4)).to(torch.uint8)
    assert int(slic_segments(noise, SuperpixelSettings()).max()) + 1 > 200
    assert int(slic_segments(noise, SuperpixelSettings(smoothing=0.0, compactness=10.0)).max()) + 1 < 50


def test_a_bright_corner_does_not_change_the_segments_elsewhere() -> None:
    dull = torch.randint(90, 110, (3, 80, 80), generator=torch.Generator().manual_seed(5)).to(torch.uint8)
    lit = dull.clone()
    lit[:, :2, :2] = 255
    before, after = (slic_segments(image, SuperpixelSettings(count=64)) for image in (dull, lit))
    assert torch.equal(before[40:, 40:] - before[40:, 40:].min(), after[40:, 40:] - after[40:, 40:].min())


@pytest.mark.parametrize(
    "broken",
    [{"count": 0}, {"compactness": 0.0}, {"smoothing": -1.0}, {"iterations": 0}],
    ids=lambda broken: next(iter(broken)),
)
def test_a_setting_out_of_range_is_named(broken: dict[str, Any]) -> None:
    field, value = next(iter(broken.items()))
    with pytest.raises(SettingsError, match=rf"{field} must .*, got {value}"):
        SuperpixelSettings(**broken)
