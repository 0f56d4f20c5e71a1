import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.drawing import picture
from tests.functional.loss_checks import (
    assert_nothing_counts,
    assert_the_slope_is_right,
    generator_of,
    numbers_of,
    shares_of,
)
from wsss.functional.box_tightness import box_tightness_loss, ignore_missed_lines

Boxes = tuple[Tensor, Tensor, Tensor]
HEIGHT, WIDTH = 5, 6


def boxes_of(seed: int, number: int = 5) -> Boxes:
    """Boxes of which some reach beyond the image and some are empty, their classes and owners."""
    generator = generator_of(seed)
    corners = torch.randint(-2, 6, (number, 2), generator=generator)
    sizes = torch.randint(0, 6, (number, 2), generator=generator)
    classes, owners = (torch.randint(3, (number,), generator=generator) for _ in range(2))
    return torch.cat([corners, corners + sizes], dim=1), classes, owners


def brute_force(shares: Tensor, boxes: Tensor, classes: Tensor, owners: Tensor) -> tuple[float, int]:
    """Walk along each line of each box."""
    total, count = 0.0, 0
    for (top, left, bottom, right), label, owner in zip(boxes.tolist(), classes.tolist(), owners.tolist(), strict=True):
        rows = [[(row, column) for column in range(left, right)] for row in range(top, bottom)]
        columns = [[(row, column) for row in range(top, bottom)] for column in range(left, right)]
        inside = [
            line
            for line in rows + columns
            if line and all(0 <= row < HEIGHT and 0 <= column < WIDTH for row, column in line)
        ]
        if inside:
            costs = [
                -math.log(max(shares[owner, label, row, column].item() for row, column in line)) for line in inside
            ]
            total, count = total + sum(costs) / len(costs), count + 1
    return total, count


def flat(*rows: list[float]) -> Tensor:
    """Probabilities of class 1 of 2, one image."""
    inner = torch.tensor(rows)
    return torch.stack([1 - inner, inner])[None]


def test_each_line_of_a_box_is_judged_by_its_best_pixel_by_hand() -> None:
    shares = flat([0.9, 0.9, 0.9], [0.9, 0.5, 0.1], [0.9, 0.2, 0.4])
    boxes, ones, zeros = torch.tensor([[1, 1, 3, 3]]), torch.tensor([1]), torch.tensor([0])
    # rows 0.5 and 0.4, columns 0.5 and 0.4
    assert numbers_of(box_tightness_loss(shares, boxes, ones, zeros)) == pytest.approx(
        (-(2 * math.log(0.5) + 2 * math.log(0.4)) / 4, 1)
    )


def test_a_line_that_is_cut_off_is_not_judged() -> None:
    shares = flat([0.5, 0.1], [0.25, 0.1])
    ones, zeros = torch.tensor([1]), torch.tensor([0])
    # the object may lie to the right of the image in both rows, but not above or below the column
    assert numbers_of(box_tightness_loss(shares, torch.tensor([[0, 1, 2, 4]]), ones, zeros)) == pytest.approx(
        (-math.log(0.1), 1)
    )
    assert box_tightness_loss(shares, torch.tensor([[-1, 1, 2, 4]]), ones, zeros)[1] == 0


@given(seed=st.integers(0, 10_000))
def test_boxes_are_judged_one_by_one(seed: int) -> None:
    shares, boxes = shares_of(seed, 3, 3, HEIGHT, WIDTH), boxes_of(seed + 1)
    assert numbers_of(box_tightness_loss(shares, *boxes)) == pytest.approx(brute_force(shares, *boxes))


def test_the_slope_is_right() -> None:
    shares, boxes = shares_of(3, 3, 3, HEIGHT, WIDTH), boxes_of(4, number=8)
    assert box_tightness_loss(shares, *boxes)[1] > 2
    assert_the_slope_is_right(lambda values: box_tightness_loss(values, *boxes), shares)


def test_the_parts_of_a_batch_add_up_to_the_whole() -> None:
    shares, (boxes, classes, owners) = shares_of(5, 3, 3, HEIGHT, WIDTH), boxes_of(6, number=9)
    first = owners == 0
    parts = [
        box_tightness_loss(shares[:1], boxes[first], classes[first], owners[first]),
        box_tightness_loss(shares[1:], boxes[~first], classes[~first], owners[~first] - 1),
    ]
    for whole, one, other in zip(box_tightness_loss(shares, boxes, classes, owners), *parts, strict=True):
        torch.testing.assert_close(one + other, whole)


@pytest.mark.parametrize("boxes", [[], [[2, 2, 2, 4]], [[-3, -3, 0, 0]], [[9, 9, 12, 12]], [[-1, -1, 9, 9]]])
def test_no_box_and_a_box_without_a_whole_line_count_for_nothing(boxes: list[list[int]]) -> None:
    logits = torch.randn(2, 3, HEIGHT, WIDTH, requires_grad=True)
    places = torch.tensor(boxes, dtype=torch.long).view(-1, 4)
    zeros = torch.zeros(len(places), dtype=torch.long)
    assert_nothing_counts(box_tightness_loss(logits.softmax(dim=1), places, zeros, zeros), logits)


def test_a_box_filled_to_its_sides_costs_nothing() -> None:
    cross = flat([0.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 0.0])
    assert numbers_of(
        box_tightness_loss(cross, torch.tensor([[0, 0, 3, 3]]), torch.tensor([1]), torch.tensor([0]))
    ) == (0, 1)


def test_the_background_of_rows_and_columns_that_miss_the_object_is_ignored() -> None:
    labels = picture(
        "000000",
        "001100",
        "001000",
        "000020",
        "000000",
    )
    boxes = torch.tensor([[1, 1, 1, 4, 5]])
    # the box holds rows 1 to 3 and columns 1 to 4; no pixel of its class is in row 3, or in columns 1 and 4
    expected = picture(
        "000000",
        "0.11.0",
        "0.10.0",
        "0...20",
        "000000",
    )
    assert torch.equal(ignore_missed_lines(labels, boxes), expected)


def test_a_box_that_its_class_reaches_on_every_line_is_left_as_it_is() -> None:
    diagonal = picture("100", "010", "001")
    assert torch.equal(ignore_missed_lines(diagonal, torch.tensor([[1, 0, 0, 3, 3]])), diagonal)
    assert torch.equal(ignore_missed_lines(diagonal, torch.zeros(0, 5, dtype=torch.long)), diagonal)


def test_what_one_box_ignores_does_not_hide_what_another_contains() -> None:
    labels = picture("0000", "0110", "0000")
    one, other = [1, 0, 0, 3, 4], [1, 1, 1, 2, 3]
    expected = picture("....", ".11.", "....")
    for order in ([one, other], [other, one]):
        assert torch.equal(ignore_missed_lines(labels, torch.tensor(order)), expected)
    assert torch.equal(labels, picture("0000", "0110", "0000"))
