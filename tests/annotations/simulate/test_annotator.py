"""What someone gives who labels an image."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings

from tests.annotations.simulate.scenes import CLASSES, noise, scene, scenes, seeds
from tests.drawing import picture
from wsss.annotations import KINDS, Annotation, Boxes, Mask, Points, Scribbles
from wsss.annotations.settings import BoxSettings, LabelSettings, NoiseSettings, PointSettings, ScribbleSettings
from wsss.annotations.simulate import simulate
from wsss.types import IGNORE, LabelMap, Tags

CAREFUL = LabelSettings()
WEAK = ("tags", "points", "scribbles", "boxes")


def given_for(truth: LabelMap, seed: int = 0, told: LabelSettings = CAREFUL, tags: Tags | None = None) -> Annotation:
    return simulate(truth, tags, CLASSES, WEAK, told, seed, True)


def present(truth: LabelMap) -> set[int]:
    return set(torch.unique(truth).tolist()) - {0, IGNORE}


@given(scenes, seeds)
@settings(max_examples=60, deadline=None)
def test_every_class_that_is_there_is_in_every_kind_and_lies_in_the_image(truth: LabelMap, seed: int) -> None:
    annotation = given_for(truth, seed)
    annotation.check((truth.shape[0], truth.shape[1]), CLASSES)
    assert {
        kind: set(label.labels()) - {0} for kind, label in zip(annotation.kinds, annotation.given(), strict=True)
    } == {kind: present(truth) for kind in annotation.kinds}
    assert annotation.tags_complete == bool((truth != IGNORE).any())


@given(scenes, seeds)
@settings(max_examples=30, deadline=None)
def test_the_same_seed_gives_the_same_labels_and_leaves_the_truth_as_it_is(truth: LabelMap, seed: int) -> None:
    before = truth.clone()
    assert given_for(truth, seed) == given_for(truth, seed)
    assert torch.equal(truth, before)


def test_another_seed_gives_other_labels() -> None:
    truth = scene(3)
    assert given_for(truth, 1).points != given_for(truth, 2).points
    assert given_for(truth, 1).scribbles != given_for(truth, 2).scribbles


@given(scenes, seeds)
@settings(max_examples=20, deadline=None)
def test_a_kind_is_the_same_whatever_else_is_given(truth: LabelMap, seed: int) -> None:
    mixed = simulate(truth, None, CLASSES, KINDS, CAREFUL, seed, True)
    for kind in KINDS:
        alone = simulate(truth, None, CLASSES, (kind,), CAREFUL, seed, True)
        assert set(alone.kinds) <= {kind}
        assert getattr(alone, kind) == getattr(mixed, kind)


@pytest.mark.parametrize(
    ("changed", "moved"),
    [
        (LabelSettings(points=PointSettings(spread=0.1)), "points"),
        (LabelSettings(points=PointSettings(background=4)), "points"),
        (LabelSettings(scribbles=ScribbleSettings(length=0.3)), "scribbles"),
        (LabelSettings(boxes=BoxSettings(loosen=0.3)), "boxes"),
        (LabelSettings(noise=NoiseSettings(missed_clicks=1)), "points"),
        (LabelSettings(noise=NoiseSettings(stroke_jitter=4)), "scribbles"),
        (LabelSettings(noise=NoiseSettings(box_jitter=0.2)), "boxes"),
        (LabelSettings(noise=NoiseSettings(wrong_tags=1)), "tags"),
    ],
)
def test_a_setting_moves_its_own_kind_alone(changed: LabelSettings, moved: str) -> None:
    truth = scene(2).clamp(max=IGNORE)
    truth[truth == 3] = 0  # a class is left that can be tagged wrongly
    before, after = given_for(truth), given_for(truth, told=changed)
    assert {kind for kind in WEAK if getattr(before, kind) != getattr(after, kind)} == {moved}


def test_more_clicks_on_the_background_leave_the_others_where_they_are() -> None:
    truth = scene(3)
    one, three = (
        given_for(truth, told=LabelSettings(points=PointSettings(background=count))).points for count in (1, 3)
    )
    assert one is not None
    assert three is not None
    assert set(one.points) < set(three.points)


def test_settings_that_say_what_is_made_of_labels_reach_them() -> None:
    told = LabelSettings(
        points=PointSettings(radius=7), scribbles=ScribbleSettings(width=5), boxes=BoxSettings(grabcut=False)
    )
    annotation = given_for(scene(3), told=told)
    assert annotation.points is not None
    assert annotation.scribbles is not None
    assert annotation.boxes is not None
    assert annotation.points.radius == 7
    assert {stroke.width for stroke in annotation.scribbles.strokes} == {5}
    assert not annotation.boxes.grabcut
    assert annotation.boxes.complete


def test_an_empty_image_is_known_to_be_empty() -> None:
    annotation = given_for(torch.zeros(20, 30, dtype=torch.uint8))
    assert annotation.presence(CLASSES)[1].all()
    assert annotation.named() == frozenset()
    assert annotation.boxes == Boxes(())
    assert annotation.points is not None
    assert [point.label for point in annotation.points.points] == [0]
    assert annotation.scribbles is not None
    assert {stroke.label for stroke in annotation.scribbles.strokes} == {0}


def test_an_image_of_which_nobody_knows_anything_remains_unknown() -> None:
    annotation = given_for(torch.full((9, 9), IGNORE, dtype=torch.uint8))
    assert annotation == Annotation(
        points=Points((), radius=2), scribbles=Scribbles(()), boxes=Boxes((), complete=False)
    )


def test_an_image_of_which_only_hidden_tags_are_known_remains_unknown() -> None:
    truth, tags = torch.full((9, 9), IGNORE, dtype=torch.uint8), torch.tensor([True, False, False])
    assert not simulate(truth, tags, CLASSES, ("points", "boxes"), CAREFUL, 0, True).tags_complete
    assert simulate(truth, tags, CLASSES, ("tags", "points"), CAREFUL, 0, True).tags_complete


def test_an_image_of_one_pixel_is_labelled() -> None:
    annotation = given_for(torch.full((1, 1), 2, dtype=torch.uint8))
    assert annotation.named() == {2}
    assert all(label.labels() == {2} for label in annotation.given())


def test_without_a_background_label_0_is_unknown_and_the_outside_of_boxes_too() -> None:
    truth = scene(3)
    annotation = simulate(truth, None, CLASSES, (*WEAK, "masks"), CAREFUL, 0, False)
    assert 0 not in frozenset().union(*(label.labels() for label in annotation.given()))
    assert annotation.named() == present(truth)
    assert annotation.boxes is not None
    assert not annotation.boxes.complete
    assert annotation.masks == Mask.of(torch.where(truth == 0, IGNORE, truth).to(torch.uint8))


def test_tags_that_disagree_with_the_truth_are_believed_for_the_tags_alone() -> None:
    truth = picture("1100", "1100")
    annotation = given_for(truth, tags=torch.tensor([False, True, False]))
    assert annotation.tags is not None
    assert annotation.tags.present == (2,)
    assert annotation.points is not None
    assert annotation.points.labels() == {0, 1}
    assert annotation.named() == {1, 2}


def test_a_full_mask_is_the_truth() -> None:
    truth = noise(1, 12, 17)
    assert simulate(truth, None, CLASSES, ("masks",), CAREFUL, 0, True).masks == Mask.of(truth)


@given(scenes, seeds)
@settings(max_examples=40, deadline=None)
def test_a_class_that_is_overlooked_is_in_no_kind_and_the_largest_never_is(truth: LabelMap, seed: int) -> None:
    annotation = given_for(truth, seed, LabelSettings(noise=NoiseSettings(missing_tags=1)))
    areas = {label: int((truth == label).sum()) for label in sorted(present(truth))}
    kept = {max(areas, key=lambda label: areas[label])} if areas else set()
    assert all(set(label.labels()) - {0} == kept for label in annotation.given())
    assert annotation.boxes is not None
    assert annotation.boxes.complete == bool((truth != IGNORE).any())  # that is the mistake


@given(scenes, seeds)
@settings(max_examples=40, deadline=None)
def test_labels_full_of_mistakes_still_lie_in_the_image(truth: LabelMap, seed: int) -> None:
    wild = NoiseSettings(missing_tags=0.5, wrong_tags=1, missed_clicks=1, stroke_jitter=100, box_jitter=1)
    told = replace(CAREFUL, noise=wild, points=PointSettings(spread=9), scribbles=ScribbleSettings(length=1))
    given_for(truth, seed, told).check((truth.shape[0], truth.shape[1]), CLASSES)
