from collections.abc import Callable

import torch
from hypothesis import given
from hypothesis import strategies as some

from tests.drawing import picture
from tests.stages.workshop import AnnotatedDataset, DrawnDataset, enlarged, painted
from wsss.annotations import Annotation, Box, Boxes, Point, Points
from wsss.data.transforms import TransformSettings
from wsss.data.views import MOST_BOXES, EpochSampler, Target, TrainingViews, WholeImages
from wsss.types import IGNORE

SHOWN = enlarged(picture("0011", "2200"), 4)
"""8 × 16 pixels: a cat at the top right, a dog at the bottom left."""

STILL = TransformSettings(crop=16, scale=(1.0, 1.0), flip=False, jitter=0.0)
"""Views that show an image as it is, with something beside it."""


def dataset() -> DrawnDataset:
    return DrawnDataset({"both": SHOWN, "nobody knows": SHOWN}, tags={"nobody knows": None})


def views(
    data: DrawnDataset, target: Callable[[str], Target] | None = None, *, outlined: bool = False
) -> TrainingViews:
    return TrainingViews(data, data.ids("train"), target, STILL, seed=0, outlined=outlined)


@given(
    count=some.integers(1, 9),
    per_process=some.integers(1, 4),
    world_size=some.integers(1, 4),
    samples=some.none() | some.integers(0, 30),
    epoch=some.integers(0, 3),
)
def test_processes_together_are_dealt_what_one_would_be(
    count: int, per_process: int, world_size: int, samples: int | None, epoch: int
) -> None:
    size = per_process * world_size

    def dealt(rank: int, world: int) -> list[tuple[int, int, int]]:
        sampler = EpochSampler(count, size, seed=1, rank=rank, world_size=world, samples=samples)
        sampler.set_epoch(epoch)
        found = list(sampler)
        assert len(found) == len(sampler)
        return found

    whole = dealt(0, 1)
    parts = [dealt(rank, world_size) for rank in range(world_size)]
    asked = count if samples is None else samples
    assert len(whole) == -(-asked // size) * size
    # each takes its slice of each global batch
    steps = range(0, len(whole) // world_size, per_process)
    together = [place for start in steps for part in parts for place in part[start : start + per_process]]
    assert together == whole
    # no image comes twice in a turn before all came once
    for turn in range(asked // count):
        assert {index for _, _, index in whole[turn * count : (turn + 1) * count]} == set(range(count))


def test_a_view_of_tags_has_no_labels_and_says_what_is_known() -> None:
    for place, known in ((0, True), (1, False)):
        view = views(dataset())[0, 0, place]
        assert view.keys() == {"image", "index", "tags", "known"}
        assert int(view["index"]) == place
        assert view["tags"].tolist() == [known, known]
        assert view["known"].tolist() == [known, known]


def test_labels_and_weights_lie_where_the_image_does() -> None:
    weights = torch.linspace(0.5, 1, SHOWN.numel()).view_as(SHOWN)
    view = views(dataset(), lambda _: (SHOWN, weights))[0, 0, 0]
    inside = view["labels"] != IGNORE
    # 8 of 16 rows, as wide as the image
    assert int(inside.sum()) == SHOWN.numel()
    assert torch.equal(view["labels"][inside], SHOWN.flatten().long())
    torch.testing.assert_close(view["weights"][inside], weights.flatten())
    assert not view["weights"][~inside].any()
    torch.testing.assert_close(view["image"][:, inside], painted(SHOWN).flatten(1) / 255)


def test_without_weights_each_labelled_pixel_counts_as_one() -> None:
    shown = views(dataset(), lambda _: (SHOWN, None))[0, 0, 0]
    assert torch.equal(shown["weights"], (shown["labels"] != IGNORE).float())


def test_boxes_come_along_where_they_are_asked_for() -> None:
    boxes = Boxes((Box(2, 4, 0, 8, 8), Box(1, 0, 8, 4, 16), Box(1, 1, 9, 3, 12)))
    clicks = Points((Point(1, 2, 10),))
    data = AnnotatedDataset(
        {"boxed": SHOWN, "clicked": SHOWN}, {"boxed": Annotation(boxes=boxes), "clicked": Annotation(points=clicks)}
    )
    assert "boxes" not in views(data)[0, 0, 0]
    found = views(data, outlined=True)[0, 0, 0]
    given_boxes = found["boxes"]
    assert given_boxes.shape == (MOST_BOXES, 5)
    assert (given_boxes[3:] == IGNORE).all()
    # the largest first; of two as large the lower label
    assert given_boxes[:3, 0].tolist() == [1, 2, 1]
    heights, widths = (given_boxes[:3, side + 2] - given_boxes[:3, side] for side in (1, 2))
    assert (heights.tolist(), widths.tolist()) == ([4, 4, 2], [8, 8, 3])
    assert (views(data, outlined=True)[0, 0, 1]["boxes"] == IGNORE).all()


def test_of_very_many_boxes_the_largest_are_shown() -> None:
    small = tuple(Box(1, row, column, row + 1, column + 1) for row in range(4) for column in range(8, 16))
    large = Box(2, 4, 0, 8, 8)
    data = AnnotatedDataset({"crowd": SHOWN}, {"crowd": Annotation(boxes=Boxes((*small, large)))})
    assert len(small) == MOST_BOXES
    labels = views(data, outlined=True)[0, 0, 0]["boxes"][:, 0].tolist()
    assert labels == [2] + [1] * (MOST_BOXES - 1)


def test_whole_images_are_shown_as_they_are() -> None:
    data = dataset()
    whole = WholeImages(data, ("nobody knows", "both"))
    assert len(whole) == 2
    for place, id in enumerate(("nobody knows", "both")):
        shown = whole[place]
        assert torch.equal(shown["image"], data.image(id).float() / 255)
        assert int(shown["index"]) == place
        assert shown["known"].tolist() == [id == "both"] * 2
        assert shown["tags"].tolist() == [id == "both"] * 2
