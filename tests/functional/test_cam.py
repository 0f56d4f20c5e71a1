import math

import pytest
import torch
from torch import nn

from wsss.functional.cam import (
    class_activation_maps,
    merge_views,
    negative_offsets,
    normalise_cams,
    percentiles,
    subtract_offsets,
)

KNOWN = torch.ones(3, dtype=torch.bool)


def test_the_maps_average_to_the_logits_of_the_classifier() -> None:
    # that is what a class activation map is: the logit before the average was taken
    features, linear = torch.rand(2, 5, 4, 6), nn.Linear(5, 3, bias=False)
    nn.init.uniform_(linear.weight)
    maps = class_activation_maps(features, linear.weight)
    torch.testing.assert_close(maps.mean(dim=(2, 3)), linear(features.mean(dim=(2, 3))))


def test_evidence_against_a_class_counts_as_none() -> None:
    features = torch.tensor([[[[1.0, 0.0]], [[0.0, 2.0]]]])
    maps = class_activation_maps(features, torch.tensor([[3.0, -1.0], [-1.0, 0.5]]))
    assert maps.tolist() == [[[[3.0, 0.0]], [[0.0, 1.0]]]]


def test_features_of_half_precision_give_maps_of_half_precision() -> None:
    maps = class_activation_maps(torch.ones(1, 2, 1, 1, dtype=torch.bfloat16), torch.ones(1, 2))
    assert maps.dtype == torch.bfloat16
    assert maps.item() == 2


def test_a_mirrored_view_is_mirrored_back_before_the_sum() -> None:
    view = torch.tensor([[[[1.0, 2.0, 4.0]]]])
    merged = merge_views([view, 10 * view.flip(-1)], [False, True], (1, 3))
    assert merged.tolist() == [[[[11.0, 22.0, 44.0]]]]


def test_views_of_other_scales_are_stretched_bilinearly() -> None:
    # centres of two pixels lie at 1/4 and 3/4; those of four at 1/8, 3/8, 5/8 and 7/8
    small = torch.tensor([[[[0.0, 8.0]]]])
    assert merge_views([small], [False], (1, 4)).tolist() == [[[[0.0, 2.0, 6.0, 8.0]]]]
    assert merge_views([small, torch.ones(1, 1, 3, 5)], [False, True], (1, 4)).tolist() == [[[[1.0, 3.0, 7.0, 9.0]]]]


def test_views_are_summed_in_single_precision_and_stay_as_they_were() -> None:
    view = torch.full((1, 1, 1, 1), 256, dtype=torch.bfloat16)
    small = torch.ones(1, 1, 1, 1, dtype=torch.bfloat16)
    # 257 is not a number in bfloat16
    assert merge_views([view, small], [False, True], (1, 1)).item() == 257
    assert view.item() == 256


@pytest.mark.parametrize(("views", "flags"), [(0, 0), (2, 1)])
def test_every_view_needs_its_flag(views: int, flags: int) -> None:
    with pytest.raises(ValueError, match=f"got {views} and {flags} flags"):
        merge_views([torch.zeros(1, 1, 1, 1)] * views, [False] * flags, (1, 1))


def test_each_present_class_reaches_about_one_and_an_absent_one_is_silent() -> None:
    cams = torch.tensor([[[1.0, 4.0]], [[50.0, 20.0]], [[9.0, 9.0]]])
    normalised = normalise_cams(cams, torch.tensor([True, True, False]), KNOWN)
    expected = torch.tensor([[[1 / 4.00001, 4 / 4.00001]], [[50 / 50.00001, 20 / 50.00001]], [[0.0, 0.0]]])
    torch.testing.assert_close(normalised, expected)
    assert normalised.max() <= 1
    assert cams[2, 0, 0] == 9


def test_a_class_that_never_fires_stays_at_zero() -> None:
    assert normalise_cams(torch.tensor([[[0.0, -3.0]]]), KNOWN[:1], KNOWN[:1]).tolist() == [[[0.0, 0.0]]]


def test_a_class_that_may_be_there_is_measured_by_the_loudest_that_is() -> None:
    cams = torch.tensor([[[1.0, 4.0]], [[2.0, 1.0]], [[8.0, 6.0]], [[9.0, 9.0]]])
    present = torch.tensor([True, False, False, False])
    normalised = normalise_cams(cams, present, torch.tensor([True, False, False, True]))
    expected = torch.tensor([[[0.25, 1.0]], [[0.5, 0.25]], [[1.0, 0.75]], [[0.0, 0.0]]])
    torch.testing.assert_close(normalised, expected, atol=1e-5, rtol=0)


def test_where_nothing_is_known_the_loudest_class_of_all_reaches_about_one() -> None:
    cams = torch.tensor([[[1.0, 4.0]], [[2.0, 1.0]]])
    normalised = normalise_cams(cams, ~KNOWN[:2], ~KNOWN[:2])
    torch.testing.assert_close(normalised, torch.tensor([[[0.25, 1.0]], [[0.5, 0.25]]]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_a_map_that_is_not_finite_is_refused_where_it_matters(wrong: float) -> None:
    cams = torch.tensor([[[1.0, wrong]], [[1.0, 0.5]]])
    with pytest.raises(ValueError, match="cams must be finite"):
        normalise_cams(cams, torch.tensor([True, False]), KNOWN[:2])
    assert normalise_cams(cams, torch.tensor([False, True]), KNOWN[:2])[0].tolist() == [[0.0, 0.0]]


def test_percentiles_run_from_the_least_to_the_greatest_value() -> None:
    found = percentiles(torch.stack([torch.arange(101.0)[torch.randperm(101)][None], torch.full((1, 101), 7.0)]))
    torch.testing.assert_close(found, torch.stack([torch.arange(101.0), torch.full((101,), 7.0)]))


def test_the_offset_is_a_quantile_over_all_images_that_lack_the_class() -> None:
    maps = torch.rand(5, 3, 4, 6) * torch.tensor([1.0, 10.0, 100.0])[:, None, None]
    tags = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0], [1, 1, 0]]).bool()
    values = torch.stack([percentiles(image) for image in maps])
    found = negative_offsets(values, tags, 0.9)
    for label in range(3):
        pooled = sorted(
            value for image in range(5) if not tags[image, label] for value in values[image, label].tolist()
        )
        place = 0.9 * (len(pooled) - 1)
        below, above = pooled[math.floor(place)], pooled[math.ceil(place)]
        assert found[label] == pytest.approx(below + (place - math.floor(place)) * (above - below), rel=1e-5)
    assert found[0] < found[1] < found[2]


def test_a_class_that_no_image_lacks_has_no_offset() -> None:
    assert negative_offsets(torch.rand(2, 1, 101), torch.ones(2, 1, dtype=torch.bool), 0.5).tolist() == [0]


def test_an_offset_is_taken_off_up_to_half_of_the_peak() -> None:
    maps = torch.tensor([[[1.0, 4.0, 9.0]], [[1.0, 4.0, 9.0]], [[0.0, 0.0, 0.0]]])
    found = subtract_offsets(maps, torch.tensor([2.0, 7.0, 3.0]))
    assert found.tolist() == [[[0, 2, 7]], [[0, 0, 4.5]], [[0, 0, 0]]]


def test_percentiles_lie_on_the_device_of_the_maps() -> None:
    assert percentiles(torch.rand(2, 3, 4, device="meta")).device.type == "meta"
