from dataclasses import fields, replace

import pytest

from tests.drawing import picture
from wsss.annotations import Annotation, Box, Boxes, ImageTags, Mask, Point, Points, Scribbles, Stroke
from wsss.annotations.cost import CostSettings, annotation_seconds, count_outlines
from wsss.errors import SettingsError

CLASSES = 20
# ten images with 15 classes and 28 things between them: 1.5 and 2.8 an image, as VOC 2012 has
THINGS = [*([((1, 2), (2, 1))] * 4), ((3, 4), (1, 1)), *([((5, 2),)] * 4), ((4, 3),)]
COSTS = CostSettings()


def tagged(things: tuple[tuple[int, int], ...]) -> Annotation:
    return Annotation(tags=ImageTags(tuple(sorted(label for label, _ in things))), tags_complete=True)


def clicked(things: tuple[tuple[int, int], ...], *, each: bool) -> Annotation:
    points = [Point(label, 0, 0) for label, count in things for _ in range(count if each else 1)]
    return Annotation(points=Points(tuple(points)), tags_complete=True)


def scribbled(things: tuple[tuple[int, int], ...]) -> Annotation:
    strokes = tuple(Stroke(label, ((0, 0), (0, 9))) for label, _ in things)
    return Annotation(scribbles=Scribbles(strokes), tags_complete=True)


def boxed(things: tuple[tuple[int, int], ...]) -> Annotation:
    return Annotation(boxes=Boxes(tuple(Box(label, 0, 0, 3, 3) for label, count in things for _ in range(count))))


def outlined(things: tuple[tuple[int, int], ...]) -> Annotation:
    row = "0".join("".join(f"{label:x}0" for _ in range(count)) for label, count in things)
    return Annotation(masks=Mask.of(picture("0" * len(row), row, "0" * len(row))))


def mean_seconds(annotations: list[Annotation]) -> float:
    return sum(annotation_seconds(annotation, CLASSES, COSTS) for annotation in annotations) / len(annotations)


def test_the_ten_images_have_as_many_classes_and_things_as_those_of_voc() -> None:
    assert sum(len(things) for things in THINGS) == 15
    assert sum(count for things in THINGS for _, count in things) == 28


def test_an_image_of_voc_costs_what_the_papers_say() -> None:
    assert mean_seconds([tagged(things) for things in THINGS]) == pytest.approx(20.0)
    assert mean_seconds([clicked(things, each=False) for things in THINGS]) == pytest.approx(22.1)
    assert mean_seconds([clicked(things, each=True) for things in THINGS]) == pytest.approx(23.27)  # printed as 23.3
    assert mean_seconds([scribbled(things) for things in THINGS]) == pytest.approx(34.85)  # printed as 34.9
    assert mean_seconds([boxed(things) for things in THINGS]) == pytest.approx(38.1)
    assert mean_seconds([outlined(things) for things in THINGS]) == pytest.approx(239.7)


def test_tags_beside_another_kind_are_not_paid_twice() -> None:
    for things in THINGS:
        points = clicked(things, each=True)
        both = replace(points, tags=tagged(things).tags)
        assert annotation_seconds(both, CLASSES, COSTS) == annotation_seconds(points, CLASSES, COSTS)


def test_kinds_that_are_drawn_add_up() -> None:
    mixed = replace(clicked(((1, 2), (2, 1)), each=True), scribbles=scribbled(((2, 1), (3, 1))).scribbles)
    # 17 classes that are not drawn; two first clicks and one more; two strokes
    assert annotation_seconds(mixed, CLASSES, COSTS) == pytest.approx(17 + 2 * 2.4 + 0.9 + 2 * 10.9)


def test_a_tag_of_a_class_that_nothing_was_drawn_for_costs_its_second() -> None:
    tags = ImageTags((1, 2))
    clicks = Points((Point(1, 0, 0),))
    assert annotation_seconds(Annotation(tags=tags, points=clicks), CLASSES, COSTS) == pytest.approx(1 + 2.4)


def test_classes_of_which_nothing_is_known_were_not_decided_and_cost_nothing() -> None:
    lower_bound = replace(clicked(((1, 1),), each=True), tags_complete=False)
    assert annotation_seconds(lower_bound, CLASSES, COSTS) == pytest.approx(2.4)
    few = Annotation(boxes=Boxes((Box(1, 0, 0, 3, 3),), complete=False))
    assert annotation_seconds(few, CLASSES, COSTS) == pytest.approx(7.0)
    assert annotation_seconds(Annotation(), CLASSES, COSTS) == 0


def test_an_image_that_is_known_to_be_empty_costs_a_second_a_class() -> None:
    assert annotation_seconds(Annotation(tags=ImageTags(()), tags_complete=True), 7, COSTS) == 7
    assert annotation_seconds(Annotation(boxes=Boxes(())), 7, COSTS) == 7
    assert annotation_seconds(Annotation(masks=Mask.of(picture("000", "000"))), 7, COSTS) == 7
    assert annotation_seconds(Annotation(masks=Mask.of(picture("...", "..."))), 7, COSTS) == 0


def test_the_background_is_clicked_and_drawn_but_never_decided() -> None:
    ground = Annotation(
        points=Points((Point(0, 0, 0), Point(0, 5, 5))),
        scribbles=Scribbles((Stroke(0, ((0, 0),)),)),
        tags_complete=True,
    )
    assert annotation_seconds(ground, CLASSES, COSTS) == pytest.approx(20 + 2.4 + 0.9 + 10.9)


def test_a_mask_has_as_many_outlines_as_connected_pieces_of_a_class() -> None:
    mask = picture(
        "1100.2",
        "0010.2",
        "300..1",
        "300221",
    )
    # the diagonal joins; both 1 and 2 come in two pieces
    assert count_outlines(Mask.of(mask)) == 5
    assert count_outlines(Mask.of(picture("0.", "00"))) == 0


def test_specks_count_only_where_their_class_has_nothing_larger() -> None:
    labels = picture(*["0" * 60] * 60)
    labels[5:20, 5:20] = 1
    # 3600 pixels: a piece counts from four of them on
    labels[30, 30:33] = 1
    labels[40, 40:44] = 1
    labels[50, 50] = labels[55, 55] = 2
    assert count_outlines(Mask.of(labels)) == 3


def test_every_price_is_a_choice_and_counts() -> None:
    everything = replace(
        outlined(((1, 1),)),
        points=Points((Point(2, 0, 0), Point(2, 1, 1))),
        scribbles=scribbled(((2, 1),)).scribbles,
        boxes=boxed(((2, 1),)).boxes,
    )
    base = annotation_seconds(everything, CLASSES, COSTS)
    times = {"class_decision": 18}
    for entry in fields(CostSettings):
        dearer = replace(COSTS, **{entry.name: getattr(COSTS, entry.name) + 1})
        assert annotation_seconds(everything, CLASSES, dearer) == pytest.approx(base + times.get(entry.name, 1))


@pytest.mark.parametrize("field", [entry.name for entry in fields(CostSettings)])
@pytest.mark.parametrize("value", [-1.0, float("inf"), float("nan")])
def test_a_price_that_is_none_is_refused(field: str, value: float) -> None:
    with pytest.raises(SettingsError, match=field):
        CostSettings(**{field: value})
