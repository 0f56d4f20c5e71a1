import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import interpolate

from wsss.functional.lookalikes import (
    FAINT,
    LIKENESS,
    ROUNDING,
    SIDE,
    TOLERANCE,
    find_lookalikes,
    grid_side,
    likeness,
    outline,
    signature,
)


def flat(*values: int) -> Tensor:
    """Signatures of one grey each."""
    return torch.tensor(values, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, SIDE, SIDE)


def pairs(ones: Tensor, others: Tensor, tolerance: int = TOLERANCE) -> list[tuple[int, int]]:
    found = find_lookalikes(ones, others, tolerance)
    return [(one, other) for one, near in enumerate(found) for other in near.tolist()]


def photo(seed: int, height: int = 40, width: int = 56) -> Tensor:
    """Soft blobs of colour, as photographs have them."""
    grain = torch.rand((1, 3, 5, 7), generator=torch.Generator().manual_seed(seed))
    return (255 * interpolate(grain, (height, width), mode="bicubic").clamp(0, 1)[0]).to(torch.uint8)


def test_a_signature_is_the_image_in_eight_by_eight_cells() -> None:
    cells = torch.randint(0, 256, (3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(signature(cells), cells)
    assert torch.equal(signature(torch.full((3, 30, 50), 77, dtype=torch.uint8))[None], flat(77))
    # far from the edges between them, cells keep their colours
    halves = torch.zeros((3, 64, 64), dtype=torch.uint8)
    halves[..., 32:] = 200
    assert signature(halves)[0, 0].tolist()[::7] == [0, 200]


def test_pictures_are_alike_up_to_the_tolerance_in_their_worst_cell() -> None:
    other = flat(100).clone()
    other[0, 1, 2, 3] = 104
    assert pairs(flat(100), other, tolerance=4) == [(0, 0)]
    assert pairs(flat(100), other, tolerance=3) == []
    # bytes don't wrap around
    assert pairs(flat(2), flat(254), tolerance=4) == []


def test_pairs_come_in_order_and_none_is_found_where_there_is_nothing() -> None:
    assert pairs(flat(9, 50, 9), flat(51, 8, 9), tolerance=1) == [(0, 1), (0, 2), (1, 0), (2, 1), (2, 2)]
    assert pairs(flat(), flat(1)) == []
    assert pairs(flat(1), flat()) == []


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(0, 8), st.integers(1, 12), st.integers(1, 12))
def test_the_pairs_are_those_of_a_plain_comparison_of_all_with_all(seed: int, tolerance: int, n: int, m: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    ones, others = (torch.randint(0, 2, (count, 3, SIDE, SIDE), generator=draw) for count in (n, m))
    lift = torch.randint(0, 12, (m, 1, 1, 1), generator=draw)
    first, second = ones.to(torch.uint8), (others + lift).to(torch.uint8)
    plain = [(i, j) for i in range(n) for j in range(m) if (first[i].int() - second[j].int()).abs().max() <= tolerance]
    assert pairs(first, second, tolerance) == plain


def test_a_resized_picture_looks_the_same_and_another_one_does_not() -> None:
    image = photo(0)
    half = interpolate(image[None].float(), (20, 28), mode="bilinear", antialias=True)[0].to(torch.uint8)
    signatures = torch.stack([signature(shown) for shown in (image, half, photo(1))])
    assert pairs(signatures[:1], signatures, TOLERANCE) == [(0, 0), (0, 1)]


def noise(seed: int, count: int = 1) -> Tensor:
    """Outlines without any likeness."""
    return torch.randint(0, 256, (count, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def plain_likeness(one: Tensor, other: Tensor, side: int) -> float:
    """The likeness of two outlines, block by block, each plane found by least squares."""
    step = 64 // side
    small = [shown.double().view(side, step, side, step).mean((1, 3)).numpy() for shown in (one, other)]
    rows, columns = np.mgrid[:4, :4].reshape(2, 16)
    plane = np.stack([np.ones(16), rows, columns], 1)
    sums = []
    for top in range(0, side, 4):
        for left in range(0, side, 4):
            blocks = np.stack([shown[top : top + 4, left : left + 4].ravel() for shown in small], 1)
            a, b = (blocks - plane @ np.linalg.lstsq(plane, blocks, rcond=None)[0]).T
            sums.append((2 * (a * b).mean(), (a * a).mean() + (b * b).mean()))
    common, power = np.array(sums).T
    return min(common.mean() / (power.mean() + ROUNDING), ((common + FAINT) / (power + FAINT)).min())


def test_likeness_agrees_with_planes_fitted_block_by_block() -> None:
    one, shares = noise(0), torch.tensor([0.0, 0.3, 0.7, 0.9, 1.0])[:, None, None]
    others = (shares * one + (1 - shares) * noise(1, 5)).to(torch.uint8)
    sides = torch.tensor([64, 32, 8, 16, 64])
    alike = likeness(torch.cat([one, others[:1]]), others, torch.tensor([64, 16]), sides)
    expected = [[plain_likeness(one[0], other, side) for other, side in zip(others, sides.tolist(), strict=True)]]
    # the coarser of two grids counts
    coarse = sides.clamp(max=16).tolist()
    expected += [[plain_likeness(others[0], other, side) for other, side in zip(others, coarse, strict=True)]]
    assert np.allclose(alike.numpy(), expected, atol=1e-4)
    assert expected[0][0] < 0.1
    assert expected[0][-1] > 0.99


def alike(one: Tensor, other: Tensor) -> float:
    return likeness(one[None], other[None], torch.tensor([64]), torch.tensor([64])).item()


def test_neither_common_light_nor_a_common_ground_makes_pictures_the_same() -> None:
    light = (torch.arange(64.0)[:, None] + 2 * torch.arange(64.0)).to(torch.uint8)
    one, other = (light + noise(seed)[0] // 8 for seed in (0, 1))
    assert alike(one, other) < LIKENESS / 2
    ground = noise(2)[0] // 16
    scratched = ground.clone()
    scratched[20, 25:31] += 60
    assert alike(ground, scratched) < LIKENESS
    # what is nowhere more than a plane is not even like itself
    assert alike(light, light) == pytest.approx(0, abs=1e-6)


def test_small_pictures_are_compared_on_a_coarse_grid() -> None:
    sizes = [(500, 375), (128, 300), (300, 127), (64, 64), (63, 64), (31, 99), (1, 1)]
    assert [grid_side(*size) for size in sizes] == [64, 64, 32, 32, 16, 8, 8]


def test_an_outline_is_the_brightness_in_cells() -> None:
    image = torch.zeros((3, 128, 64), dtype=torch.uint8)
    image[0, 64:] = 90
    image[1, 64:] = 120
    shown = outline(image)
    assert shown.shape == (64, 64)
    assert shown[[0, 63], [0, 63]].tolist() == [0, round(0.299 * 90 + 0.587 * 120)]
