import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional

from tests.drawing import picture
from wsss.data.transforms import MEAN_COLOUR, TransformSettings, random_view
from wsss.errors import SettingsError
from wsss.types import IGNORE

STILL = TransformSettings(crop=4, scale=(1.0, 1.0), flip=False, jitter=0.0)


def coded(height: int, width: int) -> torch.Tensor:
    """Draw an image whose red is its row and whose green is its column."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([rows, columns, torch.zeros_like(rows)]).to(torch.uint8)


def test_a_crop_of_the_images_own_size_shows_it_as_it_is() -> None:
    labels = picture("0012", "0012", "..12", "..12")
    weights = torch.rand(4, 4, generator=torch.Generator().manual_seed(0))
    view = random_view(coded(4, 4), labels, weights, STILL, seed=3)
    assert torch.equal(view.image * 255, coded(4, 4).float())
    assert view.labels is not None
    assert view.labels.dtype == torch.int64
    assert torch.equal(view.labels, labels.long())
    assert view.weights is not None
    assert torch.equal(view.weights, weights)


def test_pixels_without_weights_count_one_and_the_margin_nothing() -> None:
    view = random_view(coded(2, 3), picture("111", "111"), None, STILL, seed=0)
    assert view.labels is not None
    assert view.weights is not None
    inside = view.labels == 1
    assert inside.sum() == 6
    assert torch.equal(view.labels[~inside], torch.full((10,), IGNORE))
    assert torch.equal(view.weights, inside.float())
    margin = view.image[:, ~inside]
    assert torch.equal(margin, torch.tensor(MEAN_COLOUR)[:, None].expand_as(margin))


@pytest.mark.parametrize("factor", [0.6, 0.75, 1.5, 2.0])
def test_labels_are_resized_about_the_middles_of_pixels_as_images_are(factor: float) -> None:
    image = coded(100, 100)
    settings = TransformSettings(crop=40, scale=(factor, factor), flip=False, jitter=0.0)
    view = random_view(image, image[1], None, settings, seed=5)
    assert view.labels is not None
    ahead = view.labels - view.image[1] * 255
    # away from the edge of the picture, where columns are averaged with what is beyond
    assert abs(float(ahead[:, 4:-4].mean())) < 0.3


def test_without_labels_there_is_only_an_image() -> None:
    view = random_view(coded(9, 9), None, None, STILL, seed=0)
    assert (view.labels, view.weights) == (None, None)


@given(seed=st.integers(0, 2**63 - 1), height=st.integers(1, 40), width=st.integers(1, 40))
def test_image_and_labels_stay_together(seed: int, height: int, width: int) -> None:
    # the label of a pixel is its row, and so is its red: whatever the crop and the flip, they agree
    image = coded(height, width)
    settings = TransformSettings(crop=16, scale=(1.0, 1.0), flip=True, jitter=0.0)
    view = random_view(image, image[0], None, settings, seed=seed)
    assert view.labels is not None
    known = view.labels != IGNORE
    assert known.sum() == min(16, height) * min(16, width)
    assert torch.equal((view.image[0, known] * 255).round().long(), view.labels[known])


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.7, 3.0])
def test_scaled_images_and_labels_stay_together(factor: float) -> None:
    image = coded(120, 90)
    settings = TransformSettings(crop=64, scale=(factor, factor), flip=True, jitter=0.0)
    for seed in range(5):
        view = random_view(image, image[0], None, settings, seed=seed)
        assert view.labels is not None
        known = view.labels != IGNORE
        apart = (view.image[0, known] * 255 - view.labels[known]).abs()
        assert apart.max() <= 1.5 / min(factor, 1)
        # neighbouring pixels of the view are 1 / factor rows apart
        columns = known.any(0).nonzero()[0]
        rows = view.image[0, :, columns][known[:, columns]] * 255
        assert (rows[-1] - rows[0]).item() == pytest.approx((len(rows) - 1) / factor, rel=0.08)


def test_places_sizes_and_sides_vary_from_seed_to_seed() -> None:
    settings = TransformSettings(crop=16, scale=(0.5, 2.0), jitter=0.0)
    views = [random_view(coded(60, 60), None, None, settings, seed=seed).image * 255 for seed in range(60)]
    slopes = torch.tensor([(view[1, 8, -1] - view[1, 8, 0]).item() / 15 for view in views])
    assert 15 <= (slopes < 0).sum() <= 45  # mirrored
    assert slopes.abs().min() < 0.65
    assert slopes.abs().max() > 1.5
    corners = torch.tensor([view[0].min().item() for view in views])
    assert corners.min() < 8
    assert corners.max() > 30


def test_colours_change_as_torchvision_changes_them_and_stay_in_range() -> None:
    image = torch.randint(0, 256, (3, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    settings = TransformSettings(crop=20, scale=(1.0, 1.0), flip=False, jitter=0.4)
    for seed in range(20):
        draws = torch.rand(7, generator=torch.Generator().manual_seed(seed))[4:]
        brightness, contrast, saturation = (0.6 + 0.8 * draws).tolist()
        expected = functional.adjust_brightness(image.float() / 255, brightness)
        expected = functional.adjust_saturation(functional.adjust_contrast(expected, contrast), saturation)
        view = random_view(image, None, None, settings, seed=seed).image
        assert torch.allclose(view, expected, atol=1e-6)
        assert view.min() >= 0
        assert view.max() <= 1


def test_a_view_depends_on_its_seed_alone_and_leaves_the_global_generators_alone() -> None:
    settings = TransformSettings(crop=8)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = random_view(coded(30, 30), None, None, settings, seed=5).image
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(random_view(coded(30, 30), None, None, settings, seed=5).image, first)
    assert not torch.equal(random_view(coded(30, 30), None, None, settings, seed=6).image, first)


def test_inputs_are_not_changed() -> None:
    image, labels, weights = coded(10, 10), torch.ones(10, 10, dtype=torch.uint8), torch.ones(10, 10)
    copies = [entry.clone() for entry in (image, labels, weights)]
    random_view(image, labels, weights, TransformSettings(crop=8), seed=1)
    assert all(torch.equal(*pair) for pair in zip((image, labels, weights), copies, strict=True))


def test_settings_that_break_their_rule_are_refused() -> None:
    with pytest.raises(SettingsError, match="scale must be two positive numbers"):
        TransformSettings(scale=(2.0, 1.0))
    with pytest.raises(SettingsError, match="crop must be at least 1, got 0"):
        TransformSettings(crop=0)
    with pytest.raises(SettingsError, match=r"jitter must lie in \[0, 1\)"):
        TransformSettings(jitter=1.0)


@given(
    seed=st.integers(0, 2**63 - 1),
    size=st.tuples(st.integers(8, 60), st.integers(8, 60)),
    factor=st.sampled_from([0.5, 0.7, 1.0, 1.6, 2.0]),
    corners=st.lists(st.integers(0, 59), min_size=4, max_size=4),
)
def test_boxes_stay_around_what_they_hold(seed: int, size: tuple[int, int], factor: float, corners: list[int]) -> None:
    (top, bottom), (left, right) = (
        sorted((one % side, other % side)) for one, other, side in zip(corners[:2], corners[2:], size, strict=True)
    )
    box = torch.tensor([[2, top, left, bottom + 1, right + 1]])
    labels = torch.ones(size, dtype=torch.uint8)
    labels[top : bottom + 1, left : right + 1] = 2
    settings = TransformSettings(crop=32, scale=(factor, factor), flip=True, jitter=0.0)
    view = random_view(coded(*size), labels, None, settings, seed=seed, boxes=box)
    assert view.labels is not None
    assert view.boxes is not None
    rows, columns = (view.labels == 2).nonzero().T
    label, *found = view.boxes[0].tolist()
    assert label == 2
    if not len(rows):
        return
    shown = [int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1]
    # what lies beyond the view can't be seen; nearest pixels and rounded corners differ by one
    clipped = [min(max(place, 0), 32) for place in found]
    assert max(abs(one - other) for one, other in zip(clipped, shown, strict=True)) <= 1
    if factor == 1.0:
        assert clipped == shown


def test_a_view_that_moves_nothing_leaves_boxes_alone_and_one_without_boxes_has_none() -> None:
    boxes = torch.tensor([[1, 0, 0, 4, 4], [2, 1, 2, 3, 4]])
    copy = boxes.clone()
    view = random_view(coded(4, 4), None, None, STILL, seed=3, boxes=boxes)
    assert torch.equal(view.boxes, copy)  # type: ignore[arg-type]
    assert random_view(coded(4, 4), None, None, STILL, seed=3).boxes is None
    none = random_view(coded(4, 4), None, None, TransformSettings(crop=8), seed=1, boxes=boxes[:0]).boxes
    assert none is not None
    assert none.shape == (0, 5)
    random_view(coded(9, 9), None, None, TransformSettings(crop=8), seed=1, boxes=boxes)
    assert torch.equal(boxes, copy)


@pytest.mark.parametrize("scale", [0.3, 0.5, 0.9, 1.0, 1.7])
def test_a_view_loses_no_mark_whatever_its_size(scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.full((60, 90), IGNORE, dtype=torch.uint8)
    places = torch.randint(0, 60, (12, 2), generator=generator)
    labels[places[:, 0], places[:, 1]] = torch.arange(12, dtype=torch.uint8)
    settings = TransformSettings(crop=100, scale=(scale, scale), jitter=0)
    image = torch.zeros(3, 60, 90, dtype=torch.uint8)
    for seed in range(8):
        marked = random_view(image, labels, None, settings, seed=seed, sparse=True).labels
        plain = random_view(image, labels, None, settings, seed=seed).labels
        assert marked is not None
        assert plain is not None
        if scale >= 1:
            assert torch.equal(marked, plain)
        # the image is smaller than the view, so all marks are in it; at most they share a pixel
        elif scale > 0.4:
            assert set(marked.unique().tolist()) == {*range(12), IGNORE}
        assert set(plain.unique().tolist()) <= set(marked.unique().tolist())
    assert scale >= 1 or (marked != IGNORE).sum() <= 12  # type: ignore[union-attr]


def test_marks_lie_where_the_view_shows_what_was_marked() -> None:
    generator = torch.Generator().manual_seed(1)
    image = torch.zeros(3, 64, 96, dtype=torch.uint8)
    labels = torch.full((64, 96), IGNORE, dtype=torch.uint8)
    row, column = torch.randint(0, 64, (2,), generator=generator).tolist()
    image[:, row, column] = 255
    labels[row, column] = 1
    for seed in range(6):
        view = random_view(
            image, labels, None, TransformSettings(crop=48, scale=(0.5, 0.5), jitter=0), seed=seed, sparse=True
        )
        assert view.labels is not None
        assert view.weights is not None
        shown = view.image[0] * (view.weights > 0)
        assert torch.equal((view.labels == 1).nonzero()[0], (shown == shown.max()).nonzero()[0])
