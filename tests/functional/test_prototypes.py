import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from wsss.functional.prototypes import prototype_scores
from wsss.types import IGNORE


def by_hand(
    features: Tensor, targets: Tensor, areas: Tensor, labels: list[int], classes: int, temperature: float
) -> Tensor:
    """The same in plain loops, in float64."""
    rows, total = features.double(), float(areas.sum())
    mean = sum(float(area) * row for area, row in zip(areas, rows, strict=True)) / total
    rows = torch.stack([(row - mean) / max(float((row - mean).norm()), 1e-12) for row in rows])
    scores = torch.zeros(len(rows), classes, dtype=torch.float64)
    for place, row in enumerate(rows):
        likeness = {}
        for label in labels:
            carriers = [n for n, target in enumerate(targets.tolist()) if target == label]
            prototype = sum((float(areas[n]) * rows[n] for n in carriers), torch.zeros_like(row))
            length = float(prototype.norm())
            likeness[label] = float(row @ prototype) / length if length > 1e-12 else 0.0
        total_weight = sum(math.exp(value / temperature) for value in likeness.values())
        for label, value in likeness.items():
            scores[place, label] = math.exp(value / temperature) / total_weight
    return scores


@given(seed=st.integers(0, 10_000), regions=st.integers(3, 20), temperature=st.sampled_from([0.1, 0.5, 2.0]))
def test_scores_equal_those_of_plain_loops(seed: int, regions: int, temperature: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(regions, 6, generator=generator)
    targets = torch.randint(0, 5, (regions,), generator=generator)
    targets[torch.rand(regions, generator=generator) < 0.3] = IGNORE
    areas = torch.rand(regions, generator=generator) + 0.1
    labels = [0, 2, 3]
    found = prototype_scores(features, targets, areas, labels=labels, classes=5, temperature=temperature)
    expected = by_hand(features, targets, areas, labels, 5, temperature)
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(regions))


def test_a_region_goes_to_the_label_whose_seeds_it_is_like() -> None:
    features = torch.tensor([[1.0, 0, 5], [0.9, 0.1, 5], [0, 1, 5], [0.2, 0.9, 5]])
    targets = torch.tensor([0, IGNORE, 2, IGNORE])
    found = prototype_scores(features, targets, torch.ones(4), labels=[0, 2], classes=3, temperature=0.1)
    # the third feature, which all regions share, tells nothing
    assert found.argmax(dim=1).tolist() == [0, 0, 2, 2]
    assert not found[:, 1].any()


def test_a_label_that_no_region_carries_is_neither_like_nor_unlike() -> None:
    features = torch.tensor([[1.0, 0], [-1, 0]])
    targets = torch.tensor([1, IGNORE])
    found = prototype_scores(features, targets, torch.ones(2), labels=[0, 1], classes=2, temperature=1.0)
    share = math.e / (math.e + 1)
    torch.testing.assert_close(found, torch.tensor([[1 - share, share], [share, 1 - share]]))


def test_large_regions_shape_a_prototype_more() -> None:
    features = torch.tensor([[1.0, 0], [0, 1], [-1, -1], [0.6, 0.8]])
    targets = torch.tensor([1, 1, 0, IGNORE])
    small, large = (
        prototype_scores(features, targets, torch.tensor(areas), labels=[0, 1], classes=2, temperature=0.1)
        for areas in ([1.0, 1.0, 1.0, 0.1], [9.0, 1.0, 1.0, 0.1])
    )
    assert large[3, 1] < small[3, 1]


def test_one_region_is_like_nothing() -> None:
    found = prototype_scores(
        torch.ones(1, 3), torch.tensor([1]), torch.ones(1), labels=[0, 1], classes=2, temperature=0.2
    )
    torch.testing.assert_close(found, torch.full((1, 2), 0.5))


def test_without_possible_labels_nothing_is_known_and_with_one_all_is() -> None:
    features, targets, areas = torch.rand(4, 3), torch.tensor([0, 1, IGNORE, 1]), torch.ones(4)
    assert not prototype_scores(features, targets, areas, labels=[], classes=3, temperature=0.2).any()
    alone = prototype_scores(features, targets, areas, labels=[2], classes=3, temperature=0.2)
    assert torch.equal(alone, torch.tensor([[0.0, 0, 1]]).expand(4, 3))


def test_a_temperature_must_be_positive() -> None:
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        prototype_scores(torch.rand(2, 3), torch.tensor([0, 1]), torch.ones(2), labels=[0, 1], classes=2, temperature=0)


def test_scores_lie_on_the_device_of_the_features() -> None:
    features, targets, areas = (torch.zeros(*size, device="meta") for size in ((4, 2), (4,), (4,)))
    scores = prototype_scores(features, targets.long(), areas, labels=[0, 2], classes=3, temperature=0.1)
    assert scores.device.type == "meta"
