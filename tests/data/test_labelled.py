from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.data.toys import save_photo, write
from tests.drawing import picture
from wsss.annotations import Annotation, Box, Boxes, ImageTags, Mask, Point, Points, Scribbles, Stroke
from wsss.annotations.cost import annotation_seconds
from wsss.annotations.settings import BoxSettings, LabelSettings, NoiseSettings, PointSettings, ScribbleSettings
from wsss.data import open_dataset
from wsss.data.folder import FolderDataset, FolderSettings
from wsss.data.labelled import LabelledDataset, with_labels
from wsss.data.manifests import write_manifest
from wsss.data.synthetic import SyntheticDataset, SyntheticSettings
from wsss.errors import DataError, SettingsError
from wsss.types import IGNORE, LabelMap, Tags

SOURCE = SyntheticDataset(SyntheticSettings(train=8, val=2, size=32))
NAMES = SOURCE.ids("train")


class Maskless(SyntheticDataset):
    def truth(self, id: str) -> LabelMap:  # noqa: ARG002
        return None  # type: ignore[return-value]


class Untagged(SyntheticDataset):
    def tags(self, id: str) -> Tags:  # noqa: ARG002
        return None  # type: ignore[return-value]


def test_a_data_set_whose_tags_are_all_that_was_asked_for_stays_itself() -> None:
    assert with_labels(SOURCE, LabelSettings(points=PointSettings(radius=5))) is SOURCE
    assert open_dataset(SyntheticSettings(train=2, size=32), LabelSettings()).whole.name == "synthetic"


def test_training_sees_the_kinds_that_were_asked_for_and_nothing_else() -> None:
    seen = with_labels(SOURCE, LabelSettings(kinds=("points", "boxes")))
    assert all(seen.annotation(name).kinds == ("boxes", "points") for name in NAMES)
    assert seen.settles_pixels
    assert not with_labels(SOURCE, LabelSettings(noise=NoiseSettings(missing_tags=0.5))).settles_pixels


def test_pictures_truth_and_validation_are_those_behind_it() -> None:
    seen = with_labels(SOURCE, LabelSettings(kinds=("boxes",)))
    assert seen.whole is SOURCE
    assert torch.equal(seen.image(NAMES[0]), SOURCE.image(NAMES[0]))
    assert torch.equal(seen.truth(NAMES[0]), SOURCE.truth(NAMES[0]))  # type: ignore[arg-type]
    assert seen.fingerprint("val") == SOURCE.fingerprint("val")
    assert seen.fingerprint("train", truth=True) == SOURCE.fingerprint("train", truth=True)
    shown = SOURCE.ids("val")[0]
    assert torch.equal(seen.tags(shown), SOURCE.tags(shown))  # type: ignore[arg-type]


def test_what_hears_tags_alone_does_not_notice_how_they_were_given() -> None:
    prints = {
        with_labels(SOURCE, LabelSettings(kinds=kinds)).fingerprint("train") for kinds in (("points",), ("boxes",))
    }
    assert prints == {SOURCE.fingerprint("train")}
    noisy = LabelSettings(noise=NoiseSettings(wrong_tags=1.0))
    assert with_labels(SOURCE, noisy).fingerprint("train") != SOURCE.fingerprint("train")


@pytest.mark.parametrize(
    "other",
    [
        LabelSettings(kinds=("boxes",)),
        LabelSettings(kinds=("points",), seed=1),
        LabelSettings(kinds=("points",), points=PointSettings(radius=0)),
        LabelSettings(kinds=("points",), masks=1),
    ],
)
def test_labels_of_other_settings_have_another_fingerprint(other: LabelSettings) -> None:
    plain = LabelSettings(kinds=("points",))
    prints = [with_labels(SOURCE, settings).annotations_fingerprint() for settings in (plain, other)]
    assert prints[0] != prints[1]
    assert with_labels(SOURCE, plain).annotations_fingerprint() == prints[0]


def test_settings_of_what_is_made_of_labels_reach_the_labels() -> None:
    settings = LabelSettings(
        kinds=("points", "boxes"),
        points=PointSettings(radius=7),
        boxes=BoxSettings(grabcut=False, core=0.2, reset_below=0.1, tight=True),
    )
    given = with_labels(SOURCE, settings).annotation(NAMES[0])
    assert given.points is not None
    assert given.boxes is not None
    assert given.points.radius == 7
    boxes = given.boxes
    assert (boxes.grabcut, boxes.core, boxes.reset_below, boxes.tight) == (False, 0.2, 0.1, True)


def test_some_images_show_their_mask_the_same_for_any_kind() -> None:
    masked = [
        [name for name in NAMES if with_labels(SOURCE, settings).annotation(name).masks]
        for settings in (LabelSettings(masks=3), LabelSettings(kinds=("points",), masks=3), LabelSettings(masks=2))
    ]
    assert len(masked[0]) == 3
    assert masked[0] == masked[1]
    assert set(masked[2]) < set(masked[0])
    name = masked[0][0]
    seeds = with_labels(SOURCE, LabelSettings(masks=3)).annotation(name).seeds(SOURCE.image(name), len(SOURCE.classes))
    assert torch.equal(seeds, SOURCE.truth(name))


def test_a_mask_that_knows_no_pixel_knows_no_class_either() -> None:
    class Blank(Untagged):
        def truth(self, id: str) -> LabelMap:
            return torch.full_like(super().truth(id), IGNORE)

    blank = Blank(SyntheticSettings(train=8, val=2, size=32))
    present, known = with_labels(blank, LabelSettings(kinds=("points",), masks=8)).presence(NAMES[0])
    assert not present.any()
    assert not known.any()


def test_images_beyond_the_budget_are_not_there_and_a_larger_budget_adds_to_a_smaller_one() -> None:
    dear = with_labels(SOURCE, LabelSettings(kinds=("points",)))
    costs = LabelSettings().cost
    total = sum(annotation_seconds(dear.annotation(name), len(SOURCE.classes), costs) for name in NAMES)
    parts = [
        with_labels(SOURCE, LabelSettings(kinds=("points",), budget_seconds=share * total)).ids("train")
        for share in (0.3, 0.6, 1.0)
    ]
    assert 0 < len(parts[0]) < len(parts[1]) < len(parts[2]) == len(NAMES)
    assert set(parts[0]) < set(parts[1])
    assert list(parts[1]) == sorted(parts[1])
    kept = with_labels(SOURCE, LabelSettings(kinds=("points",), budget_seconds=0.3 * total))
    assert kept.fingerprint("train") != SOURCE.fingerprint("train")
    # as many samples as if all images had been paid for
    part = len(kept.ids("train"))
    assert (kept.samples(part), SOURCE.samples(7), dear.samples(7)) == (len(NAMES), 7, 7)
    assert kept.samples(part - 1) == round((part - 1) * len(NAMES) / part)
    settings = LabelSettings(kinds=("points",), budget_seconds=0.3 * total, full_schedule=False)
    assert with_labels(SOURCE, settings).samples(part) == part


def test_a_budget_that_does_not_pay_for_all_masks_is_refused() -> None:
    whole = LabelledDataset(SOURCE, LabelSettings(masks=3))
    masked = [name for name in NAMES if whole.annotation(name).masks]
    total = sum(whole.seconds(name) for name in masked)
    kept = with_labels(SOURCE, LabelSettings(masks=3, budget_seconds=total))
    assert {*masked} <= {*kept.ids("train")}
    with pytest.raises(
        DataError, match=r"^labels\.masks=3, but labels\.budget_seconds=.* pays for 2 of them; raise the"
    ):
        with_labels(SOURCE, LabelSettings(masks=3, budget_seconds=total - 1))


def test_labels_come_from_a_manifest_and_images_that_it_lacks_are_unknown(tmp_path: Path) -> None:
    given = {
        NAMES[0]: Annotation(points=Points((Point(2, 3, 4),))),
        NAMES[1]: Annotation(tags=ImageTags((1,)), tags_complete=True),
    }
    write_manifest(tmp_path / "labels.json", given, SOURCE.classes)
    settings = LabelSettings(kinds=("tags", "points"), source="manifest", manifest=str(tmp_path / "labels.json"))
    seen = with_labels(Untagged(SyntheticSettings(train=8, val=2, size=32)), settings)
    assert seen.tags(NAMES[0]) is None
    present, known = seen.presence(NAMES[0])
    assert present.nonzero().flatten().tolist() == known.nonzero().flatten().tolist() == [1]
    assert seen.possible(NAMES[0]) == list(range(len(SOURCE.classes) + 1))
    assert seen.possible(NAMES[1]) == [0, 1]
    assert seen.named(NAMES[2]) is None
    assert seen.annotation(NAMES[0]).seeds(SOURCE.image(NAMES[0]), 6)[3, 4] == 2
    assert (seen.annotation(NAMES[2]).seeds(SOURCE.image(NAMES[2]), 6) == IGNORE).all()
    assert with_labels(Untagged(SyntheticSettings(size=32)), replace(settings, kinds=("tags",))).tags(NAMES[0]) is None
    # where the data set has tags of its own they stand beside the clicks of the manifest
    both = with_labels(SOURCE, settings)
    assert both.annotation(NAMES[0]).points == Points((Point(2, 3, 4),), radius=2)
    tagged = SOURCE.tags(NAMES[0]).clone()
    tagged[1] = True
    assert both.presence(NAMES[0])[0].tolist() == tagged.tolist()
    assert both.presence(NAMES[0])[1].all()


def test_labels_of_a_larger_picture_come_to_lie_where_the_shrunk_one_shows_them(tmp_path: Path) -> None:
    size = SOURCE.size(NAMES[0])
    given = {NAMES[0]: Annotation(points=Points((Point(1, 2 * size[0] - 1, 9),)), boxes=Boxes((Box(2, 2, 3, 9, 11),)))}
    write_manifest(tmp_path / "labels.json", given, SOURCE.classes, {NAMES[0]: (2 * size[0], 2 * size[1])})
    settings = LabelSettings(kinds=("points", "boxes"), source="manifest", manifest=str(tmp_path / "labels.json"))
    found = with_labels(SOURCE, settings).annotation(NAMES[0])
    assert found.points is not None
    assert found.points.points == (Point(1, size[0] - 1, 4),)
    assert found.boxes is not None
    assert found.boxes.boxes == (Box(2, 1, 1, 5, 6),)


def test_labels_without_a_size_lie_in_pixels_of_the_file_whatever_shrinks_the_image(tmp_path: Path) -> None:
    save_photo(tmp_path / "images" / "a.png", 8, 12)
    write(tmp_path / "tags.csv", "image,tags", "a,1")
    mask = Mask.of(picture(*["001111001111"] * 8))
    given = Annotation(points=Points((Point(1, 7, 9),)), boxes=Boxes((Box(1, 2, 3, 8, 11),)), masks=mask)
    write_manifest(tmp_path / "labels.json", {"a": given}, ("1",))
    settings = LabelSettings(
        kinds=("points", "boxes"), source="manifest", manifest=str(tmp_path / "labels.json"), masks=1
    )
    native, shrunk = (
        with_labels(FolderDataset(FolderSettings(root=str(tmp_path), max_side=side)), settings) for side in (12, 6)
    )
    assert (shrunk.size("a"), shrunk.native_size("a")) == ((4, 6), (8, 12))
    assert native.annotation("a").masks == mask
    found = shrunk.annotation("a")
    assert found.points is not None
    assert found.points.points == (Point(1, 3, 4),)
    assert found.boxes is not None
    assert found.boxes.boxes == (Box(1, 1, 1, 4, 6),)
    assert found.masks == Mask.of(picture(*["011011"] * 4))
    # a mask of another size than the file is refused, not cut
    write_manifest(tmp_path / "labels.json", {"a": Annotation(masks=Mask.of(picture(*["111111"] * 4)))}, ("1",))
    again = with_labels(FolderDataset(FolderSettings(root=str(tmp_path), max_side=6)), settings)
    with pytest.raises(DataError, match=r"the mask has 4 × 6 pixels .* the image has 8 × 12; give its own mask"):
        again.annotation("a")


def test_complete_boxes_of_a_manifest_say_which_classes_are_there(tmp_path: Path) -> None:
    given = {NAMES[0]: Annotation(boxes=Boxes((Box(2, 0, 0, 4, 4),)))}
    write_manifest(tmp_path / "labels.json", given, SOURCE.classes)
    settings = LabelSettings(kinds=("boxes",), source="manifest", manifest=str(tmp_path / "labels.json"))
    for background in (True, False):
        untagged = Untagged(SyntheticSettings(train=8, val=2, size=32, background=background))
        tags = with_labels(untagged, settings).tags(NAMES[0])
        assert tags is not None
        assert tags.nonzero().flatten().tolist() == [1]


def test_a_manifest_that_leaves_its_image_is_refused_by_name(tmp_path: Path) -> None:
    given = {NAMES[0]: Annotation(boxes=Boxes((Box(1, 0, 0, 500, 5),)))}
    write_manifest(tmp_path / "labels.json", given, SOURCE.classes)
    settings = LabelSettings(kinds=("boxes",), source="manifest", manifest=str(tmp_path / "labels.json"))
    with pytest.raises(DataError, match=rf"labels.json.*{NAMES[0]}.*\(0, 0, 500, 5\)"):
        with_labels(SOURCE, settings).annotation(NAMES[0])


def test_labels_that_are_to_be_drawn_need_a_mask_and_tags_need_none() -> None:
    maskless = Maskless(SyntheticSettings(train=2, val=0, size=32))
    name = maskless.ids("train")[0]
    with pytest.raises(DataError, match=r"has no mask.*labels.source=manifest"):
        with_labels(maskless, LabelSettings(kinds=("scribbles",))).annotation(name)
    noisy = with_labels(maskless, LabelSettings(noise=NoiseSettings(wrong_tags=1.0)))
    assert noisy.presence(name)[0].sum() == maskless.presence(name)[0].sum() + 1


def test_a_manifest_that_knows_no_training_image_is_refused_with_names_of_both_sides(tmp_path: Path) -> None:
    write_manifest(tmp_path / "labels.json", {"cat_07": Annotation(tags=ImageTags((1,)))}, SOURCE.classes)
    settings = LabelSettings(source="manifest", manifest=str(tmp_path / "labels.json"))
    with pytest.raises(DataError, match=rf"'cat_07' and labels no training image, they are called like '{NAMES[0]}'"):
        with_labels(SOURCE, settings)
    write_manifest(tmp_path / "labels.json", {}, SOURCE.classes)
    with pytest.raises(DataError, match="names no image and labels no training image"):
        with_labels(SOURCE, settings)


def test_masks_of_a_manifest_are_seen_as_far_as_masks_are_asked_for(tmp_path: Path) -> None:
    maskless = Maskless(SyntheticSettings(train=8, val=2, size=32))
    drawn = Mask.of(SOURCE.truth(NAMES[0]))
    given = {NAMES[0]: Annotation(masks=drawn, boxes=Boxes((Box(1, 0, 0, 2, 2),)))}
    write_manifest(tmp_path / "labels.json", given, SOURCE.classes)
    settings = LabelSettings(source="manifest", manifest=str(tmp_path / "labels.json"))
    hidden = with_labels(maskless, settings)
    assert not hidden.settles_pixels
    assert hidden.annotation(NAMES[0]).kinds == ("tags",)
    seen = with_labels(maskless, replace(settings, masks=1))
    assert seen.settles_pixels
    assert seen.annotation(NAMES[0]).masks == drawn
    with pytest.raises(DataError, match=r"labels\.masks=2 asks for more masks than there are: 1 of 8"):
        with_labels(maskless, replace(settings, masks=2))


def test_a_data_set_without_a_background_hears_nothing_of_it(tmp_path: Path) -> None:
    plain = SyntheticDataset(SyntheticSettings(train=8, val=2, size=32, background=False))
    drawn = torch.zeros(plain.size(NAMES[1]), dtype=torch.uint8)
    drawn[:3] = 2
    given = {
        NAMES[0]: Annotation(
            points=Points((Point(0, 3, 4), Point(2, 5, 6))),
            scribbles=Scribbles((Stroke(0, ((0, 0), (0, 9))), Stroke(1, ((9, 0), (9, 9))))),
            boxes=Boxes((Box(1, 8, 0, 20, 20),), grabcut=False),
        ),
        NAMES[1]: Annotation(masks=Mask.of(drawn)),
    }
    write_manifest(tmp_path / "labels.json", given, plain.classes)
    settings = LabelSettings(
        kinds=("points", "scribbles", "boxes"), source="manifest", manifest=str(tmp_path / "labels.json")
    )
    seen = with_labels(plain, settings)
    masked = with_labels(plain, replace(settings, masks=1))
    for shown, name, labels in ((seen, NAMES[0], {1, 2, IGNORE}), (masked, NAMES[1], {2, IGNORE})):
        settled = shown.annotation(name).seeds(plain.image(name), len(plain.classes))
        assert set(settled.unique().tolist()) == labels
        allowed = shown.annotation(name).allowed(plain.size(name), len(plain.classes))
        assert allowed is None or allowed[1:].any(dim=0).all()
    # the same in a data set with a background
    assert 0 in with_labels(SOURCE, settings).annotation(NAMES[0]).seeds(SOURCE.image(NAMES[0]), len(SOURCE.classes))


def test_masks_of_a_manifest_go_before_those_that_measure(tmp_path: Path) -> None:
    drawn = Mask.of(torch.ones(SOURCE.size(NAMES[5]), dtype=torch.uint8))
    write_manifest(tmp_path / "labels.json", {NAMES[5]: Annotation(masks=drawn)}, SOURCE.classes)
    settings = LabelSettings(source="manifest", manifest=str(tmp_path / "labels.json"), masks=1)
    seen = with_labels(SOURCE, settings)
    assert {name: seen.annotation(name).masks for name in NAMES if seen.annotation(name).masks} == {NAMES[5]: drawn}
    with pytest.raises(DataError, match=r"labels\.masks=2 asks for more masks than there are: 1 of"):
        with_labels(SOURCE, replace(settings, masks=2))
    # where none was given, those of the data set are shown
    write_manifest(tmp_path / "labels.json", {NAMES[5]: Annotation(tags=ImageTags((1,)))}, SOURCE.classes)
    seen = with_labels(SOURCE, replace(settings, masks=2))
    assert sum(seen.annotation(name).masks is not None for name in NAMES) == 2


def test_labels_of_a_turned_image_are_refused_by_name(tmp_path: Path) -> None:
    name = next(name for name in NAMES if SOURCE.size(name)[0] != SOURCE.size(name)[1])
    height, width = SOURCE.size(name)
    given = {name: Annotation(points=Points((Point(1, 0, 0),)))}
    settings = LabelSettings(kinds=("points",), source="manifest", manifest=str(tmp_path / "labels.json"))
    write_manifest(tmp_path / "labels.json", given, SOURCE.classes, {name: (4 * height, 4 * width)})
    assert with_labels(SOURCE, settings).annotation(name).points == Points((Point(1, 0, 0),), radius=2)
    write_manifest(tmp_path / "labels.json", given, SOURCE.classes, {name: (4 * width, 4 * height)})
    with pytest.raises(
        DataError, match=rf"labels.json', image '{name}': its labels are for an image of {4 * width} rows and"
    ):
        with_labels(SOURCE, settings).annotation(name)


def test_a_budget_is_a_fair_sample_of_the_classes_that_a_manifest_alone_names(tmp_path: Path) -> None:
    untagged = Untagged(SyntheticSettings(train=8, val=2, size=32))
    labels = [1 if name in NAMES[:6] else 2 for name in NAMES]
    given = {
        name: Annotation(tags=ImageTags((label,)), tags_complete=True)
        for name, label in zip(NAMES, labels, strict=True)
    }
    write_manifest(tmp_path / "labels.json", given, untagged.classes)
    settings = LabelSettings(source="manifest", manifest=str(tmp_path / "labels.json"))
    for seed in range(5):
        paid = with_labels(untagged, replace(settings, budget_seconds=4.0 * len(untagged.classes), seed=seed))
        assert sorted(labels[NAMES.index(name)] for name in paid.ids("train")) == [1, 1, 1, 2]


@pytest.mark.parametrize(
    "drawing",
    [
        {"noise": NoiseSettings(missed_clicks=0.1)},
        {"points": PointSettings(background=3)},
        {"scribbles": ScribbleSettings(width=5)},
        {"boxes": BoxSettings(loosen=0.1)},
    ],
)
def test_settings_of_drawn_labels_are_refused_where_labels_are_given(drawing: dict[str, Any]) -> None:
    told = r"^\w+\.\w+ must keep its default with labels\.source=manifest, it applies to simulated"
    with pytest.raises(SettingsError, match=told):
        LabelSettings(source="manifest", manifest="labels.json", **drawing)
    # what says how given labels are used is not
    LabelSettings(
        source="manifest", manifest="labels.json", points=PointSettings(radius=1), boxes=BoxSettings(reset_below=0)
    )


@pytest.mark.parametrize("settings", [{"budget_seconds": 1e6}, {"noise": NoiseSettings(wrong_tags=1e-9)}, {"masks": 1}])
def test_tags_that_nobody_gave_are_not_taken_from_the_truth(settings: dict[str, Any]) -> None:
    untagged = Untagged(SyntheticSettings(train=8, val=2, size=32))
    shown = with_labels(untagged, LabelSettings(**settings))
    assert isinstance(shown, LabelledDataset)
    unknown = [name for name in NAMES if not shown.annotation(name).masks]
    assert len(unknown) == 8 - settings.get("masks", 0)
    assert all(shown.tags(name) is None and shown.named(name) is None for name in unknown)
