"""All kinds through one voice, on pictures small enough to be worked by hand."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from tests.annotations.drawn_labels import CLASSES, RANDOM_CHECKS, SIZE, annotations
from tests.drawing import picture
from tests.stages.workshop import enlarged
from wsss.annotations import Annotation, Box, Boxes, ImageTags, Mask, Point, Points, Scribbles, Stroke
from wsss.annotations.base import same_shape
from wsss.annotations.cost import CostSettings, annotation_seconds
from wsss.errors import DataError
from wsss.types import IGNORE, Image


def grey(height: int, width: int) -> Image:
    return torch.full((3, height, width), 128, dtype=torch.uint8)


def test_classes_of_an_incomplete_annotation_are_lower_bounds() -> None:
    clicked = Annotation(points=Points((Point(2, 0, 0), Point(0, 1, 1))))
    present, known = clicked.presence(3)
    assert present.tolist() == [False, True, False]
    assert known.tolist() == [False, True, False]


def test_classes_of_a_complete_annotation_rule_the_others_out() -> None:
    present, known = Annotation(points=Points((Point(2, 0, 0),)), tags_complete=True).presence(3)
    assert present.tolist() == [False, True, False]
    assert known.all()


@pytest.mark.parametrize(
    ("annotation", "decided"),
    [
        (Annotation(boxes=Boxes((Box(2, 0, 0, 1, 1),))), True),
        (Annotation(boxes=Boxes((Box(2, 0, 0, 1, 1),), complete=False)), False),
        (Annotation(masks=Mask.of(picture("02", ".."))), True),
        (Annotation(masks=Mask.of(picture("..", ".."))), False),
        (Annotation(points=Points((Point(2, 0, 0),))), False),
        (Annotation(points=Points((Point(2, 0, 0),)), tags_complete=True), True),
    ],
)
def test_complete_boxes_and_masks_decide_of_every_class_whether_it_is_there(
    annotation: Annotation, decided: bool
) -> None:
    present, known = annotation.presence(3)
    assert annotation.decided == decided
    assert known.tolist() == ([True] * 3 if decided else present.tolist())
    # what is paid for is what is known: whoever decided of all three classes drew one of them, or none
    price = annotation_seconds(annotation, 3, CostSettings(first_click=0, box=0, outline=0))
    assert price == known.sum() - present.sum()


def test_complete_boxes_decide_of_every_class_without_a_background_too() -> None:
    whole, part = (Annotation(boxes=Boxes((Box(1, 0, 0, 1, 1),), complete=complete)) for complete in (True, False))
    assert whole.without_background().presence(2)[1].tolist() == [True, True]
    assert part.without_background().presence(2)[1].tolist() == [True, False]
    # a mask of nothing but background knows nothing where 0 is no class
    ground = Annotation(masks=Mask.of(picture("00", "0.")))
    assert ground.presence(2)[1].all()
    assert not ground.without_background().presence(2)[1].any()


def test_unknown_is_not_empty() -> None:
    assert not Annotation().presence(2)[1].any()
    empty = Annotation(tags=ImageTags(()), tags_complete=True)
    assert empty.presence(2)[1].all()
    assert not empty.presence(2)[0].any()


def test_hiding_a_kind_that_names_a_class_of_its_own_makes_the_rest_incomplete() -> None:
    both = Annotation(tags=ImageTags((1, 2)), points=Points((Point(1, 0, 0),)), tags_complete=True)
    assert both.only(["tags"]).tags_complete
    assert not both.only(["points"]).tags_complete
    assert both.only(["points"]).tags is None
    assert not both.only(["boxes"]).tags_complete


def test_points_settle_discs_and_the_later_one_counts() -> None:
    seeds = Annotation(points=Points((Point(1, 1, 1), Point(2, 1, 2)), radius=1)).seeds(grey(3, 5), 2)
    assert torch.equal(seeds, picture(".12..", "1222.", ".12..").to(torch.uint8))


def test_a_stroke_settles_the_pixels_under_its_pen() -> None:
    thin = Annotation(scribbles=Scribbles((Stroke(1, ((0, 0), (0, 2), (2, 2)), width=1),)))
    assert torch.equal(thin.seeds(grey(3, 4), 1), picture("111.", "..1.", "..1.").to(torch.uint8))
    wide = Annotation(scribbles=Scribbles((Stroke(1, ((1, 0), (1, 3)), width=3),)))
    assert torch.equal(wide.seeds(grey(3, 4), 1), picture("1111", "1111", "1111").to(torch.uint8))


def test_outside_of_complete_boxes_is_background_and_nothing_else_is_possible_there() -> None:
    boxes = Boxes((Box(1, 0, 0, 2, 2), Box(2, 1, 1, 3, 4)), grabcut=False)
    annotation = Annotation(boxes=boxes, tags_complete=True)
    assert torch.equal(annotation.seeds(grey(3, 4), 2), picture("..00", "....", "0...").to(torch.uint8))
    allowed = annotation.allowed((3, 4), 2)
    assert allowed is not None
    assert torch.equal(allowed[0].long(), picture("1111", "1111", "1111").long())
    assert torch.equal(allowed[1].long(), picture("1100", "1100", "0000").long())
    assert torch.equal(allowed[2].long(), picture("0000", "0111", "0111").long())


def test_incomplete_boxes_say_nothing_of_what_lies_outside() -> None:
    annotation = Annotation(boxes=Boxes((Box(1, 0, 0, 2, 2),), complete=False, grabcut=False))
    assert (annotation.seeds(grey(3, 4), 2) == IGNORE).all()
    assert annotation.allowed((3, 4), 2) is None


def test_a_click_that_boxes_rule_out_settles_nothing() -> None:
    annotation = Annotation(
        boxes=Boxes((Box(1, 0, 0, 2, 2),), grabcut=False), points=Points((Point(1, 2, 3), Point(1, 0, 0)))
    )
    assert torch.equal(annotation.seeds(grey(3, 4), 2), picture("1.00", "..00", "000.").to(torch.uint8))


def test_a_mask_survives_being_written_as_runs_and_allows_nothing_else() -> None:
    labels = picture("0012", ".112", "2222").to(torch.uint8)
    annotation = Annotation(masks=Mask.of(labels), boxes=Boxes((Box(1, 0, 0, 2, 2),), complete=False, grabcut=False))
    assert torch.equal(annotation.seeds(grey(3, 4), 2), labels)
    allowed = Mask.of(labels).allowed((3, 4), 2)
    assert allowed.sum(0).tolist() == [[1, 1, 1, 1], [3, 1, 1, 1], [1, 1, 1, 1]]


def test_each_mark_ties_its_own_pixels() -> None:
    annotation = Annotation(
        points=Points((Point(1, 0, 0), Point(1, 2, 3))), scribbles=Scribbles((Stroke(2, ((1, 0), (1, 3)), width=1),))
    )
    ties = annotation.ties((3, 4))
    assert ties is not None
    assert ties.tolist() == [[1, 0, 0, 0], [3, 3, 3, 3], [0, 0, 0, 2]]
    assert Annotation(tags=ImageTags((1,))).ties((3, 4)) is None


def test_losses_are_those_of_all_kinds_each_once() -> None:
    mixed = Annotation(points=Points(()), boxes=Boxes(()), tags=ImageTags(()))
    assert mixed.losses == ("partial_cross_entropy", "box_tightness", "tree_energy", "gated_crf")
    assert Annotation(tags=ImageTags((1,))).losses == ()


@pytest.mark.parametrize(
    ("annotation", "told"),
    [
        (Annotation(tags=ImageTags((4,))), "label 4"),
        (Annotation(tags=ImageTags((0,))), "background is not a tag"),
        (Annotation(points=Points((Point(1, 3, 0),))), "row 3, column 0"),
        (Annotation(scribbles=Scribbles((Stroke(1, ((0, 0), (0, -1))),))), "row 0, column -1"),
        (Annotation(boxes=Boxes((Box(1, 0, 0, 4, 4),))), r"\(0, 0, 4, 4\)"),
        (Annotation(boxes=Boxes((Box(1, 2, 2, 2, 3),))), "hold a pixel"),
        (Annotation(boxes=Boxes((Box(0, 0, 0, 1, 1),))), "label 0"),
        (Annotation(masks=Mask((2, 2), ((1, 4),))), "its own mask"),
    ],
)
def test_what_cannot_be_in_an_image_is_refused(annotation: Annotation, told: str) -> None:
    with pytest.raises(DataError, match=told):
        annotation.check((3, 4), 3)


def test_without_a_background_class_nothing_is_said_of_it() -> None:
    labels = picture("0012", ".112", "2222").to(torch.uint8)
    full = Annotation(
        points=Points((Point(0, 0, 0), Point(1, 1, 1))),
        scribbles=Scribbles((Stroke(0, ((0, 0), (0, 2)), width=1), Stroke(2, ((2, 0), (2, 2)), width=1))),
        boxes=Boxes((Box(1, 0, 0, 2, 2),), grabcut=False),
        tags=ImageTags((1, 2)),
        tags_complete=True,
    )
    left = full.without_background()
    assert torch.equal(left.seeds(grey(3, 4), 2), picture("....", ".1..", "222.").to(torch.uint8))
    assert left.allowed((3, 4), 2) is None
    assert left.tags == full.tags
    assert left.tags_complete
    assert torch.equal(
        Annotation(masks=Mask.of(labels)).without_background().seeds(grey(3, 4), 2),
        picture("..12", ".112", "2222").to(torch.uint8),
    )


def test_each_kind_comes_to_lie_where_the_resized_image_shows_it() -> None:
    full = Annotation(
        tags=ImageTags((1,)),
        points=Points((Point(1, 0, 0), Point(2, 5, 7)), radius=2),
        scribbles=Scribbles((Stroke(1, ((0, 0), (5, 7)), width=4),)),
        boxes=Boxes((Box(1, 0, 0, 6, 8), Box(2, 3, 5, 4, 6)), complete=False, grabcut=False, reset_below=0.2),
        tags_complete=True,
    )
    half = full.resized((6, 8), (3, 4))
    assert half == Annotation(
        tags=ImageTags((1,)),
        points=Points((Point(1, 0, 0), Point(2, 2, 3)), radius=2),
        scribbles=Scribbles((Stroke(1, ((0, 0), (2, 3)), width=2),)),
        # the smaller one keeps the pixel that it touches
        boxes=Boxes((Box(1, 0, 0, 3, 4), Box(2, 1, 2, 2, 3)), complete=False, grabcut=False, reset_below=0.2),
        tags_complete=True,
    )
    half.check((3, 4), 2)
    assert full.resized((6, 8), (6, 8)) is full
    mask = Annotation(masks=Mask.of(picture("0012", ".112").to(torch.uint8)))
    for times in (2, 3):
        larger = mask.resized((2, 4), (2 * times, 4 * times)).masks
        assert larger is not None
        assert torch.equal(larger.to_labels(), enlarged(picture("0012", ".112"), times).to(torch.uint8))
        back = larger.resized((2 * times, 4 * times), (2, 4))
        assert back == mask.masks


@pytest.mark.filterwarnings(RANDOM_CHECKS)
@given(annotation=annotations().filter(lambda drawn: drawn.masks is None), new=some.tuples(*[some.integers(1, 30)] * 2))
def test_what_lies_in_an_image_lies_in_it_at_any_size(annotation: Annotation, new: tuple[int, int]) -> None:
    resized = annotation.resized(SIZE, new)
    resized.check(new, len(CLASSES))
    assert resized.named() == annotation.named()
    assert resized.kinds == annotation.kinds


def test_boxes_take_back_what_labels_lost_and_a_mended_label_stays_in_its_box() -> None:
    boxes = Boxes((Box(1, 0, 0, 2, 4), Box(2, 2, 0, 3, 2)), reset_below=0.5)
    labels = picture("1000", "0000", "2002").to(torch.uint8)
    # an eighth of the first box is left, half of the second
    assert torch.equal(Annotation(boxes=boxes).mend(labels), picture("1111", "1111", "2000").to(torch.uint8))
    assert torch.equal(Annotation(tags=ImageTags((1,))).mend(labels), labels)
    assert torch.equal(Annotation(boxes=replace(boxes, reset_below=0.0)).mend(labels), labels)
    # the second row and three columns of the first box, and nothing where boxes may be missing
    tight = replace(boxes, reset_below=0.0, tight=True)
    assert torch.equal(Annotation(boxes=tight).mend(labels), picture("1...", "....", "2.02").to(torch.uint8))
    assert torch.equal(Annotation(boxes=replace(tight, complete=False)).mend(labels), labels)


def test_marks_on_a_thumbnail_lie_in_the_middle_of_what_each_of_its_pixels_shows() -> None:
    small = Annotation(points=Points((Point(1, 0, 3),)), scribbles=Scribbles((Stroke(1, ((2, 0), (2, 3)), width=1),)))
    large = small.resized((4, 4), (20, 20))
    assert large.points == Points((Point(1, 2, 17),))
    assert large.scribbles == Scribbles((Stroke(1, ((12, 2), (12, 17)), width=5),))
    assert large.resized((20, 20), (4, 4)) == small


def test_a_resized_image_keeps_its_shape_and_a_turned_one_does_not() -> None:
    for height, width in ((366, 500), (500, 375), (1, 700), (64, 64)):
        for side in (1, 40, 333, 999):
            scale = side / max(height, width)
            assert same_shape((height, width), (max(1, round(scale * height)), max(1, round(scale * width))))
    assert not same_shape((366, 500), (500, 366))
    assert not same_shape((100, 100), (200, 220))
