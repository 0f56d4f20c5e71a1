import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.drawing import picture
from wsss.errors import SettingsError
from wsss.functional.seeds import SeedSettings, cam_scores, plant_seeds, restrict_scores, score_seeds
from wsss.types import IGNORE, possible_labels

CONSTANT = SeedSettings(background_threshold=0.3, foreground_threshold=0.5)
POWER = SeedSettings(background="power", power=2.0, foreground_threshold=0.5)


def tags(*present: int) -> Tensor:
    return torch.tensor(present, dtype=torch.bool)


def row(*pixels: tuple[float, ...]) -> Tensor:
    """Maps (classes, 1, W) from the values at each pixel of a row."""
    return torch.tensor(pixels).T[:, None, :]


def test_a_constant_background_stands_beside_the_cams() -> None:
    scores = cam_scores(row((0.9, 0.0), (0.1, 0.6)), tags(1, 1), CONSTANT, background=True)
    torch.testing.assert_close(scores, row((0.25, 0.75, 0.0), (0.3, 0.1, 0.6)))


def test_a_background_by_power_falls_with_the_best_cam() -> None:
    scores = cam_scores(row((0.5, 0.25), (0.0, 0.0), (1.0, 0.0)), tags(1, 1), POWER, background=True)
    torch.testing.assert_close(scores, row((0.25, 0.5, 0.25), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)))


def test_an_absent_class_has_no_score_and_leaves_the_background_alone() -> None:
    scores = cam_scores(row((0.5, 1.0)), tags(1, 0), POWER, background=True)
    torch.testing.assert_close(scores, row((0.25 / 0.75, 0.5 / 0.75, 0.0)))


def test_without_a_background_the_classes_share_a_pixel_among_themselves() -> None:
    scores = cam_scores(row((0.2, 0.6, 0.9), (0.0, 0.0, 0.9)), tags(1, 1, 0), CONSTANT, background=False)
    torch.testing.assert_close(scores, row((0.0, 0.25, 0.75, 0.0), (0.0, 0.5, 0.5, 0.0)))


def test_known_to_be_empty_is_all_background_or_nothing() -> None:
    cams = row((0.2, 0.9))
    assert torch.equal(cam_scores(cams, tags(0, 0), CONSTANT, background=True), row((1.0, 0.0, 0.0)))
    assert torch.equal(cam_scores(cams, tags(0, 0), CONSTANT, background=False), row((0.0, 0.0, 0.0)))


def test_unknown_rules_nothing_out() -> None:
    cams = torch.rand(3, 4, 5)
    expected = cam_scores(cams, tags(1, 1, 1), CONSTANT, background=True)
    assert torch.equal(cam_scores(cams, None, CONSTANT, background=True), expected)


@given(
    seed=st.integers(0, 2**31),
    present=st.none() | st.lists(st.booleans(), min_size=4, max_size=4),
    background=st.booleans(),
    rule=st.sampled_from([CONSTANT, POWER, SeedSettings(background_threshold=0.0)]),
)
def test_scores_sum_to_one_over_the_possible_labels(
    seed: int, present: list[bool] | None, background: bool, rule: SeedSettings
) -> None:
    known = None if present is None else torch.tensor(present)
    cams = torch.rand(4, 3, 5, generator=torch.Generator().manual_seed(seed)) * (torch.arange(5) > 0)
    scores = cam_scores(cams, known, rule, background=background)
    possible = possible_labels(known, 4, background=background)
    impossible = [label for label in range(5) if label not in possible]
    assert (scores[impossible] == 0).all()
    assert (scores >= 0).all()
    torch.testing.assert_close(scores.sum(dim=0), torch.full((3, 5), float(bool(possible))))


def test_scores_are_restricted_to_the_tags_and_shared_out_anew() -> None:
    scores = row((0.5, 0.25, 0.25), (0.0, 0.0, 1.0), (0.0, 1.0, 0.0))
    torch.testing.assert_close(
        restrict_scores(scores, tags(1, 0), background=True), row((2 / 3, 1 / 3, 0.0), (0.5, 0.5, 0.0), (0.0, 1.0, 0.0))
    )
    torch.testing.assert_close(
        restrict_scores(scores, None, background=False), row((0.0, 0.5, 0.5), (0.0, 0.0, 1.0), (0.0, 1.0, 0.0))
    )
    assert scores[2, 0, 1] == 1


def test_a_score_that_is_no_number_is_not_made_up() -> None:
    assert restrict_scores(row((torch.nan, 1.0)), tags(1), background=True).isnan().all()


def test_a_foreground_seed_is_where_exactly_one_class_is_strong() -> None:
    cams = row((0.9, 0.4), (0.2, 0.6), (0.9, 0.6), (0.4, 0.4), (0.5, 0.0))
    assert torch.equal(plant_seeds(cams, tags(1, 1), CONSTANT, background=True), picture("12..."))


def test_an_absent_class_neither_claims_a_pixel_nor_disputes_it() -> None:
    cams = row((0.9, 0.8), (0.0, 0.8))
    assert torch.equal(plant_seeds(cams, tags(1, 0), CONSTANT, background=True), picture("10"))


def test_a_background_seed_is_where_the_background_beats_every_cam() -> None:
    cams = row((0.29, 0.1), (0.3, 0.0), (0.31, 0.31))
    assert torch.equal(plant_seeds(cams, tags(1, 1), CONSTANT, background=True), picture("0.."))
    # (1 - x)² > x holds below x = 0.382
    assert torch.equal(plant_seeds(row((0.38,), (0.39,)), tags(1), POWER, background=True), picture("0."))


def test_a_pixel_claimed_by_background_and_foreground_is_nobodys() -> None:
    both = SeedSettings(background_threshold=0.6, foreground_threshold=0.4)
    cams = row((0.3, 0.0), (0.5, 0.0), (0.7, 0.0))
    assert torch.equal(plant_seeds(cams, tags(1, 1), both, background=True), picture("0.1"))


def test_without_a_background_the_best_class_must_lead() -> None:
    cams = row((0.75, 0.25, 0.0), (0.5, 0.75, 0.0), (0.0, 0.0, 0.0), (0.25, 0.75, 1.0))
    by_more = SeedSettings(margin=0.25)
    assert torch.equal(plant_seeds(cams, tags(1, 1, 1), by_more, background=False), picture("1..."))
    assert torch.equal(plant_seeds(cams, tags(1, 1, 0), by_more, background=False), picture("1..2"))
    assert torch.equal(plant_seeds(cams, None, SeedSettings(margin=0.0), background=False), picture("12.3"))


@pytest.mark.parametrize(
    ("present", "background", "label"), [((0, 0), True, 0), ((0, 1), False, 2), ((0, 0), False, IGNORE)]
)
def test_tags_that_leave_no_choice_decide_everywhere(present: tuple[int, ...], background: bool, label: int) -> None:
    maps = torch.rand(2, 3, 4)
    expected = torch.full((3, 4), label, dtype=torch.uint8)
    assert torch.equal(plant_seeds(maps, tags(*present), CONSTANT, background=background), expected)
    scores = torch.cat([maps[:1], maps])
    seeds = score_seeds(
        scores, tags(*present), foreground_threshold=0.9, background_threshold=0.9, background=background
    )
    assert torch.equal(seeds, expected)


def test_a_single_class_without_a_background_is_everywhere() -> None:
    assert torch.equal(plant_seeds(torch.zeros(1, 1, 2), None, CONSTANT, background=False), picture("11"))


def test_a_networks_seed_is_where_the_best_possible_label_exceeds_its_threshold() -> None:
    scores = row(
        (0.95, 0.05, 0.0), (0.75, 0.25, 0.0), (0.25, 0.75, 0.0), (0.5, 0.5, 0.0), (0.0, 0.2, 0.8), (0.0, 0.75, 0.25)
    )
    seeds = score_seeds(scores, None, foreground_threshold=0.5, background_threshold=0.75, background=True)
    assert torch.equal(seeds, picture("0.1.21"))
    assert seeds.dtype == torch.uint8


def test_a_networks_impossible_labels_do_not_compete() -> None:
    scores = row((0.0, 0.375, 0.625), (0.625, 0.375, 0.0))
    asked = {"foreground_threshold": 0.25, "background_threshold": 0.5}
    assert torch.equal(score_seeds(scores, tags(1, 0), **asked, background=True), picture("10"))
    assert torch.equal(score_seeds(scores, tags(1, 1), **asked, background=False), picture("21"))


def test_a_network_that_diverged_plants_nothing() -> None:
    scores = torch.full((2, 1, 1), torch.nan)
    with pytest.raises(ValueError, match="scores must be numbers, got NaN"):
        score_seeds(scores, None, foreground_threshold=0.5, background_threshold=0.5, background=True)


def test_tags_of_another_number_of_classes_are_refused() -> None:
    cams, one_too_many = torch.zeros(2, 1, 1), tags(1, 1, 1)
    with pytest.raises(ValueError, match=r"tags must have shape \(1,\) for these maps, got \(3,\)"):
        restrict_scores(cams, one_too_many, background=True)
    # here the checked shapes of the tests are faster with their own error
    with pytest.raises((ValueError, TypeError), match="tags"):
        plant_seeds(cams, one_too_many, CONSTANT, background=True)
    with pytest.raises((ValueError, TypeError), match="tags"):
        cam_scores(cams, one_too_many, CONSTANT, background=True)


def test_the_cams_stay_as_they_were() -> None:
    cams = torch.rand(2, 3, 4)
    before = cams.clone()
    plant_seeds(cams, tags(1, 0), CONSTANT, background=True)
    cam_scores(cams, tags(1, 0), POWER, background=False)
    assert torch.equal(cams, before)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"background": "otsu"}, "background must be one of constant, power, got 'otsu'"),
        ({"background_threshold": 1.5}, r"background_threshold must lie in \[0, 1\], got 1.5"),
        ({"foreground_threshold": -0.1}, "foreground_threshold must lie"),
        ({"margin": 2.0}, "margin must lie"),
        ({"power": 0.0}, "power must be positive, got 0.0"),
    ],
)
def test_a_setting_that_breaks_its_rule_is_named(broken: dict[str, float], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        SeedSettings(**broken)  # type: ignore[arg-type]
