import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydensecrf.densecrf import DenseCRF2D
from pydensecrf.utils import unary_from_labels
from torch import Tensor

from tests.drawing import picture
from wsss.errors import SettingsError
from wsss.functional.dense_crf import CrfSettings
from wsss.functional.levels import count_levels
from wsss.functional.seeds import (
    SeedSettings,
    Thresholds,
    cam_scores,
    plant_agreed_seeds,
    plant_seeds,
    rank_thresholds,
    restrict_scores,
    score_seeds,
)
from wsss.types import IGNORE, possible_labels

CONSTANT = SeedSettings(background_threshold=0.3, foreground_threshold=0.5)
POWER = SeedSettings(background="power", power=2.0, foreground_threshold=0.5)
QUANTILE = SeedSettings(background="quantile", background_quantile=0.5, foreground_quantile=0.75)


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
    rule=st.sampled_from([CONSTANT, POWER, QUANTILE, SeedSettings(background_threshold=0.0)]),
)
def test_scores_sum_to_one_over_the_possible_labels(
    seed: int, present: list[bool] | None, background: bool, rule: SeedSettings
) -> None:
    known = None if present is None else torch.tensor(present)
    cams = torch.rand(4, 3, 5, generator=torch.Generator().manual_seed(seed)) * (torch.arange(5) > 0)
    thresholds = rank_thresholds(count_levels(cams, known), rule)
    scores = cam_scores(cams, known, rule, background=background, thresholds=thresholds)
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


def planted_by_rank(cams: Tensor, present: Tensor, settings: SeedSettings = QUANTILE) -> Tensor:
    """Seeds by the quantiles of the image alone."""
    thresholds = rank_thresholds(count_levels(cams, present), settings)
    return plant_seeds(cams, present, settings, background=True, thresholds=thresholds)


def scored_by_rank(cams: Tensor, present: Tensor, settings: SeedSettings = QUANTILE) -> Tensor:
    thresholds = rank_thresholds(count_levels(cams, present), settings)
    return cam_scores(cams, present, settings, background=True, thresholds=thresholds)


def test_each_class_has_thresholds_of_its_own() -> None:
    # the upper quarter of class 1 is strong and that of class 2 weak; both leave only the first pixel
    cams = row((0.125, 0.0), (0.875, 0.03125), (0.5, 0.0625), (0.25, 0.09375))
    # quantiles of a half: 0.25 and 0.03125; of three quarters: 0.5 and 0.0625
    assert torch.equal(planted_by_rank(cams, tags(1, 1)), picture("01.2"))
    assert torch.equal(planted_by_rank(cams, tags(1, 0)), picture("01.0"))


def test_a_trace_of_a_class_that_is_hardly_ever_there_is_not_certain() -> None:
    cams = row((0.0,), (0.0,), (0.0,), (0.0,), (0.0,), (0.0,), (0.001,), (0.95,))
    scores = scored_by_rank(cams, tags(1))[1, 0]
    assert scores[:6].tolist() == [0.0] * 6
    assert scores[6] == pytest.approx(0.001 / 0.051)
    assert scores[7] == pytest.approx(0.95)


def test_thresholds_of_the_training_set_are_the_same_for_all_its_images() -> None:
    large, small = row((1.0,), (0.75,), (0.75,), (0.5,)), row((0.0,), (0.0,), (0.0,), (0.25,))
    counts = count_levels(large, None) + count_levels(small, None)
    thresholds = rank_thresholds(counts, QUANTILE)
    # in order: 0 0 0 .25 .5 .75 .75 1
    assert thresholds.background.tolist() == [0.25]
    assert thresholds.foreground.tolist() == [0.75]
    planted = [plant_seeds(cams, None, QUANTILE, background=True, thresholds=thresholds) for cams in (large, small)]
    assert torch.equal(torch.cat(planted), picture("1...", "0000"))


def test_pixels_of_one_value_stay_together() -> None:
    # more than the background's share is zero, and more than the foreground's share is saturated: all of one, none else
    assert torch.equal(planted_by_rank(row((0.0,), (0.0,), (0.0,), (0.5,)), tags(1)), picture("0001"))
    assert torch.equal(planted_by_rank(row((0.0,), (1.0,), (1.0,), (0.5,)), tags(1)), picture("0..0"))
    assert torch.equal(planted_by_rank(row((0.5,), (0.5,)), tags(1)), picture("00"))


def test_what_is_no_number_has_no_rank_and_is_nobodys() -> None:
    cams = row((torch.nan, 0.0), (0.875, 0.0), (0.5, 0.0), (0.25, 0.0), (0.125, 0.0))
    # without the first pixel, class 1 has 0.25 and 0.5 for quantiles
    assert torch.equal(planted_by_rank(cams, tags(1, 1)), picture(".1.00"))
    nothing = torch.full((2, 1, 3), torch.nan)
    assert torch.equal(planted_by_rank(nothing, tags(1, 1)), picture("..."))
    assert scored_by_rank(cams, tags(1, 1))[:, 0, 0].isnan().all()


def test_a_class_that_no_image_names_claims_nothing_and_spoils_nothing() -> None:
    cams = row((0.9, 0.1, 0.8), (0.1, 0.2, 0.9), (0.0, 0.0, 1.0), (0.2, 0.9, 0.0))
    # of the third class nothing was counted, so it has no thresholds
    counted = count_levels(cams, torch.tensor([True, True, False]))
    thresholds = rank_thresholds(counted, QUANTILE)
    scores = cam_scores(cams, None, QUANTILE, background=True, thresholds=thresholds)
    torch.testing.assert_close(scores.sum(dim=0), torch.ones(cams.shape[1:]))
    seeds = plant_seeds(cams, None, QUANTILE, background=True, thresholds=thresholds)
    named = Thresholds(thresholds.background[:2], thresholds.foreground[:2])
    assert torch.equal(seeds, plant_seeds(cams[:2], None, QUANTILE, background=True, thresholds=named))
    assert set(seeds.unique().tolist()) == {0, 1, 2, IGNORE}


def test_a_background_by_quantile_is_a_constant_for_a_single_class() -> None:
    cams = row((0.0, 0.9), (0.25, 0.9), (0.5, 0.9), (1.0, 0.9))
    by_constant = cam_scores(cams, tags(1, 0), SeedSettings(background_threshold=0.25), background=True)
    torch.testing.assert_close(scored_by_rank(cams, tags(1, 0)), by_constant)


def test_where_no_class_is_active_the_background_by_quantile_has_it_all() -> None:
    scores = scored_by_rank(row((0.0,), (0.0,), (0.0,), (0.45,)), tags(1))
    torch.testing.assert_close(scores, row(*[(1.0, 0.0)] * 3, (0.1, 0.9)))


def test_a_background_by_quantile_without_thresholds_is_refused() -> None:
    cams = torch.rand(2, 3, 4)
    for make in (cam_scores, plant_seeds):
        with pytest.raises(ValueError, match="a background by quantile needs class thresholds"):
            make(cams, None, QUANTILE, background=True)


eighths = st.integers(0, 8).map(lambda count: count / 8)


@given(
    values=st.lists(st.integers(0, 8), min_size=24, max_size=24),
    present=st.lists(st.booleans(), min_size=2, max_size=2),
    low=eighths,
    high=eighths,
)
def test_seeds_by_quantile_agree_with_ranks_counted_plainly(
    values: list[int], present: list[bool], low: float, high: float
) -> None:
    cams = torch.tensor(values).view(2, 3, 4) / 8
    settings = SeedSettings(background="quantile", background_quantile=low, foreground_quantile=high)

    def lowest(cam: Tensor, share: float) -> float:
        pixels = cam.flatten().tolist()
        return min(level for level in pixels if sum(pixel <= level for pixel in pixels) >= share * len(pixels))

    classes = [index for index in range(2) if present[index]]
    expected = torch.full((3, 4), IGNORE)
    for place in torch.cartesian_prod(torch.arange(3), torch.arange(4)).tolist():
        at = [(index + 1, cams[index], float(cams[index][tuple(place)])) for index in classes]
        claims = [label for label, cam, value in at if value > lowest(cam, high)]
        claims += [0] if all(value <= lowest(cam, low) for _, cam, value in at) else []
        if len(claims) == 1:
            expected[tuple(place)] = claims[0]
    assert torch.equal(planted_by_rank(cams, tags(*present), settings), expected.byte())
    # the dense labels of the same rule: background where every class is within its lower share
    if any(present):
        below = torch.stack([cams[index] <= lowest(cams[index], low) for index in classes]).all(0)
        assert torch.equal(scored_by_rank(cams, tags(*present), settings).argmax(0) == 0, below)


IRN = SeedSettings(rule="irn", irn_foreground_threshold=0.4, irn_background_threshold=0.1)
NO_KERNELS = CrfSettings(gaussian_compat=0.0, bilateral_compat=0.0)


def scene(size: tuple[int, int] = (20, 28), classes: int = 3) -> tuple[Tensor, Tensor]:
    """Draw an image of two boxes on a ground, and CAMs that lie beside them, noisily."""
    g = torch.Generator().manual_seed(5)
    shown = torch.zeros(size, dtype=torch.long)
    shown[3:12, 2:12], shown[8:18, 16:26] = 1, 2
    colours = torch.tensor([[60.0, 60, 60], [220, 190, 190], [40, 180, 90]])
    image = (colours[shown].movedim(-1, 0) + torch.randn(3, *size, generator=g)).clamp(0, 255).byte()
    levels = torch.stack([shown == label for label in range(1, classes + 1)]).float().roll(1, 2)
    return image, (0.15 * torch.rand(classes, *size, generator=g) + 0.6 * levels).clamp(0, 1)


def test_without_kernels_two_thresholds_leave_the_middle_unknown() -> None:
    image, cams = (
        torch.zeros(3, 1, 5, dtype=torch.uint8),
        row((0.9, 0.0), (0.5, 0.6), (0.3, 0.0), (0.05, 0.1), (0.4, 0.2)),
    )
    found = plant_agreed_seeds(image, cams, tags(1, 1), IRN, NO_KERNELS, background=True)
    assert torch.equal(found, picture("12.0."))
    assert torch.equal(plant_agreed_seeds(image, cams, tags(1, 0), IRN, NO_KERNELS, background=True), picture("11.0."))
    assert torch.equal(plant_agreed_seeds(image, cams, tags(1, 1), IRN, NO_KERNELS, background=False), picture("12..."))


def agreed_plainly(image: Tensor, cams: Tensor, present: list[int], settings: SeedSettings) -> Tensor:
    """The rule as its authors describe it, with their library and its widths at their image size."""
    maps = []
    for threshold in (settings.irn_foreground_threshold, settings.irn_background_threshold):
        labels = np.zeros(image.shape[1:], dtype=np.int64)
        for row, column in np.ndindex(*labels.shape):
            best = threshold
            for place, label in enumerate(present, 1):
                if float(cams[label - 1, row, column]) > best:
                    best, labels[row, column] = float(cams[label - 1, row, column]), place
        crf = DenseCRF2D(labels.shape[1], labels.shape[0], len(present) + 1)
        crf.setUnaryEnergy(unary_from_labels(labels, len(present) + 1, gt_prob=0.7, zero_unsure=False))
        scale = max(labels.shape) / 500
        crf.addPairwiseGaussian(sxy=3 * scale, compat=3)
        rgb = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
        crf.addPairwiseBilateral(sxy=50 * scale, srgb=5, rgbim=rgb, compat=10)
        maps.append(np.array([0, *present])[np.argmax(crf.inference(10), axis=0).reshape(labels.shape)])
    sure, bold = maps
    agreed = sure.copy()
    agreed[sure == 0] = IGNORE
    agreed[sure + bold == 0] = 0
    return torch.from_numpy(agreed.astype(np.uint8))


@pytest.mark.parametrize("present", [[1, 2, 3], [2], [1, 3]])
def test_agreed_seeds_are_those_of_the_published_rule(present: list[int]) -> None:
    image, cams = scene()
    known = tags(*(label in present for label in (1, 2, 3)))
    found = plant_agreed_seeds(image, cams, known, IRN, CrfSettings(), background=True)
    assert torch.equal(found, agreed_plainly(image, cams, present, IRN))
    assert set(found.unique().tolist()) == {0, IGNORE, *(set(present) - {3})}
    if 1 in present:
        assert torch.equal(found == 1, scene_box())  # the CAM lay a pixel beside the box
    assert not torch.equal(found, plant_agreed_seeds(image, cams, known, IRN, NO_KERNELS, background=True))


def scene_box() -> Tensor:
    box = torch.zeros(20, 28, dtype=torch.bool)
    box[3:12, 2:12] = True
    return box


def test_the_crf_is_told_labels_whatever_its_unary_says() -> None:
    image, cams = scene()
    told, other = CrfSettings(unary="labels"), CrfSettings(unary="scores")
    assert torch.equal(
        plant_agreed_seeds(image, cams, None, IRN, told, background=True),
        plant_agreed_seeds(image, cams, None, IRN, other, background=True),
    )
    blind = CrfSettings(label_confidence=0.95, bilateral_compat=2.0)
    assert not torch.equal(
        plant_agreed_seeds(image, cams, None, IRN, told, background=True),
        plant_agreed_seeds(image, cams, None, IRN, blind, background=True),
    )


def test_without_any_foreground_everything_is_background_or_unknown() -> None:
    image = scene()[0]
    faint = torch.full((1, 20, 28), 0.05)
    assert (plant_agreed_seeds(image, faint, None, IRN, CrfSettings(), background=True) == 0).all()
    assert (plant_agreed_seeds(image, faint + 0.1, None, IRN, CrfSettings(), background=True) == IGNORE).all()


@pytest.mark.parametrize(
    ("present", "background", "label"), [((0, 0), True, 0), ((0, 1), False, 2), ((0, 0), False, IGNORE)]
)
def test_agreement_asks_nobody_where_tags_leave_no_choice(
    present: tuple[int, ...], background: bool, label: int
) -> None:
    image, maps = torch.zeros(3, 3, 4, dtype=torch.uint8), torch.full((2, 3, 4), torch.nan)
    found = plant_agreed_seeds(image, maps, tags(*present), IRN, CrfSettings(), background=background)
    assert torch.equal(found, torch.full((3, 4), label, dtype=torch.uint8))


def test_the_smallest_image_has_seeds() -> None:
    image = torch.zeros(3, 1, 1, dtype=torch.uint8)
    levels = {0.9: "1", 0.2: ".", 0.05: "0"}
    for level, drawn in levels.items():
        cams = torch.full((2, 1, 1), level) * torch.tensor([1.0, 0.5])[:, None, None]
        found = plant_agreed_seeds(image, cams, tags(1, 1), IRN, CrfSettings(), background=True)
        assert torch.equal(found, picture(drawn))


def test_agreement_refuses_what_is_no_number() -> None:
    image, cams = scene()
    cams[1, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="scores must be finite, got NaN"):
        plant_agreed_seeds(image, cams, None, IRN, CrfSettings(), background=True)
    # what an absent class says is not read
    assert plant_agreed_seeds(image, cams, tags(1, 0, 1), IRN, CrfSettings(), background=True)[5, 5] == 1


def test_the_settings_of_other_rules_do_not_count() -> None:
    assert SeedSettings(foreground_quantile=0.1, irn_foreground_threshold=0.9).of_seeds() == SeedSettings().of_seeds()
    assert SeedSettings(background_quantile=0.1).of_scores() == SeedSettings().of_scores()
    by_quantile = QUANTILE.of_seeds()
    assert by_quantile["foreground_quantile"] == 0.75
    assert QUANTILE.of_scores().keys() == by_quantile.keys() - {"foreground_threshold", "margin", "foreground_quantile"}
    assert QUANTILE.of_scores()["quantile_pixels"] == "training"
    assert IRN.of_seeds()["irn_background_threshold"] == 0.1


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
        ({"background": "otsu"}, "background must be one of constant, power, quantile, got 'otsu'"),
        ({"background_threshold": 1.5}, r"background_threshold must lie in \[0, 1\], got 1.5"),
        ({"foreground_threshold": -0.1}, "foreground_threshold must lie"),
        ({"margin": 2.0}, "margin must lie"),
        ({"background_quantile": -0.5}, r"background_quantile must lie in \[0, 1\], got -0.5"),
        ({"foreground_quantile": 1.01}, "foreground_quantile must lie"),
        ({"irn_foreground_threshold": 2.0}, "irn_foreground_threshold must lie"),
        ({"irn_background_threshold": -1.0}, "irn_background_threshold must lie"),
        ({"quantile_pixels": "class"}, "quantile_pixels must be one of training, image, got 'class'"),
        ({"rule": "sec"}, "rule must be one of threshold, irn, got 'sec'"),
        ({"power": 0.0}, "power must be positive, got 0.0"),
        (
            {"rule": "irn", "irn_foreground_threshold": 0.1, "irn_background_threshold": 0.4},
            r"irn_foreground_threshold must be at least irn_background_threshold \(0.4\) with rule irn, got 0.1",
        ),
    ],
)
def test_a_setting_that_breaks_its_rule_is_named(broken: dict[str, float], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        SeedSettings(**broken)  # type: ignore[arg-type]


def test_thresholds_that_no_rule_reads_and_equal_ones_are_not_refused() -> None:
    SeedSettings(irn_foreground_threshold=0.1, irn_background_threshold=0.4)
    SeedSettings(rule="irn", irn_foreground_threshold=0.4, irn_background_threshold=0.4)
