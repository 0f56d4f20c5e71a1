import numpy as np
import pytest
import torch

from tests.drawing import grey
from tests.drawing import picture as grid
from wsss.annotations import Annotation, Box, Boxes, Mask, Point, Points, Scribbles, Stroke
from wsss.plotting import PALETTES, Picture, annotated, colour_blind_palette, heat, overlay, picture
from wsss.store import voc_palette

DEUTERANOPIA = np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]])
"""How linear RGB looks without green cones (Machado et al., 2009)."""

ONE, TWO, THREE = ((128, 0, 0), (0, 128, 0), (128, 128, 0))  # VOC colours of the first labels


def closest_pair(colours: Picture) -> float:
    """Smallest distance between two colours as people without green cones see them."""
    linear = (colours / 255) ** 2.2
    seen = (linear @ DEUTERANOPIA.T).clip(0, 1) ** (1 / 2.2)
    distances = np.linalg.norm(seen[:, None] - seen[None], axis=-1)
    return float(distances[~np.eye(len(seen), dtype=bool)].min())


def at(shown: Picture, row: float, column: float, zoom: int) -> tuple[int, ...]:
    """The colour in the middle of a pixel of the image."""
    return tuple(shown[int((row + 0.5) * zoom), int((column + 0.5) * zoom)].tolist())


def test_the_voc_palette_has_the_colours_of_the_development_kit() -> None:
    known = {
        0: (0, 0, 0),
        1: (128, 0, 0),
        2: (0, 128, 0),
        5: (128, 0, 128),
        8: (64, 0, 0),
        15: (192, 128, 128),
        20: (0, 64, 128),
        255: (255, 255, 255),
    }
    palette = voc_palette()
    assert {label: tuple(palette[label].tolist()) for label in known} == known


@pytest.mark.parametrize("name", PALETTES)
def test_no_two_labels_share_a_colour(name: str) -> None:
    palette = PALETTES[name]()
    assert palette.shape == (256, 3)
    assert palette.dtype == np.uint8
    assert len(np.unique(palette, axis=0)) == 256


def test_the_colour_blind_palette_is_told_apart_without_green_cones() -> None:
    assert closest_pair(colour_blind_palette()[:8]) > 0.15
    assert closest_pair(voc_palette()[:8]) < 0.12  # what it is there for


def test_an_overlay_mixes_image_and_colours() -> None:
    # VOC label 1 is (128, 0, 0): half of it and half of grey 100; ignored pixels go half way to white
    mixed = overlay(grey(1, 3), grid("01."), 0.5)
    assert mixed.tolist() == [[[50, 50, 50], [114, 50, 50], [178, 178, 178]]]


def test_opacity_runs_from_the_image_to_the_colours() -> None:
    labels = grid("12", "0.")
    assert (overlay(grey(), labels, 0) == 100).all()
    assert (overlay(grey(), labels, 1, palette="colour_blind") == colour_blind_palette()[labels.numpy()]).all()


def test_heat_shows_the_greatest_activation_at_the_size_of_the_image() -> None:
    cams = torch.zeros(2, 3, 4)
    cams[1, 0, 0] = 1
    image = grey(12, 16)
    shown = heat(image, cams, 1)
    assert shown.shape == (12, 16, 3)
    assert (heat(image, cams.amax(0), 1) == shown).all()
    assert (shown[0, 0] != shown[-1, -1]).any()
    red, _, blue = shown[0, 0].tolist()
    assert red > blue
    assert (heat(image, cams, 0) == 100).all()


def test_inputs_are_left_as_they_are() -> None:
    image, labels = grey(), grid("01", "1.")
    shown = picture(image)
    overlay(image, labels)
    shown_before = shown.copy()
    assert (image == 100).all()
    assert (labels == grid("01", "1.")).all()
    assert (shown == shown_before).all()


def test_given_labels_have_the_colours_of_their_classes_over_a_darker_image() -> None:
    annotation = Annotation(
        points=Points((Point(1, 10, 10), Point(0, 10, 50))),
        scribbles=Scribbles((Stroke(2, ((30, 10), (30, 50)), width=3),)),
        boxes=Boxes((Box(3, 40, 20, 60, 44),)),
    )
    shown = annotated(grey(80, 60), annotation, side=480)
    assert shown.shape == (480, 360, 3)
    assert at(shown, 10, 10, 6) == ONE
    assert at(shown, 10, 50, 6) == (0, 0, 0)
    assert {at(shown, 30, column, 6) for column in range(10, 51)} == {TWO}
    assert at(shown, 28, 30, 6) != TWO  # the pen is three pixels wide
    assert {tuple(shown[side].tolist()) for side in ((244, 180), (355, 180), (300, 124), (300, 259))} == {THREE}
    assert at(shown, 50, 32, 6) == at(shown, 0, 0, 6) == (65, 65, 65)
    assert {tuple(shown[side].tolist()) for side in ((240, 180), (359, 180), (300, 120), (300, 263))} == {
        (255, 255, 255)
    }
    assert at(shown, 60, 30, 6) == (65, 65, 65)  # boxes are half-open


def test_dots_have_a_white_rim() -> None:
    shown = annotated(grey(60, 60), Annotation(points=Points((Point(1, 30, 30),))), side=480)
    along = [tuple(colour) for colour in shown[244].tolist()]
    assert list(dict.fromkeys(along)) == [(65, 65, 65), (255, 255, 255), ONE]
    assert along.count(ONE) > 10
    inside, rims = along.index(ONE), along.count((255, 255, 255))
    left = along[:inside].count((255, 255, 255))
    assert 1 <= left <= 5
    assert abs(rims - 2 * left) <= 1


def test_a_full_mask_lies_over_the_image_as_labels_do() -> None:
    labels = grid("01", "2.")
    shown = annotated(grey(), Annotation(masks=Mask.of(labels)), 0.5, palette="colour_blind", side=4)
    assert (shown == overlay(grey(), labels, 0.5, palette="colour_blind").repeat(2, 0).repeat(2, 1)).all()


def test_marks_at_the_border_and_a_stroke_of_one_corner_are_drawn() -> None:
    annotation = Annotation(
        points=Points((Point(1, 0, 0),)),
        scribbles=Scribbles((Stroke(2, ((39, 39),)),)),
        boxes=Boxes((Box(3, 0, 20, 1, 21),)),
    )
    shown = annotated(grey(40, 40), annotation, side=40)
    assert shown[0, 0].tolist() == list(ONE)
    assert shown[39, 39].tolist() == list(TWO)


def test_a_large_image_is_not_enlarged_and_none_is_changed() -> None:
    image = grey(600, 300)
    assert annotated(image, Annotation(points=Points((Point(1, 5, 5),)))).shape == (600, 300, 3)
    assert (image == 100).all()
