import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.drawing import picture
from wsss.functional import grabcut
from wsss.functional.grabcut import cores_of_cut, cut_boxes, reset_shrunk_segments
from wsss.types import IGNORE

GROUND, RED, GREEN = (40.0, 60.0, 90.0), (200.0, 60.0, 50.0), (60.0, 190.0, 70.0)


def painted(labels: Tensor, *, noise: float = 6.0) -> Tensor:
    """Paint the ground blue, label 1 red, label 2 green, with some noise."""
    colours = torch.tensor([GROUND, RED, GREEN])[labels.long()].movedim(-1, 0)
    g = torch.Generator().manual_seed(0)
    return (colours + noise * torch.randn(colours.shape, generator=g)).clamp(0, 255).byte()


def disc(size: int, row: int, column: int, radius: int) -> Tensor:
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


def boxes(*rows: tuple[int, int, int, int, int]) -> Tensor:
    return torch.tensor(rows, dtype=torch.int64).reshape(-1, 5)


def agreement(labels: Tensor, truth: Tensor) -> float:
    """Least intersection over union of the labels in the truth."""
    present = truth.unique().tolist()
    return min(
        float(((labels == label) & (truth == label)).sum() / ((labels == label) | (truth == label)).sum())
        for label in present
    )


def test_a_disc_is_cut_out_of_its_box() -> None:
    truth = disc(60, 30, 28, 15).byte()
    labels = cut_boxes(painted(truth), boxes((1, 15, 13, 46, 44)))
    assert labels.dtype == torch.uint8
    assert agreement(labels, truth) > 0.95


def test_the_corners_of_a_box_larger_than_what_is_cut_at_are_left_out_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grabcut, "LONGEST_SIDE", 40)
    truth = disc(120, 60, 56, 30).byte()
    assert agreement(cut_boxes(painted(truth), boxes((1, 30, 26, 91, 87))), truth) > 0.9


def test_of_two_classes_in_overlapping_boxes_each_gets_its_own_pixels() -> None:
    truth = torch.zeros(70, 70, dtype=torch.uint8)
    truth[disc(70, 30, 26, 18)] = 1
    truth[disc(70, 50, 50, 10)] = 2
    labels = cut_boxes(painted(truth), boxes((1, 12, 8, 49, 45), (2, 40, 40, 61, 61)))
    assert agreement(labels, truth) > 0.9


def test_where_two_whole_boxes_overlap_the_later_one_lies_on_top() -> None:
    flat = torch.full((3, 30, 30), 120, dtype=torch.uint8)
    labels = cut_boxes(flat, boxes((1, 2, 2, 22, 22), (2, 10, 10, 26, 26)))
    expected = torch.zeros(30, 30, dtype=torch.uint8)
    expected[2:22, 2:22] = 1
    expected[10:26, 10:26] = 2
    assert torch.equal(labels, expected)


def test_things_of_one_class_are_not_taken_for_each_others_background() -> None:
    truth = torch.zeros(50, 110, dtype=torch.uint8)
    for column in (20, 52, 84):
        truth[10:40, column - 14 : column + 14] = 1
    rows = [(1, 10, column - 14, 40, column + 14) for column in (20, 52, 84)]
    assert agreement(cut_boxes(painted(truth), boxes(*rows)), truth) > 0.95


@pytest.mark.parametrize(("side", "cut"), [(53, True), (56, False)])
def test_a_cut_of_less_than_15_percent_of_its_box_is_none(side: int, cut: bool) -> None:
    truth = disc(90, 45, 45, 12).byte()
    first = 45 - side // 2
    box = (first, first, first + side, first + side)
    labels = cut_boxes(painted(truth), boxes((1, *box)))
    # the disc has 441 pixels: 15.7 % of a box of 53 × 53, 14.1 % of one of 56 × 56
    if cut:
        assert agreement(labels, truth) > 0.98
    else:
        expected = torch.zeros(90, 90, dtype=torch.uint8)
        expected[box[0] : box[2], box[1] : box[3]] = 1
        assert torch.equal(labels, expected)


@pytest.mark.parametrize(
    ("size", "box"),
    [
        pytest.param((20, 30), (0, 0, 20, 30), id="of the whole image"),
        pytest.param((20, 30), (4, 6, 5, 7), id="of one pixel"),
        pytest.param((20, 30), (3, 0, 4, 12), id="of one row"),
        pytest.param((1, 1), (0, 0, 1, 1), id="in an image of one pixel"),
        pytest.param((1, 40), (0, 3, 1, 17), id="in an image of one row, below the size that is cut"),
    ],
)
def test_a_box_that_nothing_can_be_cut_from_is_taken_whole(
    size: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    expected = torch.zeros(size, dtype=torch.uint8)
    expected[box[0] : box[2], box[1] : box[3]] = 7
    assert torch.equal(cut_boxes(image, boxes((7, *box))), expected)


def test_without_boxes_there_is_only_background() -> None:
    assert not cut_boxes(torch.zeros(3, 5, 6, dtype=torch.uint8), boxes()).any()


@st.composite
def images_with_boxes(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Draw an image of few or many colours, of odd sizes, with boxes anywhere in it."""
    height, width = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    colours = draw(st.sampled_from([1, 2, 3, 256]))
    seed = draw(st.integers(0, 99))
    image = np.random.default_rng(seed).integers(0, colours, (3, height, width)) * (255 // max(1, colours - 1))
    rows = []
    for label in range(1, draw(st.integers(1, 3)) + 1):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        rows.append((label % 2 + 1, top, left, draw(st.integers(top + 1, height)), draw(st.integers(left + 1, width))))
    return torch.from_numpy(image.astype(np.uint8)), boxes(*rows)


@settings(max_examples=150)
@given(images_with_boxes())
def test_any_image_with_any_boxes_is_labelled_within_them(case: tuple[Tensor, Tensor]) -> None:
    image, rows = case
    labels = cut_boxes(image, rows)
    for label in (1, 2):
        allowed = torch.zeros(image.shape[1:], dtype=torch.bool)
        for own, top, left, bottom, right in rows.tolist():
            allowed[top:bottom, left:right] |= own == label
        assert not (labels == label)[~allowed].any()
    _, top, left, bottom, right = rows[-1].tolist()
    share = (labels[top:bottom, left:right] == rows[-1, 0]).float().mean()
    assert share >= grabcut.LEAST_CUT


def test_neither_other_random_numbers_nor_threads_change_a_cut() -> None:
    g = torch.Generator().manual_seed(3)
    image = torch.randint(0, 256, (3, 40, 50), dtype=torch.uint8, generator=g)
    before = image.clone()
    rows = boxes((1, 5, 5, 35, 30), (2, 10, 20, 36, 44))
    first = cut_boxes(image, rows)
    cv2.setRNGSeed(12345)
    cv2.setNumThreads(2)
    assert torch.equal(cut_boxes(image, rows), first)
    assert torch.equal(image, before)


def test_a_segment_of_less_than_half_of_its_box_is_reset_to_the_box() -> None:
    labels = picture(
        "000000",
        "011000",
        "010000",
        "000222",
        "000220",
    )
    # 3 of 9 pixels of the first box, 5 of 6 of the second
    expected = picture(
        "111000",
        "111000",
        "111000",
        "000222",
        "000220",
    )
    assert torch.equal(reset_shrunk_segments(labels, boxes((1, 0, 0, 3, 3), (2, 3, 3, 5, 6))), expected)


def test_a_class_outside_of_its_boxes_becomes_background_and_the_unknown_stays_within_boxes() -> None:
    labels = picture(
        "111.2",
        "11.22",
        "1.122",
    )
    expected = picture(
        "110.2",
        "11.22",
        "1.022",
    )
    assert torch.equal(reset_shrunk_segments(labels, boxes((1, 0, 0, 3, 2), (2, 0, 2, 3, 5))), expected)


def test_what_another_class_hides_of_a_box_neither_counts_nor_is_filled() -> None:
    # the small box hides 4 of 16 pixels; 6 of the other 12 are half of them, 5 are not
    labels = picture(
        "1110",
        "1220",
        "1220",
        "1000",
    )
    rows = boxes((1, 0, 0, 4, 4), (2, 1, 1, 3, 3))
    assert torch.equal(reset_shrunk_segments(labels, rows), labels)
    fewer = labels.clone()
    fewer[3, 0] = 0
    assert torch.equal(
        reset_shrunk_segments(fewer, rows),
        picture(
            "1111",
            "1221",
            "1221",
            "1111",
        ),
    )


def test_the_least_share_is_a_choice() -> None:
    labels = picture("1110", "0000")
    rows = boxes((1, 0, 0, 2, 4))
    assert torch.equal(reset_shrunk_segments(labels, rows, least_share=0.375), labels)
    assert (reset_shrunk_segments(labels, rows, least_share=0.38) == 1).all()


def test_the_cores_of_a_cut_are_what_lies_deep_inside_of_it() -> None:
    cut = picture("0000000", "0111110", "0111110", "0111110", "0000000").to(torch.uint8)
    box = torch.tensor([[1, 0, 0, 5, 7]])
    # half of the smaller side is 2.5, so a pixel must lie farther than 1.5 from another label
    assert torch.equal(
        cores_of_cut(cut, box, 0.6), picture(".......", ".......", "..111..", ".......", ".......").to(torch.uint8)
    )
    assert torch.equal(cores_of_cut(cut, box, 0.0), cut.masked_fill(cut == 0, IGNORE))


def test_cores_lie_in_boxes_and_beyond_the_image_nothing_is_near() -> None:
    cut = picture("1110", "1110", "0000").to(torch.uint8)
    inside = torch.tensor([[1, 0, 0, 2, 3]])
    # one pixel counts as far when it lies farther than 1; the edge of the image is no border
    assert torch.equal(cores_of_cut(cut, inside, 1.0), picture("11..", "....", "....").to(torch.uint8))
    assert (cores_of_cut(cut, inside, 0.0)[:, 3] == IGNORE).all()
    assert (cores_of_cut(torch.zeros_like(cut), inside[:0], 0.0) == IGNORE).all()


def test_a_thing_that_fills_the_whole_image_is_deep_everywhere() -> None:
    cut = torch.ones(6, 9, dtype=torch.uint8)
    assert (cores_of_cut(cut, boxes((1, 0, 0, 6, 9)), 0.5) == 1).all()


def test_overlapping_boxes_of_a_class_are_filled_whatever_their_order() -> None:
    labels = torch.zeros(4, 8, dtype=torch.uint8)
    rows = boxes((1, 0, 0, 4, 4), (1, 0, 2, 4, 6))
    expected = picture(*["11111100"] * 4)
    assert torch.equal(reset_shrunk_segments(labels, rows), expected)
    assert torch.equal(reset_shrunk_segments(labels, rows.flip(0)), expected)
