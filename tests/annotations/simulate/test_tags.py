"""Which classes are overlooked or imagined, and how often."""

import pytest
import torch

from tests.drawing import picture
from wsss.annotations import ImageTags
from wsss.annotations.settings import NoiseSettings
from wsss.annotations.simulate.tags import imagined, overlooked, simulate_tags

SEEDS = range(2000)


@pytest.mark.parametrize("rate", [0.1, 0.4])
def test_so_many_of_the_classes_besides_the_largest_are_overlooked(rate: float) -> None:
    areas = {1: 5, 2: 90, 3: 7, 7: 1}
    missing = [overlooked(areas, areas, rate=rate, seed=seed) for seed in SEEDS]
    # 2000 × 3 draws: four standard deviations are 0.025 at most
    assert sum(map(len, missing)) / (3 * len(SEEDS)) == pytest.approx(rate, abs=0.025)
    assert frozenset().union(*missing) == {1, 3, 7}


def test_what_is_overlooked_at_some_rate_is_so_at_any_higher_one() -> None:
    areas = dict.fromkeys(range(1, 9), 1)
    some, more = ([overlooked(areas, areas, rate=rate, seed=seed) for seed in range(50)] for rate in (0.2, 0.5))
    assert all(few <= many for few, many in zip(some, more, strict=True))
    assert some != more


def test_of_tags_that_disagree_with_the_truth_one_is_kept() -> None:
    assert overlooked({1: 50, 2: 0}, [2], rate=1, seed=0) == {1}
    assert overlooked({}, [], rate=1, seed=0) == frozenset()


@pytest.mark.parametrize("rate", [0.1, 0.4])
def test_so_many_images_have_one_class_that_is_not_there(rate: float) -> None:
    wrong = [imagined([2, 4], 5, rate=rate, seed=seed) for seed in SEEDS]
    # 2000 draws: four standard deviations are 0.044 at most
    assert sum(map(len, wrong)) / len(SEEDS) == pytest.approx(rate, abs=0.044)
    assert max(map(len, wrong)) == 1
    counts = [sum(label in found for found in wrong) for label in range(1, 6)]
    assert counts[1] == counts[3] == 0
    assert min(counts[0], counts[2], counts[4]) > 0.7 * sum(counts) / 3


def test_where_all_classes_are_there_none_can_be_imagined() -> None:
    assert imagined([1, 2], 2, rate=1, seed=0) == frozenset()


def test_tags_come_from_the_data_set_or_else_from_the_truth_or_else_are_unknown() -> None:
    labels, none = picture("0133").numpy(), NoiseSettings()
    assert simulate_tags(labels, None, 4, none, seed=0) == (ImageTags((1, 3)), frozenset())
    told = torch.tensor([False, False, True, True])
    assert simulate_tags(labels, told, 4, none, seed=0) == (ImageTags((3, 4)), frozenset())
    nothing = picture("....").numpy()
    assert simulate_tags(nothing, None, 4, none, seed=0) == (None, frozenset())
    assert simulate_tags(nothing, told, 4, none, seed=0)[0] == ImageTags((3, 4))


def test_mistakes_change_the_tags() -> None:
    labels = picture("0133").numpy()
    assert simulate_tags(labels, None, 3, NoiseSettings(missing_tags=1), seed=0) == (ImageTags((3,)), frozenset({1}))
    assert simulate_tags(labels, None, 3, NoiseSettings(wrong_tags=1), seed=0) == (ImageTags((1, 2, 3)), frozenset())
