import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import interpolate

from wsss.functional.lookalikes import SIDE, TOLERANCE, find_lookalikes, signature


def flat(*values: int) -> Tensor:
    """Signatures of one grey each."""
    return torch.tensor(values, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, SIDE, SIDE)


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
    assert find_lookalikes(flat(100), other, tolerance=4) == [(0, 0)]
    assert find_lookalikes(flat(100), other, tolerance=3) == []
    # bytes don't wrap around
    assert find_lookalikes(flat(2), flat(254), tolerance=4) == []


def test_pairs_come_in_order_and_none_is_found_where_there_is_nothing() -> None:
    assert find_lookalikes(flat(9, 50, 9), flat(51, 8, 9), tolerance=1) == [(0, 1), (0, 2), (1, 0), (2, 1), (2, 2)]
    assert find_lookalikes(flat(), flat(1)) == []
    assert find_lookalikes(flat(1), flat()) == []


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(0, 8), st.integers(1, 12), st.integers(1, 12))
def test_the_pairs_are_those_of_a_plain_comparison_of_all_with_all(seed: int, tolerance: int, n: int, m: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    ones, others = (torch.randint(0, 2, (count, 3, SIDE, SIDE), generator=draw) for count in (n, m))
    lift = torch.randint(0, 12, (m, 1, 1, 1), generator=draw)
    first, second = ones.to(torch.uint8), (others + lift).to(torch.uint8)
    plain = [(i, j) for i in range(n) for j in range(m) if (first[i].int() - second[j].int()).abs().max() <= tolerance]
    assert find_lookalikes(first, second, tolerance) == plain


def test_a_resized_picture_looks_the_same_and_another_one_does_not() -> None:
    image = photo(0)
    half = interpolate(image[None].float(), (20, 28), mode="bilinear", antialias=True)[0].to(torch.uint8)
    signatures = torch.stack([signature(shown) for shown in (image, half, photo(1))])
    assert find_lookalikes(signatures[:1], signatures, TOLERANCE) == [(0, 0), (0, 1)]
