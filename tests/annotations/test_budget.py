from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from wsss.annotations.budget import labelling_order, within_budget
from wsss.errors import DataError

CLASSES = 8
# how frequent the classes are: from one in two to one in a hundred
FREQUENCY = torch.tensor([0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01])


def data_set(images: int, seed: int) -> tuple[list[str], list[Tensor | None]]:
    g = torch.Generator().manual_seed(seed)
    table = torch.rand(images, CLASSES, generator=g) < FREQUENCY
    table[seed % images, -1] = True
    return [f"image_{index:04}" for index in range(images)], list(table)


def rows_of(order: list[str], ids: list[str], tags: list[Tensor | None]) -> Tensor:
    of_id = dict(zip(ids, tags, strict=True))
    return torch.stack([entry for name in order if (entry := of_id[name]) is not None])


@pytest.mark.parametrize("seed", range(3))
def test_every_image_comes_once(seed: int) -> None:
    ids, tags = data_set(150, seed)
    assert sorted(labelling_order(ids, tags, seed)) == ids


@pytest.mark.parametrize("seed", range(5))
def test_every_class_comes_before_there_are_more_images_than_classes(seed: int) -> None:
    ids, tags = data_set(300, seed)
    table = rows_of(labelling_order(ids, tags, seed), ids, tags)
    # one place more, for the images without any class
    assert torch.equal(table[: CLASSES + 1].any(dim=0), table.any(dim=0))


@pytest.mark.parametrize("seed", range(3))
def test_a_prefix_shows_the_classes_as_the_whole_does(seed: int) -> None:
    ids, tags = data_set(400, seed)
    table = rows_of(labelling_order(ids, tags, seed), ids, tags).float()
    for length in (50, 100, 200, 300):
        expected = table.mean(dim=0) * length
        assert ((table[:length].sum(dim=0) - expected).abs() <= 1.5).all()


def test_a_random_order_is_less_even() -> None:
    ids, tags = data_set(400, 0)
    table = rows_of(labelling_order(ids, tags, 0), ids, tags).float()
    shuffled = table[torch.randperm(400, generator=torch.Generator().manual_seed(0))]

    def unevenness(rows: Tensor) -> float:
        steps = torch.arange(1, 401)[:, None]
        return float((rows.cumsum(dim=0) - steps * rows.mean(dim=0)).abs().mean())

    assert unevenness(table) < unevenness(shuffled) / 3


def test_a_small_case_worked_by_hand() -> None:
    def of(*present: int) -> Tensor:
        return torch.tensor([label in present for label in range(3)])

    ids = ["a", "b", "c", "d", "e", "f"]
    tags: list[Tensor | None] = [of(0), of(0), of(0, 1), of(1), of(0, 2), None]
    order = labelling_order(ids, tags, seed=0)
    # class 2 and the unknown have one image each; then class 1 has nothing of two, class 0 one of four: of c and d, c
    # shows class 0 too, which should have had two of three by then; now both stand at a half, and the rarer goes first
    assert order[:4] == ["e", "f", "c", "d"]
    assert sorted(order[4:]) == ["a", "b"]


def test_images_without_a_class_and_of_unknown_tags_are_spread_too() -> None:
    ids, tags = data_set(200, 1)
    tags[:40] = [None] * 40
    tags[40:100] = [torch.zeros(CLASSES, dtype=torch.bool)] * 60
    half = set(labelling_order(ids, tags, 1)[:100])
    assert 15 <= len(half & set(ids[:40])) <= 25
    assert 25 <= len(half & set(ids[40:100])) <= 40


def test_the_order_in_which_images_come_makes_no_difference() -> None:
    ids, tags = data_set(80, 2)
    turned = list(range(79, -1, -1))
    expected = labelling_order(ids, tags, 5)
    assert labelling_order([ids[index] for index in turned], [tags[index] for index in turned], 5) == expected


def test_another_seed_gives_another_order_and_the_same_seed_the_same() -> None:
    ids, tags = data_set(80, 2)
    assert labelling_order(ids, tags, 5) == labelling_order(ids, tags, 5)
    assert labelling_order(ids, tags, 5) != labelling_order(ids, tags, 6)


def test_without_images_there_is_no_order() -> None:
    assert labelling_order([], [], 0) == []
    assert within_budget([], {"cat": 1.0}.__getitem__, 5) == ()


@given(st.lists(st.floats(0.1, 300), min_size=1, max_size=30), st.lists(st.floats(0, 3000), min_size=2, max_size=5))
def test_larger_budgets_only_add_images_and_none_is_overdrawn(prices: list[float], budgets: list[float]) -> None:
    order = [str(index) for index in range(len(prices))]
    chosen = [
        within_budget(order, lambda name: prices[int(name)], budget)
        for budget in sorted(budgets)
        if budget >= prices[0]
    ]
    for smaller, larger in pairwise(chosen):
        assert larger[: len(smaller)] == smaller
    for budget, names in zip([entry for entry in sorted(budgets) if entry >= prices[0]], chosen, strict=True):
        spent = sum(prices[: len(names)])
        assert list(names) == order[: len(names)]
        assert spent <= budget * (1 + 1e-8)
        assert len(names) == len(order) or spent + prices[len(names)] > budget * (1 - 1e-8)


def test_kinds_of_other_prices_are_labelled_in_the_same_order() -> None:
    ids, tags = data_set(100, 3)
    order = labelling_order(ids, tags, 0)
    cheap, dear = (within_budget(order, dict.fromkeys(order, price).__getitem__, 500) for price in (20.0, 79.0))
    assert len(cheap) == 25
    assert len(dear) == 6
    assert cheap[:6] == dear


def test_a_budget_of_exactly_so_many_images_pays_for_them() -> None:
    # 0.1 added up ten times is 0.9999999999999999, taken from 1 leaves less than nothing is worth
    order = [str(index) for index in range(12)]
    assert len(within_budget(order, dict.fromkeys(order, 0.1).__getitem__, 1.0)) == 10
    assert len(within_budget(order, dict.fromkeys(order, 22.1).__getitem__, 221.0)) == 10


def test_images_beyond_the_first_that_is_too_dear_are_not_priced() -> None:
    asked: list[str] = []

    def price(name: str) -> float:
        asked.append(name)
        return 10.0

    assert within_budget(["a", "b", "c", "d", "e"], price, 25) == ("a", "b")
    assert asked == ["a", "b", "c"]


def test_a_budget_below_the_first_image_names_both() -> None:
    with pytest.raises(DataError, match=r"budget_seconds=20 .* \('cat'\) costs 34\.85 seconds; raise the budget"):
        within_budget(["cat", "dog"], {"cat": 34.85}.__getitem__, 20)
