import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from tests.drawing import picture
from wsss.functional.confusion import (
    bootstrap_interval,
    class_iou,
    confusion_matrix,
    coverage,
    mean_iou,
    paired_ratio_interval,
    pixel_accuracy,
    precision,
)
from wsss.types import IGNORE


def random_map(seed: int, classes: int, size: tuple[int, int] = (13, 17), ignored: float = 0.2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, size, generator=generator, dtype=torch.uint8)
    return labels.masked_fill(torch.rand(size, generator=generator) < ignored, IGNORE)


def random_confusions(seed: int, images: int, classes: int) -> Tensor:
    maps = [(random_map(seed + 2 * i, classes), random_map(seed + 2 * i + 1, classes)) for i in range(images)]
    return torch.stack([confusion_matrix(labels, truth, classes=classes) for labels, truth in maps])


def test_a_class_seen_in_neither_map_does_not_count() -> None:
    truth, labels = picture("0022", "0022"), picture("0020", "0122")
    # class 0: 3 of 5; class 1, only predicted: 0; class 2: 3 of 4; class 3, nowhere: left out
    assert mean_iou(confusion_matrix(labels, truth, classes=4)) == pytest.approx((3 / 5 + 0 + 3 / 4) / 3)


def test_the_other_conventions_count_other_classes() -> None:
    confusion = confusion_matrix(picture("0020", "0122"), picture("0022", "0022"), classes=4)
    assert mean_iou(confusion, convention="truth") == pytest.approx((3 / 5 + 3 / 4) / 2)
    assert mean_iou(confusion, convention="zero") == pytest.approx((3 / 5 + 0 + 3 / 4 + 0) / 4)


def test_each_class_has_its_own_iou_and_an_unseen_one_has_none() -> None:
    confusion = confusion_matrix(picture("0020", "0122"), picture("0022", "0022"), classes=4)
    assert class_iou(confusion) == [pytest.approx(3 / 5), 0.0, pytest.approx(3 / 4), None]


def test_a_pixel_left_open_is_a_miss_for_its_true_class() -> None:
    confusion = confusion_matrix(picture("0.11"), picture("0011"), classes=2)
    assert confusion.tolist() == [[1, 0, 1], [0, 2, 0]]
    assert class_iou(confusion) == [0.5, 1.0]


def test_a_pixel_without_truth_does_not_count() -> None:
    confusion = confusion_matrix(picture("01.1"), picture("0..1"), classes=2)
    assert confusion.tolist() == [[1, 0, 0], [0, 1, 0]]


def test_shares_of_pixels_are_counted_by_hand() -> None:
    # with a truth: 7; labelled: 5; right: 4
    confusion = confusion_matrix(picture("0.11", "10.2"), picture("0011", "10.1"), classes=3)
    assert pixel_accuracy(confusion) == pytest.approx(5 / 7)
    assert coverage(confusion) == pytest.approx(6 / 7)
    assert precision(confusion) == pytest.approx(5 / 6)


@given(seed=st.integers(0, 10_000), classes=st.integers(1, 254))
def test_counts_equal_those_of_a_plain_loop(seed: int, classes: int) -> None:
    labels, truth = random_map(seed, classes, (5, 6)), random_map(seed + 1, classes, (5, 6))
    expected = np.zeros((classes, classes + 1), dtype=int)
    for given_label, true_label in zip(labels.flatten().tolist(), truth.flatten().tolist(), strict=True):
        if true_label != IGNORE:
            expected[true_label, min(given_label, classes)] += 1
    assert confusion_matrix(labels, truth, classes=classes).tolist() == expected.tolist()


def test_full_labels_give_the_matrix_of_torchmetrics() -> None:
    labels, truth = random_map(0, 21, (60, 70), ignored=0), random_map(1, 21, (60, 70))
    expected = multiclass_confusion_matrix(labels.long(), truth.long(), num_classes=21, ignore_index=IGNORE)
    confusion = confusion_matrix(labels, truth, classes=21)
    assert torch.equal(confusion[:, :-1], expected)
    assert not confusion[:, -1].any()


def test_the_type_of_the_labels_does_not_matter() -> None:
    labels, truth = random_map(2, 5), random_map(3, 5)
    expected = confusion_matrix(labels, truth, classes=5)
    for kind in (torch.int16, torch.int32, torch.int64):
        assert torch.equal(confusion_matrix(labels.to(kind), truth, classes=5), expected)
        assert torch.equal(confusion_matrix(labels, truth.to(kind), classes=5), expected)


def test_a_wrong_label_is_named() -> None:
    fine = picture("01", "1.")
    with pytest.raises(ValueError, match="labels must be below 2 or 255, got 7"):
        confusion_matrix(picture("07", "11"), fine, classes=2)
    with pytest.raises(ValueError, match="truth must be below 2 or 255, got 2"):
        confusion_matrix(fine, picture("01", "12"), classes=2)
    with pytest.raises(ValueError, match="labels must lie in 0 … 255, got -1 … 1"):
        confusion_matrix(torch.tensor([[0, 1], [-1, 1]]), fine, classes=2)


def test_maps_of_different_shapes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)
    with pytest.raises(ValueError, match=r"shape of the truth \(2, 2\), got \(1, 2\)"):
        confusion_matrix(picture("01"), picture("01", "1."), classes=2)
    confusions = random_confusions(4, images=3, classes=2)
    with pytest.raises(ValueError, match=r"shape of the reference \(2, 2, 3\), got \(3, 2, 3\)"):
        paired_ratio_interval(confusions, confusions[:2])


def test_a_score_of_nothing_is_refused() -> None:
    nothing = torch.zeros(3, 4, dtype=torch.int64)
    for score in (mean_iou, pixel_accuracy, coverage, precision):
        with pytest.raises(ValueError, match="at least one"):
            score(nothing)
    unlabelled = confusion_matrix(picture(".."), picture("01"), classes=2)
    assert coverage(unlabelled) == 0
    assert mean_iou(unlabelled) == 0
    with pytest.raises(ValueError, match="precision needs at least one labelled pixel"):
        precision(unlabelled)


def test_an_interval_equals_that_of_a_plain_loop() -> None:
    confusions = random_confusions(0, images=12, classes=4)
    drawn = torch.randint(12, (200, 12), generator=torch.Generator().manual_seed(5)).tolist()
    for name, score in {
        "mean_iou": mean_iou,
        "pixel_accuracy": pixel_accuracy,
        "coverage": coverage,
        "precision": precision,
    }.items():
        expected = np.quantile([score(confusions[images].sum(dim=0)) for images in drawn], [0.025, 0.975])
        assert bootstrap_interval(confusions, statistic=name, samples=200, seed=5) == pytest.approx(tuple(expected))


def test_an_interval_holds_the_score_and_narrows_with_more_images() -> None:
    few, many = random_confusions(1, images=5, classes=3), random_confusions(1, images=80, classes=3)
    widths = []
    for confusions in (few, many):
        low, high = bootstrap_interval(confusions)
        assert low <= mean_iou(confusions.sum(dim=0)) <= high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_one_image_has_an_interval_without_width() -> None:
    confusions = random_confusions(2, images=1, classes=3)
    assert bootstrap_interval(confusions) == pytest.approx((mean_iou(confusions[0]),) * 2)


def test_draws_in_which_nothing_counts_are_left_out() -> None:
    empty = torch.zeros(1, 2, 3, dtype=torch.int64)
    full = confusion_matrix(picture("01"), picture("01"), classes=2)[None]
    assert bootstrap_interval(torch.cat([empty, full]), statistic="precision") == (1, 1)
    with pytest.raises(ValueError, match="precision needs something that counts"):
        bootstrap_interval(empty, statistic="precision")
    with pytest.raises(ValueError, match="at least one image"):
        bootstrap_interval(empty[:0])


def test_a_ratio_is_taken_over_the_same_images() -> None:
    confusions = random_confusions(3, images=20, classes=4)
    assert paired_ratio_interval(confusions, confusions) == (100, 100)
    reference = random_confusions(77, images=20, classes=4)
    drawn = torch.randint(20, (100, 20), generator=torch.Generator().manual_seed(1)).tolist()
    ratios = [100 * mean_iou(confusions[i].sum(dim=0)) / mean_iou(reference[i].sum(dim=0)) for i in drawn]
    expected = tuple(np.quantile(ratios, [0.025, 0.975]))
    assert paired_ratio_interval(confusions, reference, samples=100, seed=1) == pytest.approx(expected)


def test_a_ratio_needs_a_reference_above_zero() -> None:
    confusions = random_confusions(4, images=3, classes=2)
    wrong = confusion_matrix(picture("01"), picture("10"), classes=2)[None].expand(3, -1, -1)
    with pytest.raises(ValueError, match="percent of the reference needs something that counts"):
        paired_ratio_interval(confusions, wrong)
