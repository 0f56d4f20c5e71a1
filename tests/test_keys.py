"""Which settings change the keys of which stages: all that matter do, from their stage on, and nothing else does."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision import models

from tests.plans import CONFIG, PICTURES, changed, keys, planned, with_setting
from tests.stages.workshop import DrawnDataset
from wsss.annotations.settings import LabelSettings
from wsss.config import Config
from wsss.functional.dense_crf import CrfSettings
from wsss.refine.settings import GrowingSettings
from wsss.store import StoreSettings
from wsss.tasks.settings import LOSSES, SegmenterSettings, TrainerSettings
from wsss.tracking import TrackingSettings

ROUND = ("growing", "graph_fit", "graph", "crf", "pseudo_labels", "segmenter", "predictions", "signal")
ORDER = ["classifier:0", "cams:0", "seeds:0", *(f"{name}:0" for name in ROUND)]
ORDER += ["scores:1", "seeds:1", *(f"{name}:1" for name in ROUND)]
SIDE = {"superpixels:0", "graphs:0", "ceiling:0", "ceiling_predictions:0"}


def since(title: str, *others: str) -> set[str]:
    """The stage of that name and those that build upon it, one after the other, and others beside them."""
    return {*ORDER[ORDER.index(title) :], *others}


SPARSE = SegmenterSettings(supervision="sparse")
LEARNING = since("segmenter:0", "ceiling:0", "ceiling_predictions:0")
LOOKING = since("scores:1", "predictions:0", "ceiling_predictions:0")

EXPECTED = [
    ("seed", 1, since("classifier:0", *SIDE) - {"superpixels:0"}),
    ("network", "resnet18", since("classifier:0", *SIDE) - {"superpixels:0"}),
    ("classifier.epochs", 3, since("classifier:0", "graphs:0")),
    ("classifier.learning_rate", 0.5, since("classifier:0", "graphs:0")),
    ("classifier.held_out", 0.3, since("classifier:0", "graphs:0")),
    ("classifier.freeze_batchnorm", True, since("classifier:0", "graphs:0")),
    ("cams.scales", (1.0,), since("cams:0")),
    ("cams.method", "gradcam", since("cams:0")),
    ("cams.flip", False, since("cams:0")),
    ("cams.batch_size", 2, since("cams:0")),
    ("cams.negative_quantile", 0.9, since("cams:0")),
    ("seeds.background", "power", since("seeds:0", "scores of cams:0")),
    ("seeds.background_threshold", 0.2, since("seeds:0", "scores of cams:0")),
    ("seeds.foreground_threshold", 0.2, since("seeds:0")),
    ("seeds.margin", 0.1, since("seeds:0")),
    ("seeds.rule", "irn", since("seeds:0")),
    # they count beside another loss, another background and another rule
    ("segmenter.generalised_exponent", 0.2, set()),
    ("segmenter.symmetric_forward", 0.2, set()),
    ("segmenter.symmetric_reverse", 0.2, set()),
    ("seeds.background_quantile", 0.2, set()),
    ("seeds.irn_background_threshold", 0.2, set()),
    ("superpixels.count", 33, since("graph_fit:0", "superpixels:0", "graphs:0")),
    ("superpixels.smoothing", 0.1, since("graph_fit:0", "superpixels:0", "graphs:0")),
    ("growing.foreground_quantile", 0.2, since("growing:0")),
    ("growing.background_quantile", 0.2, since("growing:0")),
    ("growing.foreground_threshold", 0.2, since("growing:1")),
    ("growing.background_threshold", 0.2, since("growing:1")),
    ("growing.crf", False, since("growing:0")),
    ("graph.neighbours", 3, since("graph_fit:0", "graphs:0")),
    ("graph.adjacency", False, since("graph_fit:0")),
    ("graph.cam_input", False, since("graph_fit:0")),
    ("graph.epochs", 5, since("graph_fit:0")),
    ("graph.hidden", 32, since("graph_fit:0")),
    ("graph.laplacian_weight", 0.1, since("graph_fit:0")),
    # growing reads scores that passed through the same CRF
    ("crf.iterations", 3, since("growing:0")),
    ("crf.reference_side", None, since("growing:0")),
    ("pseudo_labels.ignore_below", 0.3, since("pseudo_labels:0")),
    ("pseudo_labels.confidence_weights", False, since("pseudo_labels:0")),
    ("segmenter.epochs", 3, LEARNING),
    ("segmenter.width", 64, LEARNING),
    ("segmenter.balance", 0.1, LEARNING),
    ("segmenter.crop", 64, LEARNING),
    ("segmenter.test_scales", (1.0,), LOOKING),
    ("segmenter.test_flip", False, LOOKING),
    ("self_training.watched", 0.4, LEARNING),
    ("self_training.least_area", 0.1, {"signal:0", "signal:1"}),
    ("self_training.foreground_threshold", 0.5, since("seeds:1")),
    ("self_training.background_threshold", 0.5, since("seeds:1")),
    ("self_training.tolerance", 0.5, set()),
    ("self_training.guard", 0.5, set()),
    ("ceiling", False, {"ceiling:0", "ceiling_predictions:0"}),
]


def expected_with_scores(titles: set[str]) -> set[str]:
    """A changed label map is measured anew."""
    measured = {f"scores of {title}" for title in titles} & keys(planned()).keys()
    return titles | measured


@pytest.mark.parametrize(("key", "value", "expected"), EXPECTED, ids=[f"{key}={value}" for key, value, _ in EXPECTED])
def test_a_setting_changes_its_stage_and_those_after_it_and_none_before(
    key: str, value: Any, expected: set[str]
) -> None:
    assert changed(with_setting(CONFIG, key, value)) == expected_with_scores(expected)


@pytest.mark.parametrize(
    ("loss", "name"),
    [("generalised", "generalised_exponent"), ("symmetric", "symmetric_forward"), ("symmetric", "symmetric_reverse")],
)
def test_what_steers_a_loss_trains_another_segmenter_on_the_same_labels(loss: str, name: str) -> None:
    plain = with_setting(CONFIG, "segmenter.loss", loss)
    # the ceiling learns by cross entropy
    expected = since("segmenter:0")
    assert changed(with_setting(plain, f"segmenter.{name}", 0.2), plain=plain) == expected_with_scores(expected)
    others = {"generalised_exponent", "symmetric_forward", "symmetric_reverse"} - set(LOSSES[loss])
    for other in others:
        assert changed(with_setting(plain, f"segmenter.{other}", 0.2), plain=plain) == set()


def test_a_hidden_layer_trains_another_classifier() -> None:
    config = with_setting(CONFIG, "cams.method", "gradcam")
    before, after = (keys(planned(one)) for one in (config, with_setting(config, "classifier.hidden", 64)))
    differing = {title for title in before if before[title] != after[title]}
    assert differing == expected_with_scores(since("classifier:0", "graphs:0"))


def test_a_network_of_timm_has_the_keys_of_the_weights_it_stands_for() -> None:
    plain, named, other = (
        keys(planned(with_setting(CONFIG, "network", f"timm/vit_tiny_patch16_224{tag}")))
        for tag in ("", ".augreg_in21k_ft_in1k", ".augreg_in21k")
    )
    assert plain == named
    assert {title for title in plain if plain[title] == other[title]} == {"superpixels:0"}


@pytest.mark.parametrize(("key", "value"), [("graph.passes", 3), ("graph.kept_weight", 0.25)])
def test_a_setting_that_only_predicting_reads_fits_no_network_again(key: str, value: Any) -> None:
    assert changed(with_setting(CONFIG, key, value)) == expected_with_scores(since("graph:0"))


ONLINE = with_setting(CONFIG, "segmenter.supervision", "dsrg")
"""The configuration whose segmenters learn from seeds that grow."""

SECOND_ROUND = {f"{name}:1" for name in ("scores", "seeds", "segmenter", "predictions", "signal")}
ONLINE_LEARNING = {"segmenter:0", "predictions:0", "signal:0", *SECOND_ROUND}


def test_seeds_that_grow_change_the_segmenter_and_leave_out_what_they_do_not_need() -> None:
    unneeded = {
        f"{name}:{round}" for name in ("growing", "graph_fit", "graph", "crf", "pseudo_labels") for round in (0, 1)
    }
    expected = since("segmenter:0") | unneeded | {"superpixels:0", "graphs:0"}
    assert changed(ONLINE) == expected_with_scores(expected)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("dsrg.foreground_threshold", 0.5, ONLINE_LEARNING),
        ("dsrg.crf.bilateral_sxy", 5.0, ONLINE_LEARNING),
        ("segmenter.epochs", 3, ONLINE_LEARNING | {"ceiling:0", "ceiling_predictions:0"}),
        # the loss of the seeds has a balance of its own; the ceiling has not
        ("segmenter.balance", 0.1, {"ceiling:0", "ceiling_predictions:0"}),
        ("seeds.foreground_threshold", 0.2, ONLINE_LEARNING | {"seeds:0"}),
        ("pseudo_labels.ignore_below", 0.3, set()),
        ("refine", ("crf",), set()),
    ],
)
def test_what_counts_where_seeds_grow(key: str, value: Any, expected: set[str]) -> None:
    assert changed(with_setting(ONLINE, key, value), plain=ONLINE) == expected_with_scores(expected)


def test_settings_of_seeds_that_grow_count_nowhere_else() -> None:
    assert changed(with_setting(CONFIG, "dsrg.stride", 4)) == set()


def test_the_precision_counts_wherever_a_network_looks() -> None:
    expected = since("classifier:0", *SIDE) - {"superpixels:0"}
    assert changed(CONFIG, precision="bf16-mixed") == expected_with_scores(expected)


def test_without_the_crf_in_growing_its_settings_count_later() -> None:
    config = replace(CONFIG, growing=GrowingSettings(crf=False))
    before, after = (keys(planned(one)) for one in (config, replace(config, crf=CrfSettings(iterations=3))))
    differing = {title for title in before if before[title] != after[title]}
    assert differing == expected_with_scores(since("crf:0"))


@pytest.mark.parametrize(
    "config",
    [
        replace(CONFIG, trainer=TrainerSettings(devices=4)),
        replace(CONFIG, trainer=TrainerSettings(workers=3, threads=7, accelerator="cpu")),
        replace(CONFIG, store=StoreSettings(root="elsewhere")),
        replace(CONFIG, tracking=TrackingSettings(mode="none", project="other", entity="team")),
        replace(CONFIG, run="name", until="crf", start="seeds", experiment="voc21"),
    ],
    ids=["devices", "processes", "store", "tracking", "run"],
)
def test_what_can_not_change_a_result_changes_no_key(config: Config) -> None:
    assert changed(config) == set()


def test_the_name_of_the_data_set_changes_no_key() -> None:
    renamed = DrawnDataset(PICTURES)
    renamed.name = "elsewhere"
    assert changed(CONFIG, renamed) == set()


def test_more_rounds_leave_those_before_them_alone() -> None:
    two, four = keys(planned()), keys(planned(replace(CONFIG, rounds=4)))
    assert two.items() <= four.items()
    assert {title.partition(":")[2] for title in four.keys() - two.keys()} == {"2", "3"}


def test_a_second_round_keeps_images_from_the_segmenter_to_watch() -> None:
    one, two = keys(planned(replace(CONFIG, rounds=1))), keys(planned())
    assert {title for title in one if one[title] != two[title]} == {
        *("segmenter:0", "predictions:0", "ceiling:0", "ceiling_predictions:0"),
        *("scores of predictions:0", "scores of ceiling_predictions:0"),
    }


def test_refine_lists_share_what_they_begin_with() -> None:
    short, long = (keys(planned(Config(refine=refine))) for refine in (("growing",), ("growing", "graph")))
    assert short["growing:0"] == long["growing:0"]
    assert short["pseudo_labels:0"] != long["pseudo_labels:0"]
    other = keys(planned(Config(refine=("graph", "growing"))))
    assert other["graph:0"] != long["graph:0"]


def weighted(path: Path, segmenter: Path | None = None) -> Config:
    config = with_setting(CONFIG, "classifier.weights", str(path))
    return with_setting(config, "segmenter.weights", str(segmenter) if segmenter else None)


def write_weights(path: Path, seed: int) -> None:
    torch.manual_seed(seed)
    torch.save(models.get_model(CONFIG.network).state_dict(), path)


def test_the_content_of_the_weights_counts_and_not_their_place(tmp_path: Path) -> None:
    write_weights(tmp_path / "a.pth", 1)
    write_weights(tmp_path / "c.pth", 2)
    shutil.copy(tmp_path / "a.pth", tmp_path / "b.pth")
    a, b, c = (keys(planned(weighted(tmp_path / name))) for name in ("a.pth", "b.pth", "c.pth"))
    assert a == b
    assert {title for title in a if a[title] == c[title]} == {"superpixels:0"}


def test_a_segmenter_that_starts_from_the_classifier_follows_it() -> None:
    started = with_setting(CONFIG, "segmenter.weights", "classifier")
    assert changed(started) == expected_with_scores(LEARNING)
    longer = with_setting(started, "classifier.epochs", 3)
    assert {"ceiling:0", "ceiling_predictions:0", "segmenter:0"} <= changed(longer, plain=started)
    points = replace(CONFIG, labels=LabelSettings(kinds=("tags", "points")), segmenter=SPARSE)
    assert "segmenter:0" not in changed(with_setting(points, "classifier.epochs", 3), plain=points)
    started = with_setting(points, "segmenter.weights", "classifier")
    assert "segmenter:0" in changed(with_setting(started, "classifier.epochs", 3), plain=started)


def test_the_segmenter_starts_from_the_weights_of_the_classifier_unless_told(tmp_path: Path) -> None:
    write_weights(tmp_path / "a.pth", 1)
    write_weights(tmp_path / "b.pth", 2)
    silent = keys(planned(weighted(tmp_path / "a.pth")))
    assert keys(planned(weighted(tmp_path / "a.pth", tmp_path / "a.pth"))) == silent
    other = keys(planned(weighted(tmp_path / "a.pth", tmp_path / "b.pth")))
    assert {title for title in silent if silent[title] != other[title]} == expected_with_scores(LEARNING)
