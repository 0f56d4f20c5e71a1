import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.drawing import picture
from wsss.errors import SettingsError
from wsss.functional.spreading import SpreadSettings, agreed_seeds, spread_settled, weigh_likely
from wsss.types import IGNORE, Image, LabelMap

EVEN = SpreadSettings(reach=0.5, contrast=0.0, kept=1.0)


def flat(height: int, width: int) -> Image:
    return torch.full((3, height, width), 100, dtype=torch.uint8)


def marks(height: int, width: int, *places: tuple[int, int, int]) -> LabelMap:
    drawn = torch.full((height, width), IGNORE, dtype=torch.uint8)
    for label, row, column in places:
        drawn[row, column] = label
    return drawn


def test_on_a_flat_image_labels_count_by_the_straight_way() -> None:
    scores = torch.full((2, 1, 9), 0.5)
    found = spread_settled(scores, marks(1, 9, (0, 0, 0), (1, 0, 8)), flat(1, 9), EVEN)
    # ways of k/9 and (8 - k)/9 longer sides, over a reach of a half
    near = [math.exp(-k / 9 / 0.5) + 1e-3 for k in range(9)]
    expected = torch.tensor([[a / (a + b) for a, b in zip(near, near[::-1], strict=True)]])
    torch.testing.assert_close(found[0], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.sum(0), torch.ones(1, 9))


def test_a_label_does_not_cross_an_edge_that_another_need_not_cross() -> None:
    image = flat(20, 40)
    image[:, :, 12:] = 220
    scores = torch.full((3, 20, 40), 0.5)
    scores[0] = 0
    settled = marks(20, 40, (1, 10, 4), (2, 10, 36))
    across = spread_settled(scores, settled, image, SpreadSettings(contrast=10.0)).argmax(0)
    assert (across[:, :10] == 1).all()
    assert (across[:, 15:] == 2).all()
    straight = spread_settled(scores, settled, image, SpreadSettings(contrast=0.0)).argmax(0)
    assert (straight[:, 15:18] == 1).all()


def test_labels_that_are_settled_nowhere_keep_their_scores() -> None:
    scores = torch.tensor([0.2, 0.5, 0.3])[:, None, None].expand(3, 1, 9)
    alone = spread_settled(scores, marks(1, 9, (1, 0, 0)), flat(1, 9), EVEN)
    torch.testing.assert_close(alone, scores)
    found = spread_settled(scores, marks(1, 9, (1, 0, 0), (2, 0, 8)), flat(1, 9), EVEN)
    torch.testing.assert_close(found[0], scores[0])
    assert found[1, 0, 0] > 0.5 > found[1, 0, 8]
    torch.testing.assert_close(found.sum(0), torch.ones(1, 9))


def test_nothing_settled_or_no_reach_changes_nothing() -> None:
    scores = torch.rand(3, 4, 5).softmax(0)
    assert spread_settled(scores, marks(8, 10), flat(8, 10), EVEN) is scores
    none = SpreadSettings(reach=0.0)
    assert spread_settled(scores, marks(8, 10, (1, 0, 0)), flat(8, 10), none) is scores


def test_activations_that_miss_a_part_of_a_thing_keep_no_label_from_spreading_over_it() -> None:
    # a stroke of 1 on the left, one of 0 on the right, and activations in the first pixel alone
    scores = torch.tensor([[[0.1, 1, 1, 1, 1]], [[0.9, 0, 0, 0, 0]]])
    settings = SpreadSettings(reach=0.2, contrast=0.0, kept=0.25)
    found = spread_settled(scores, marks(1, 5, (1, 0, 0), (0, 0, 4)), flat(1, 5), settings)
    assert found.argmax(0).tolist() == [[1, 1, 0, 0, 0]]
    # one pixel from the stroke and three from the other
    ours, theirs = 0.01**0.25 * (math.exp(-1) + 1e-3), math.exp(-3) + 1e-3
    assert found[1, 0, 1].item() == pytest.approx(ours / (ours + theirs), rel=1e-4)


def test_where_no_label_is_possible_none_becomes_so() -> None:
    scores = torch.zeros(3, 4, 5)
    assert not spread_settled(scores, marks(8, 10, (1, 0, 0)), flat(8, 10), EVEN).any()


@given(
    seed=st.integers(0, 1000), height=st.integers(1, 40), width=st.integers(1, 40), coarse=st.sampled_from([1, 2, 4])
)
def test_scores_stay_probabilities_and_those_of_labels_that_are_settled_nowhere_as_they_are(
    seed: int, height: int, width: int, coarse: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(256, (3, height, width), generator=generator, dtype=torch.uint8)
    settled = torch.randint(3, (height, width), generator=generator, dtype=torch.uint8)
    settled[torch.rand(height, width, generator=generator) < 0.9] = IGNORE
    scores = torch.rand(4, -(-height // coarse), -(-width // coarse), generator=generator)
    scores = scores / scores.sum(0)
    found = spread_settled(scores, settled, image, SpreadSettings())
    assert torch.equal(found[3], scores[3])
    assert found.isfinite().all()
    torch.testing.assert_close(found.sum(0), torch.ones_like(found[0]))


def test_huge_images_are_measured_on_a_grid() -> None:
    scores = torch.full((2, 250, 500), 0.5)
    found = spread_settled(scores, marks(1000, 2000, (0, 500, 0), (1, 500, 1999)), flat(1000, 2000), EVEN)
    assert (found[0, :, :240] > 0.5).all()
    assert (found[1, :, 260:] > 0.5).all()


def test_seeds_stay_where_scores_agree_and_grow_where_they_are_sure() -> None:
    seeds = picture("0011", "..11")
    best = picture("0010", "0101")
    scores = torch.zeros(2, 2, 4)
    high = torch.tensor([[0.6, 0.9, 0.6, 0.6], [0.6, 0.9, 0.9, 0.6]])
    scores.scatter_(0, best.long()[None], high[None])
    scores.scatter_(0, 1 - best.long()[None], 1 - high[None])
    assert torch.equal(agreed_seeds(seeds, scores, 0.7), picture("001.", ".101"))


def test_a_likely_label_is_one_more_opinion() -> None:
    scores = torch.tensor([0.5, 0.3, 0.2])[:, None, None].repeat(1, 1, 2)
    found = weigh_likely(scores, picture("2."), SpreadSettings(likely=0.8, kept=1.0))
    # 0.5 × 0.2, 0.3 × 0.2, 0.2 × 0.8 make 0.32
    torch.testing.assert_close(found[:, 0, 0], torch.tensor([0.10, 0.06, 0.16]) / 0.32)
    torch.testing.assert_close(found[:, 0, 1], scores[:, 0, 1])


def test_a_coarse_score_hears_as_much_as_its_pixels_tell() -> None:
    scores = torch.full((2, 1, 1), 0.5)
    whole, half, split = (
        weigh_likely(scores, picture(*rows), SpreadSettings(kept=1.0))[1].item()
        for rows in (("11", "11"), ("1.", "1."), ("10", "10"))
    )
    assert whole == pytest.approx(0.9)
    assert half == pytest.approx((0.45 + 0.25) / 1.0)
    assert split == pytest.approx(0.5)


def test_activations_that_miss_most_of_a_thing_do_not_cut_it_down() -> None:
    # the class is found in its first pixel alone
    scores = torch.tensor([[[0.1, 0.9, 1.0]], [[0.9, 0.1, 0.0]]])
    found = weigh_likely(scores, picture("111"), SpreadSettings(likely=0.9, kept=0.25))
    # 0.1 × 1 against 0.9 × 0.01^0.25 in the last pixel
    expected = torch.tensor([0.1, 0.9 * 0.01**0.25])
    torch.testing.assert_close(found[:, 0, 2], expected / expected.sum())
    assert found.argmax(dim=0).tolist() == [[1, 1, 1]]


def test_an_impossible_label_stays_impossible_however_likely_it_is_called() -> None:
    scores = torch.tensor([1.0, 0.0])[:, None, None]
    assert torch.equal(weigh_likely(scores, picture("1"), SpreadSettings()), scores)
    assert not weigh_likely(torch.zeros(2, 1, 1), picture("1"), SpreadSettings()).any()


@pytest.mark.parametrize(
    ("name", "ends", "beyond"),
    [
        ("reach", (0, 10), (-0.1, 10.1)),
        ("contrast", (0, 100), (-0.1, 100.1)),
        ("kept", (0, 10), (-0.1, 10.1)),
        ("likely", (0.01, 0.99), (0, 1)),
        ("sure", (0, 1), (-0.1, 1.1)),
    ],
)
def test_settings_out_of_bounds_are_refused_by_name(
    name: str, ends: tuple[float, float], beyond: tuple[float, float]
) -> None:
    for value in ends:
        assert getattr(SpreadSettings(**{name: value}), name) == value
    for value in beyond:
        with pytest.raises(SettingsError, match=rf"^{name} must lie in .*, got {value}"):
            SpreadSettings(**{name: value})
