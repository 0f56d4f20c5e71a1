from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from tests.drawing import picture
from tests.stages.workshop import DrawnDataset, drawn_scores, enlarged, finished, given_scores, tags_of, workbench
from wsss.functional.dense_crf import CrfSettings
from wsss.functional.levels import count_levels
from wsss.functional.seeds import (
    SeedSettings,
    cam_scores,
    plant_agreed_seeds,
    plant_seeds,
    rank_thresholds,
    score_seeds,
)
from wsss.stages.make_seeds import make_network_seeds, make_seeds
from wsss.stages.materials import training_thresholds
from wsss.stages.settings import SelfTrainingSettings
from wsss.types import IGNORE

SIZE = (16, 24)


def dataset(tags: list[int] | None, *, background: bool = True) -> DrawnDataset:
    shown = enlarged(picture("012", "012"), 8)
    return DrawnDataset({"one": shown}, tags={"one": tags}, background=background)


def cams(first: Tensor, second: Tensor) -> dict[str, Tensor]:
    """CAMs of two classes at a quarter of the size; the channel of the background is empty."""
    return {"one": torch.stack([torch.zeros_like(first), first, second])}


def columns(*values: float) -> Tensor:
    """A map of the stored size, 4 x 6, whose columns have these values."""
    return torch.tensor(values).expand(4, 6)


def test_seeds_lie_where_cams_are_sure(tmp_path: Path) -> None:
    # class 1 is sure on the left, nobody in the middle, class 2 on the right; 0.4 is neither background nor foreground
    drawn = cams(columns(0.9, 0.9, 0.4, 0.4, 0.1, 0.1), columns(0.0, 0.0, 0.0, 0.0, 0.1, 0.1))
    found = finished(
        workbench(tmp_path, dataset([1, 2])), make_seeds(dataset([1, 2]), SeedSettings(), given_scores("cams", drawn))
    )
    seeds = found.read_labels("one")
    assert seeds.shape == SIZE
    # the columns in between lie where bilinear resizing blurs the step
    assert seeds[:, [0, 5, 11, 13, 18, 23]].tolist() == picture("11..00").repeat(16, 1).tolist()


@pytest.mark.parametrize(
    ("tags", "background"), [([1, 2], True), ([2], True), (None, True), ([], True), ([1, 2], False), ([2], False)]
)
@pytest.mark.parametrize(
    "settings",
    [
        SeedSettings(),
        SeedSettings(background="power", foreground_threshold=0.3),
        SeedSettings(background="quantile", background_quantile=0.3, foreground_quantile=0.6),
        SeedSettings(background="quantile", quantile_pixels="image", foreground_quantile=0.6),
    ],
)
def test_scores_and_seeds_are_those_of_the_stored_cams(
    tags: list[int] | None, background: bool, settings: SeedSettings, tmp_path: Path
) -> None:
    data = dataset(tags, background=background)
    drawn = cams(torch.rand(4, 6), torch.rand(4, 6))
    found = finished(workbench(tmp_path, data), make_seeds(data, settings, given_scores("cams", drawn)))
    stored = drawn["one"].half().float()[1:]
    # there is one image, whose pixels are those of the training set
    thresholds = rank_thresholds(count_levels(stored, tags_of(tags, 2)), settings)
    scores = cam_scores(stored, tags_of(tags, 2), settings, background=background, thresholds=thresholds)
    torch.testing.assert_close(found.read_scores("one", 3), scores, atol=1e-3, rtol=0)
    full = interpolate(stored[None], SIZE, mode="bilinear")[0]
    known = tags_of(tags, 2)
    expected = plant_seeds(full.clamp(0, 1), known, settings, background=background, thresholds=thresholds)
    assert torch.equal(found.read_labels("one"), expected)


@pytest.mark.parametrize("pixels", ["training", "image"])
def test_quantiles_are_taken_over_all_images_with_a_class_or_over_each(pixels: str, tmp_path: Path) -> None:
    shown = {name: enlarged(picture("000111"), 4) for name in ("bright", "faint", "other")}
    data = DrawnDataset(shown, tags={"other": [2]})
    levels = {"bright": (0.5, 1.0), "faint": (0.375, 0.4375), "other": (0.0, 1.0)}
    drawn = {
        name: torch.stack([torch.zeros(1, 6), torch.tensor([[low] * 3 + [high] * 3]), torch.zeros(1, 6)])
        for name, (low, high) in levels.items()
    }
    settings = SeedSettings(
        background="quantile", quantile_pixels=pixels, background_quantile=0.25, foreground_quantile=0.5
    )
    found = finished(workbench(tmp_path, data), make_seeds(data, settings, given_scores("cams", drawn)))
    # over both images with it class 1 has 0.375, 0.4375, 0.5 and 1 in equal parts: up to the first it isn't there
    columns = [0, 5, 9, 14, 18, 23]
    expected = {"training": ("111111", "000..."), "image": ("000111", "000111")}[pixels]
    for name, seeds in zip(("bright", "faint"), expected, strict=True):
        assert found.read_labels(name)[:, columns].tolist() == picture(seeds).repeat(4, 1).tolist()


@pytest.mark.parametrize(("tags", "background"), [([1, 2], True), ([], True), (None, False)])
def test_agreed_seeds_lie_where_both_maps_agree(tags: list[int] | None, background: bool, tmp_path: Path) -> None:
    data, settings = dataset(tags, background=background), SeedSettings(rule="irn", irn_foreground_threshold=0.6)
    drawn = cams(torch.rand(4, 6), torch.rand(4, 6))
    crf = CrfSettings(iterations=2, bilateral_compat=3.0)
    found = finished(workbench(tmp_path, data), make_seeds(data, settings, given_scores("cams", drawn), crf=crf))
    full = interpolate(drawn["one"].half().float()[None, 1:], SIZE, mode="bilinear")[0].clamp(0, 1)
    known = tags_of(tags, 2)
    expected = plant_agreed_seeds(data.image("one"), full, known, settings, crf, background=background)
    assert torch.equal(found.read_labels("one"), expected)
    # the scores are those of the background beside the CAMs, as ever
    scores = cam_scores(drawn["one"].half().float()[1:], known, settings, background=background)
    torch.testing.assert_close(found.read_scores("one", 3), scores, atol=1e-3, rtol=0)


def test_the_crf_counts_where_it_is_asked() -> None:
    def key(settings: SeedSettings, crf: CrfSettings | None) -> str:
        return make_seeds(dataset([1]), settings, given_scores("cams", {}), crf=crf).key

    other = CrfSettings(iterations=3)
    assert key(SeedSettings(), None) == key(SeedSettings(), other)
    irn = SeedSettings(rule="irn")
    assert len({key(irn, CrfSettings()), key(irn, other), key(SeedSettings(), other)}) == 3
    # it is told labels in any case
    assert key(irn, CrfSettings(unary="labels")) == key(irn, None)


def test_without_a_possible_label_nothing_is_known(tmp_path: Path) -> None:
    data = dataset([], background=False)
    drawn = cams(torch.zeros(4, 6), torch.zeros(4, 6))
    found = finished(workbench(tmp_path, data), make_seeds(data, SeedSettings(), given_scores("cams", drawn)))
    assert (found.read_labels("one") == IGNORE).all()
    assert not found.read_scores("one", 3).any()
    assert found.read_scores("one", 3).shape == (3, 4, 6)


def test_later_seeds_lie_where_the_segmenter_is_sure(tmp_path: Path) -> None:
    settings = SelfTrainingSettings(foreground_threshold=0.7, background_threshold=0.9)
    scores = torch.stack([columns(0.95, 0.95, 0.85, 0.85, 0.2, 0.2), torch.zeros(4, 6), torch.zeros(4, 6)])
    scores[2] = 1 - scores[0]
    found = finished(
        workbench(tmp_path, dataset([1, 2])),
        make_network_seeds(dataset([1, 2]), settings, given_scores("scores", {"one": scores}), 1),
    )
    # 0.95 of background exceeds 0.9 and 0.85 does not; 0.8 of class 2 exceeds 0.7
    seeds = found.read_labels("one")
    assert seeds[:, [0, 5, 11, 13, 18, 23]].tolist() == picture("00..22").repeat(16, 1).tolist()


@pytest.mark.parametrize(("tags", "background"), [([1, 2], True), ([1], True), (None, False), ([], True)])
def test_later_seeds_keep_to_the_tags(tags: list[int] | None, background: bool, tmp_path: Path) -> None:
    data = dataset(tags, background=background)
    drawn = drawn_scores(torch.randint(0, 3, (4, 6), generator=torch.Generator().manual_seed(0)), 3, sure=0.9)
    settings = SelfTrainingSettings(foreground_threshold=0.6, background_threshold=0.7)
    stage = make_network_seeds(data, settings, given_scores("scores", {"one": drawn}), 1)
    full = interpolate(drawn[None].half().float(), SIZE, mode="bilinear")[0]
    expected = score_seeds(
        full, tags_of(tags, 2), foreground_threshold=0.6, background_threshold=0.7, background=background
    )
    assert torch.equal(finished(workbench(tmp_path, data), stage).read_labels("one"), expected)


def test_every_setting_changes_the_key_and_so_does_the_background_class() -> None:
    stage, before = given_scores("cams", {}), SeedSettings()
    keys = {
        make_seeds(dataset([1]), before, stage).key,
        make_seeds(dataset([1]), SeedSettings(foreground_threshold=0.6), stage).key,
        make_seeds(dataset([1]), SeedSettings(margin=0.6), stage).key,
        make_seeds(dataset([1], background=False), before, stage).key,
    }
    assert len(keys) == 4


def test_the_rule_that_ends_the_rounds_does_not_change_the_seeds() -> None:
    scores = given_scores("scores", {})
    key = make_network_seeds(dataset([1]), SelfTrainingSettings(), scores, 1).key
    assert make_network_seeds(dataset([1]), SelfTrainingSettings(guard=0.5, watched=0.4), scores, 2).key == key
    assert make_network_seeds(dataset([1]), SelfTrainingSettings(background_threshold=0.5), scores, 1).key != key


def test_images_of_which_nothing_is_known_move_no_quantile_of_a_class_that_is_shown(tmp_path: Path) -> None:
    shown = {name: enlarged(picture("000111"), 4) for name in ("tagged", "untagged", "empty")}
    levels = {"tagged": 0.75, "untagged": 0.25, "empty": 0.5}
    drawn = {name: torch.full((3, 1, 6), level) for name, level in levels.items()}
    settings = SeedSettings(background="quantile", quantile_pixels="training", background_quantile=0.25)
    for tags, expected in (
        ({"tagged": [1], "untagged": None, "empty": []}, [0.75, 0.25]),
        ({"tagged": [1], "untagged": [2], "empty": None}, [0.75, 0.25]),
        ({"tagged": [1], "untagged": [1], "empty": []}, [0.25, float("nan")]),
    ):
        data = DrawnDataset(shown, tags=tags)
        bench = workbench(tmp_path, data)
        thresholds = training_thresholds(bench, finished(bench, given_scores("cams", drawn)), settings)
        assert thresholds is not None
        torch.testing.assert_close(thresholds.background, torch.tensor(expected), equal_nan=True)
