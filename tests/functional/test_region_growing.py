from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor

from tests.drawing import picture
from wsss.functional.region_growing import grow_regions
from wsss.types import IGNORE


def confident_in(labels: Tensor, *, classes: int = 4) -> Tensor:
    """Scores of 1 for the drawn labels, and evenly shared where none is drawn."""
    known = labels != IGNORE
    certain = torch.nn.functional.one_hot(torch.where(known, labels, 0).long(), classes).movedim(-1, 0).float()
    return torch.where(known, certain, 1 / classes)


def overwrite_plainly(scores: Tensor, seeds: Tensor, present: list[int], thresholds: list[float]) -> Tensor:
    """Overwrite the seeds of one image pixel by pixel."""
    overwritten = seeds.clone()
    for y in range(seeds.shape[0]):
        for x in range(seeds.shape[1]):
            winner = max(present, key=lambda c: (float(scores[c, y, x]), -c))
            if scores[winner, y, x] > thresholds[winner]:
                overwritten[y, x] = winner
    return overwritten


def grow_plainly(scores: Tensor, seeds: Tensor, tags: Tensor, foreground: float, background: float) -> Tensor:
    """Grow one image class by class."""
    present = [0] + [c + 1 for c in range(len(tags)) if tags[c]]
    overwritten = overwrite_plainly(scores, seeds, present, [background] + [foreground] * len(tags))
    labels = seeds.clone()
    for c in present:
        components, count = ndimage.label((overwritten == c).numpy(), structure=np.ones((3, 3)))
        for component in range(1, count + 1):
            member = torch.from_numpy(components == component)
            if (seeds[member] == c).any():
                labels[member & (seeds == IGNORE)] = c
    return labels


def random_case(seed: int, *, batch: int, classes: int, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Blotchy scores, so that components are large, with seeds that often but not always agree with them."""
    g = torch.Generator().manual_seed(seed)
    coarse = 5 * torch.randn(batch, classes, -(-size[0] // 3), -(-size[1] // 3), generator=g)
    scores = coarse.repeat_interleave(3, dim=2).repeat_interleave(3, dim=3)[..., : size[0], : size[1]]
    scores = (scores + torch.randn(scores.shape, generator=g)).softmax(dim=1)
    noise = torch.randint(0, classes, (batch, *size), generator=g)
    seeds = torch.where(torch.rand(batch, *size, generator=g) < 0.7, scores.argmax(dim=1), noise)
    seeds = torch.where(torch.rand(batch, *size, generator=g) < 0.25, seeds, IGNORE)
    return scores, seeds, torch.rand(batch, classes - 1, generator=g) < 0.6


ALL = torch.tensor([True, True, True])


def test_a_seed_grows_into_the_confident_pixels_connected_with_it() -> None:
    scores = confident_in(picture("11.11", "1...1", "11.11"))
    seeds = picture(".....", "1....", ".....")
    assert torch.equal(grow_regions(scores, seeds, ALL), picture("11...", "1....", "11..."))


def test_corners_connect() -> None:
    scores = confident_in(picture("2...", ".2..", "..2.", "2..2"))
    seeds = picture("2...", "....", "....", "....")
    assert torch.equal(grow_regions(scores, seeds, ALL), picture("2...", ".2..", "..2.", "...2"))


def test_the_edges_of_an_image_do_not_wrap_round() -> None:
    scores = confident_in(picture("1..1", "....", "1..1"))
    seeds = picture("1...", "....", "....")
    assert torch.equal(grow_regions(scores, seeds, ALL), seeds)


def test_background_grows_like_any_class() -> None:
    scores = confident_in(picture("00110", "00110"))
    seeds = picture("0....", "...1.")
    assert torch.equal(grow_regions(scores, seeds, ALL), picture("0011.", "0011."))


def test_a_component_with_a_seed_of_another_class_only_does_not_count() -> None:
    scores = confident_in(picture("1111"))
    assert torch.equal(grow_regions(scores, picture("..2."), ALL), picture("..2."))


def test_every_seed_keeps_its_class_while_the_region_grows_through_it() -> None:
    # the pixel of seed 2 is confidently 1: it carries the component of 1 across, yet stays 2
    scores = confident_in(picture("11111"))
    assert torch.equal(grow_regions(scores, picture("1.2.."), ALL), picture("11211"))


def test_a_seed_that_is_not_confident_is_a_bridge() -> None:
    scores = confident_in(picture("1.11"))
    assert torch.equal(grow_regions(scores, picture(".1.."), ALL), picture("1111"))


def test_a_seed_overwritten_by_another_class_is_no_bridge_and_no_anchor() -> None:
    # the seed of 1 is confidently 2: nothing anchors the ones beside it, and 2 has no seed of its own
    scores = confident_in(picture("1211"))
    assert torch.equal(grow_regions(scores, picture(".1.."), ALL), picture(".1.."))


def test_an_unsure_seed_of_another_class_separates() -> None:
    scores = confident_in(picture("1.1"))
    assert torch.equal(grow_regions(scores, picture("12."), ALL), picture("12."))


def test_an_absent_class_keeps_its_seeds_and_does_not_grow() -> None:
    scores = confident_in(picture("2222", "1111"))
    tags = torch.tensor([True, False, False])
    assert torch.equal(grow_regions(scores, picture("..2.", "1..."), tags), picture("..2.", "1111"))


def test_the_best_present_class_takes_the_place_of_an_absent_one() -> None:
    scores = torch.tensor([0.0, 0.4, 0.6])[:, None, None].expand(3, 1, 3)
    tags = torch.tensor([True, False])
    grown = grow_regions(scores, picture("1.."), tags, foreground_threshold=0.3)
    assert torch.equal(grown, picture("111"))


def test_without_any_present_class_only_background_grows() -> None:
    scores = confident_in(picture("0011"))
    tags = torch.zeros(3, dtype=torch.bool)
    assert torch.equal(grow_regions(scores, picture("0..1"), tags), picture("00.1"))


def test_unknown_tags_rule_nothing_out() -> None:
    scores, seeds = confident_in(picture("0123")), picture("0.2.")
    assert torch.equal(grow_regions(scores, seeds, None), grow_regions(scores, seeds, ALL))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_score_that_equals_its_threshold_is_not_confident(dtype: torch.dtype) -> None:
    above = torch.nextafter(torch.tensor(0.85), torch.tensor(1.0)).item() if dtype == torch.float32 else 0.87
    foreground = torch.tensor([0.85, 0.85, above, 0.85], dtype=dtype)
    scores = torch.stack([torch.zeros(4, dtype=dtype), foreground])[:, None]
    assert torch.equal(grow_regions(scores, picture(".1.."), torch.tensor([True])), picture(".11."))


def test_background_has_a_threshold_of_its_own() -> None:
    scores = torch.tensor([[[0.98, 0.98, 1.0]], [[0.02, 0.02, 0.0]]])
    tags = torch.tensor([True])
    assert torch.equal(grow_regions(scores, picture(".0."), tags), picture(".00"))
    assert torch.equal(grow_regions(scores, picture(".0."), tags, background_threshold=0.97), picture("000"))


def test_of_equal_scores_the_first_class_has_it() -> None:
    scores = torch.tensor([0.2, 0.4, 0.4])[:, None, None].expand(3, 1, 2)
    tags = torch.tensor([True, True])
    assert torch.equal(grow_regions(scores, picture("1."), tags, foreground_threshold=0.3), picture("11"))
    assert torch.equal(grow_regions(scores, picture("2."), tags, foreground_threshold=0.3), picture("2."))


def test_the_images_of_a_batch_do_not_touch() -> None:
    scores = torch.stack(
        [confident_in(picture("..", "11")), confident_in(picture("11", "..")), confident_in(picture("11", "11"))]
    )
    seeds = torch.stack([picture("..", "1."), picture("..", ".."), picture("..", "..")])
    grown = grow_regions(scores, seeds, ALL.expand(3, 3))
    assert torch.equal(grown, torch.stack([picture("..", "11"), picture("..", ".."), picture("..", "..")]))


@settings(max_examples=150)
@given(
    seed=st.integers(0, 2**31),
    batch=st.integers(1, 4),
    classes=st.integers(1, 7),
    size=st.tuples(st.integers(1, 17), st.integers(1, 17)),
    thresholds=st.tuples(st.sampled_from([0.0, 0.3, 0.6, 0.85, 1.0]), st.sampled_from([0.0, 0.3, 0.6, 0.99])),
)
def test_any_batch_agrees_with_growing_pixel_by_pixel(
    seed: int, batch: int, classes: int, size: tuple[int, int], thresholds: tuple[float, float]
) -> None:
    scores, seeds, tags = random_case(seed, batch=batch, classes=classes, size=size)
    grown = grow_regions(scores, seeds, tags, foreground_threshold=thresholds[0], background_threshold=thresholds[1])
    expected = [grow_plainly(*one, *thresholds) for one in zip(scores, seeds, tags, strict=True)]
    assert torch.equal(grown, torch.stack(expected))


def test_one_image_grows_as_in_a_batch() -> None:
    scores, seeds, tags = random_case(0, batch=3, classes=5, size=(20, 30))
    together = grow_regions(scores, seeds, tags, foreground_threshold=0.5)
    alone = [grow_regions(*one, foreground_threshold=0.5) for one in zip(scores, seeds, tags, strict=True)]
    assert torch.equal(together, torch.stack(alone))
    assert (together != seeds).any()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64, torch.uint16])
def test_the_result_has_the_dtype_of_the_seeds(dtype: torch.dtype) -> None:
    grown = grow_regions(confident_in(picture("1122")), picture("1..2").to(dtype), ALL)
    assert grown.dtype == dtype
    assert grown.tolist() == [[1, 1, 2, 2]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_scores_may_have_any_float_dtype(dtype: torch.dtype) -> None:
    scores = confident_in(picture("1122")).to(dtype)
    assert torch.equal(grow_regions(scores, picture("1..2"), ALL), picture("1122"))


def test_the_inputs_stay_as_they_were() -> None:
    scores, seeds, tags = random_case(1, batch=2, classes=4, size=(12, 12))
    before = scores.clone(), seeds.clone(), tags.clone()
    grown = grow_regions(scores, seeds, tags, foreground_threshold=0.4)
    assert all(torch.equal(now, then) for now, then in zip((scores, seeds, tags), before, strict=True))
    unchanged = grow_regions(torch.full((2, 1, 1), 0.5), picture("1"), torch.tensor([True]))
    assert unchanged.tolist() == [[1]]
    grown.fill_(7)
    assert torch.equal(seeds, before[1])


def test_scores_may_come_from_a_network_in_training_and_lie_in_any_order() -> None:
    scores, seeds, tags = random_case(2, batch=2, classes=4, size=(9, 11))
    expected = grow_regions(scores, seeds, tags, foreground_threshold=0.4)
    strided = scores.to(memory_format=torch.channels_last).requires_grad_()
    turned = seeds.transpose(1, 2).contiguous().transpose(1, 2)
    grown = grow_regions(strided, turned, tags, foreground_threshold=0.4)
    assert torch.equal(grown, expected)
    assert not grown.requires_grad


def test_254_classes_fit_beside_unknown() -> None:
    scores = confident_in(torch.tensor([[254, 254, 0, 253]]), classes=255)
    grown = grow_regions(scores, torch.tensor([[254, IGNORE, 0, IGNORE]]), torch.ones(254, dtype=torch.bool))
    assert grown.tolist() == [[254, 254, 0, IGNORE]]


@pytest.mark.parametrize("shape", [(0, 2, 3), (2, 0, 3), (2, 3, 0)])
def test_nothing_grows_in_nothing(shape: tuple[int, int, int]) -> None:
    seeds = torch.zeros(shape, dtype=torch.uint8)
    scores, tags = torch.zeros(shape[0], 4, *shape[1:]), torch.ones(shape[0], 3, dtype=torch.bool)
    assert grow_regions(scores, seeds, tags).shape == shape


def test_scores_of_an_absent_class_are_not_even_read() -> None:
    scores = torch.tensor([[[0.0, 0.0]], [[1.0, 1.0]], [[torch.nan, torch.nan]]])
    assert torch.equal(grow_regions(scores, picture("1."), torch.tensor([True, False])), picture("11"))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"scores": torch.zeros(1, 1, 4, 2, 2)}, r"scores must be floats of shape .* shape \(1, 1, 4, 2, 2\)"),
        ({"scores": torch.zeros(0, 2, 2)}, "scores must have 1 to 255 classes, got 0"),
        ({"scores": torch.full((4, 2, 2), torch.nan)}, "scores must be numbers, got NaN"),
        ({"seeds": torch.zeros(2, 3, dtype=torch.uint8)}, r"seeds must have shape \(2, 2\) .* got \(2, 3\)"),
        ({"seeds": torch.zeros(1, 2, 2, dtype=torch.uint8)}, r"seeds must have shape \(2, 2\) .* got \(1, 2, 2\)"),
        ({"seeds": torch.full((2, 2), 4)}, "seeds must lie in 0 … 3 or be 255, got 4"),
        ({"seeds": torch.full((2, 2), -1)}, "seeds must lie in 0 … 3 or be 255, got -1"),
        ({"seeds": torch.full((2, 2), 256)}, "seeds must lie in 0 … 3 or be 255, got 256"),
        (
            {"seeds": torch.zeros(2, 2, dtype=torch.int8)},
            "seeds must be integers of a dtype that can represent 255, got torch.int8",
        ),
        ({"tags": torch.ones(4, dtype=torch.bool)}, r"tags must have shape \(3,\) .* got \(4,\)"),
        ({"tags": torch.ones(1, 3, dtype=torch.bool)}, r"tags must have shape \(3,\) .* got \(1, 3\)"),
        ({"foreground_threshold": 85.0}, r"foreground_threshold must lie in \[0, 1\], got 85"),
        ({"background_threshold": float("nan")}, r"background_threshold must lie in \[0, 1\], got nan"),
    ],
)
def test_what_breaks_a_rule_is_named(broken: dict[str, Any], message: str) -> None:
    right: dict[str, Any] = {"scores": torch.full((4, 2, 2), 0.25), "seeds": picture("..", ".."), "tags": ALL}
    with pytest.raises(ValueError, match=message):
        grow_regions(**(right | broken))
