"""What is planned: which stages, in which order, each reading what; and what truth has a say in."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.drawing import picture
from tests.plans import CONFIG, DATA, PICTURES, changed, keys, planned, stages, steps
from tests.stages.workshop import DrawnDataset, enlarged, workbench
from tests.toy_run import TOY, quietly
from wsss.annotations import Annotation, Box, Boxes, Point, Points
from wsss.annotations.cost import CostSettings
from wsss.annotations.settings import LabelSettings, NoiseSettings, PointSettings
from wsss.config import Config, load
from wsss.data.labelled import with_labels
from wsss.data.manifests import write_manifest
from wsss.functional.seeds import SeedSettings
from wsss.functional.spreading import SpreadSettings
from wsss.stages.base import carry_out
from wsss.stages.evaluate import evaluate
from wsss.tasks.settings import GraphSettings, SegmenterSettings
from wsss.types import LabelMap

SHORT = ("classifier.epochs=2", "graph.epochs=1", "segmenter.epochs=1", "self_training.watched=0.3")
SCENES = {
    "cat": picture("01", "01"),
    "dog": picture("22", "00"),
    "both": picture("10", "22"),
    "val": picture("12", "00"),
}
BEFORE = ["classifier:0", "cams:0", "seeds:0"]
AFTER = ["pseudo_labels", "segmenter", "predictions"]


def titles(refine: Sequence[str], rounds: int = 1, *, ceiling: bool = False) -> list[str]:
    return list(steps(planned(Config(refine=tuple(refine), rounds=rounds, ceiling=ceiling))))


@pytest.mark.parametrize(
    ("refine", "between"),
    [
        ([], []),
        (["growing"], ["growing"]),
        (["crf"], ["crf"]),
        (["graph"], ["superpixels", "graphs", "graph_fit", "graph"]),
        (["growing", "graph", "crf"], ["growing", "superpixels", "graphs", "graph_fit", "graph", "crf"]),
        (["crf", "graph"], ["crf", "superpixels", "graphs", "graph_fit", "graph"]),
    ],
)
def test_refiners_run_in_the_order_of_the_list(refine: list[str], between: list[str]) -> None:
    assert titles(refine) == [*BEFORE, *(f"{name}:0" for name in [*between, *AFTER])]


def test_a_network_that_counts_for_nothing_is_not_fitted() -> None:
    config = Config(refine=("graph",), rounds=1, ceiling=False, graph=GraphSettings(network_weight=0.0))
    assert list(steps(planned(config)))[3:6] == ["superpixels:0", "graphs:0", "graph:0"]


def test_later_rounds_start_from_the_segmenter_and_cut_no_images_again() -> None:
    rounds = [
        [*BEFORE, *(f"{name}:0" for name in ["superpixels", "graphs", "graph_fit", "graph", *AFTER, "signal"])],
        [f"{name}:1" for name in ["scores", "seeds", "graph_fit", "graph", *AFTER, "signal"]],
        [f"{name}:2" for name in ["scores", "seeds", "graph_fit", "graph", *AFTER, "signal"]],
    ]
    found = planned(Config(refine=("graph",), rounds=3)).rounds
    assert [[step.stage.title for step in round.steps] for round in found] == rounds
    assert titles(["graph"], rounds=3) == [title for round in rounds for title in round]


def test_seeds_that_grow_need_no_refiner_and_no_pseudo_labels() -> None:
    config = Config(rounds=2, ceiling=True, segmenter=SegmenterSettings(supervision="dsrg"))
    found = planned(config)
    assert list(steps(found)) == [
        *("classifier:0", "cams:0", "seeds:0", "segmenter:0", "predictions:0", "signal:0"),
        *("scores:1", "seeds:1", "segmenter:1", "predictions:1", "signal:1", "ceiling:0", "ceiling_predictions:0"),
    ]
    reads = {title: {part: read.title for part, read in stage.reads.items()} for title, stage in stages(found).items()}
    assert [reads[f"segmenter:{round}"] for round in (0, 1)] == [{"seeds": "seeds:0"}, {"seeds": "seeds:1"}]
    assert reads["scores:1"] == {"segmenter": "segmenter:0"}
    # the ceiling is that of any run
    assert (
        stages(found)["ceiling:0"].key
        == stages(planned(replace(config, segmenter=SegmenterSettings())))["ceiling:0"].key
    )


def test_the_ceiling_comes_last() -> None:
    assert titles([], ceiling=True)[-2:] == ["ceiling:0", "ceiling_predictions:0"]
    assert not planned(Config(ceiling=False)).ceiling


def test_a_stage_comes_after_all_that_it_reads() -> None:
    for refine in (["growing", "graph", "crf"], ["graph", "growing"]):
        seen: set[str] = set()
        for step in planned(Config(refine=tuple(refine), rounds=3, ceiling=True)):
            assert {stage.key for stage in step.stage.reads.values()} <= seen
            seen.add(step.stage.key)


def read_by(title: str, *refine: str, rounds: int = 1) -> dict[str, str]:
    stage = stages(planned(Config(refine=refine, rounds=rounds)))[title]
    return {part: read.title for part, read in stage.reads.items()}


def test_each_refiner_reads_what_the_last_one_changed() -> None:
    every = ("growing", "graph", "crf")
    assert read_by("growing:0", *every) == {"scores": "seeds:0", "seeds": "seeds:0"}
    assert read_by("graph_fit:0", *every) == {
        "scores": "seeds:0",
        "seeds": "growing:0",
        "superpixels": "superpixels:0",
        "graphs": "graphs:0",
    }
    assert read_by("graph:0", *every) == read_by("graph_fit:0", *every) | {"fitted": "graph_fit:0"}
    assert read_by("crf:0", *every) == {"scores": "graph:0", "seeds": "growing:0"}
    assert read_by("pseudo_labels:0", *every) == {"labels": "crf:0", "scores": "crf:0"}
    assert read_by("graph:0", "crf", "graph")["scores"] == "crf:0"
    assert read_by("growing:0", "crf", "growing") == {"scores": "crf:0", "seeds": "seeds:0"}


def test_where_seeds_come_last_they_alone_are_the_labels() -> None:
    assert read_by("pseudo_labels:0") == {"labels": "seeds:0"}
    assert read_by("pseudo_labels:0", "crf", "growing") == {"labels": "growing:0"}


def test_the_next_round_starts_from_the_last_segmenter() -> None:
    assert read_by("scores:1", rounds=3) == {"segmenter": "segmenter:0"}
    assert read_by("scores:2", rounds=3) == {"segmenter": "segmenter:1"}
    assert read_by("seeds:2", rounds=3) == {"scores": "scores:2"}
    assert read_by("growing:2", "growing", rounds=3) == {"scores": "scores:2", "seeds": "seeds:2"}
    assert read_by("pseudo_labels:1", rounds=2) == {"labels": "seeds:1"}


def test_every_signal_is_guarded_by_the_seeds_of_the_first_round() -> None:
    for round in range(3):
        assert read_by(f"signal:{round}", rounds=3) == {"segmenter": f"segmenter:{round}", "seeds": "seeds:0"}
    assert "signal:0" not in stages(planned(Config(rounds=1)))


def test_every_label_map_is_measured_where_it_belongs() -> None:
    measured = {title: step.scored for title, step in steps(planned()).items()}
    assert {title for title, stage in measured.items() if stage is None} == {
        *("classifier:0", "superpixels:0", "graphs:0", "ceiling:0"),
        *(f"{name}:{round}" for name in ("graph_fit", "segmenter", "signal") for round in (0, 1)),
    }
    for title, stage in measured.items():
        if stage is not None:
            on_val = "predictions" in title
            assert stage.name == ("evaluate_cams" if title == "cams:0" else "evaluate")
            assert stage.data == {"truth": DATA.fingerprint("val" if on_val else "train", truth=True)}
            assert on_val == bool(stage.settings.get("boundary"))


def test_the_truth_of_the_training_images_is_for_measuring_alone() -> None:
    truth: dict[str, LabelMap | None] = {"image 0": None, "image 1": torch.zeros_like(PICTURES["image 1"])}
    found = changed(CONFIG, DrawnDataset(PICTURES, truth=truth))
    measured = {title for title in keys(planned()) if title.startswith("scores of ")}
    on_val = {f"scores of predictions:{round}" for round in (0, 1)}
    assert found == {"ceiling:0", "ceiling_predictions:0", *measured} - on_val


def test_the_truth_of_the_validation_images_is_for_measuring_alone() -> None:
    found = changed(CONFIG, DrawnDataset(PICTURES, truth={"val 1": None}))
    assert found == {f"scores of {title}" for title in ("predictions:0", "predictions:1", "ceiling_predictions:0")}


def test_tags_are_evidence_for_everything() -> None:
    found = changed(CONFIG, DrawnDataset(PICTURES, tags={"image 0": None}))
    truth_only = {"ceiling:0", "ceiling_predictions:0", "scores of ceiling_predictions:0"}
    assert found >= keys(planned()).keys() - truth_only


def test_published_cues_come_first_and_only_the_seeds_read_them(tmp_path: Path) -> None:
    for name in ("cues", "ids"):
        (tmp_path / name).write_text(name)
    given = SeedSettings(cues=str(tmp_path / "cues"), cue_ids=str(tmp_path / "ids"))
    found = planned(replace(CONFIG, seeds=given))
    assert [step.stage.title for step in found][:4] == ["cues:0", "classifier:0", "cams:0", "seeds:0"]
    readers = {title for title, stage in stages(found).items() if "cues:0" in {s.title for s in stage.reads.values()}}
    assert readers == {"seeds:0"}
    assert steps(found)["cues:0"].scored is None


def labelled(*kinds: str, **others: Any) -> Config:
    return replace(CONFIG, labels=LabelSettings(kinds=kinds, **others))


def test_what_labels_settle_comes_first_and_all_that_makes_labels_reads_it() -> None:
    found = planned(labelled("points"))
    assert [step.stage.title for step in found][:4] == ["annotations:0", "classifier:0", "cams:0", "seeds:0"]
    readers = {
        title for title, stage in stages(found).items() if "annotations" in stage.reads and "scores of" not in title
    }
    made = {"seeds", "growing", "graph", "graph_fit", "crf", "pseudo_labels"}
    assert readers == {f"{name}:{round}" for name in made for round in (0, 1)} | {"scores:1"}
    assert "annotations:0" not in keys(planned())
    assert steps(found)["annotations:0"].scored is not None


def test_labels_of_pixels_need_no_classifier_where_a_segmenter_learns_from_them_alone() -> None:
    config = replace(labelled("scribbles"), segmenter=SegmenterSettings(supervision="sparse"))
    found = planned(config)
    assert list(steps(found)) == [
        *("annotations:0", "segmenter:0", "predictions:0", "signal:0"),
        *("scores:1", "seeds:1", "segmenter:1", "predictions:1", "signal:1", "ceiling:0", "ceiling_predictions:0"),
    ]
    assert stages(found)["segmenter:0"].reads == {"seeds": stages(found)["annotations:0"]}
    assert stages(found)["segmenter:1"].reads == {"seeds": stages(found)["seeds:1"]}
    assert stages(found)["signal:1"].reads["seeds"].title == "annotations:0"
    one = planned(replace(config, rounds=1, ceiling=False))
    assert list(steps(one)) == ["annotations:0", "segmenter:0", "predictions:0"]


@pytest.mark.parametrize(
    "settings",
    [
        LabelSettings(points=PointSettings(radius=9, per="class")),
        LabelSettings(spread=SpreadSettings(reach=1.0)),
        LabelSettings(cost=CostSettings(box=35.0)),
        LabelSettings(seed=5),
        LabelSettings(noise=NoiseSettings(missed_clicks=0.5, box_jitter=0.5)),
    ],
)
def test_settings_of_other_labels_change_nothing_where_training_sees_tags_alone(settings: LabelSettings) -> None:
    assert changed(replace(CONFIG, labels=settings)) == set()


def test_kinds_of_labels_share_what_hears_tags_alone() -> None:
    plain, points, boxes = (keys(planned(config)) for config in (CONFIG, labelled("points"), labelled("boxes")))
    shared = {"classifier:0", "cams:0", "superpixels:0", "graphs:0", "ceiling:0", "ceiling_predictions:0"}
    for one, other in ((plain, points), (plain, boxes), (points, boxes)):
        same = {title for title in one if one[title] == other.get(title)}
        assert {title for title in same if "scores of" not in title} == shared


@pytest.mark.parametrize(
    "config",
    [
        *(labelled(kind) for kind in ("points", "scribbles", "boxes")),
        labelled("tags", masks=2),
        labelled("tags", budget_seconds=5.0),
        labelled("boxes", budget_seconds=50.0),
        labelled("tags", noise=NoiseSettings(wrong_tags=1.0, missing_tags=1.0)),
        replace(labelled("points"), segmenter=SegmenterSettings(supervision="sparse")),
    ],
)
def test_full_supervision_is_the_same_for_all_labels_and_budgets(config: Config) -> None:
    before, after = keys(planned()), keys(planned(config))
    for title in ("ceiling:0", "ceiling_predictions:0", "scores of ceiling_predictions:0"):
        assert before[title] == after[title]
    assert before["segmenter:0"] != after["segmenter:0"]


def started(config: Config = CONFIG, **learning: Any) -> Config:
    """The configuration, with segmenters that start from the trained classifier."""
    return replace(config, segmenter=SegmenterSettings(weights="classifier", **learning))


@pytest.mark.parametrize(
    ("config", "classifiers"),
    [
        (CONFIG, 1),
        (labelled("points"), 1),
        (labelled("tags", masks=2), 1),
        # the run's own classifier sees fewer tags, or wrong ones
        (labelled("tags", budget_seconds=5.0), 2),
        (labelled("tags", noise=NoiseSettings(wrong_tags=1.0, missing_tags=1.0)), 2),
    ],
)
def test_full_supervision_starts_from_the_same_classifier_for_all_labels_and_budgets(
    config: Config, classifiers: int
) -> None:
    found, plain = planned(started(config)), planned(started())
    ceiling = stages(found)["ceiling:0"]
    assert ceiling.key == stages(plain)["ceiling:0"].key != stages(planned())["ceiling:0"].key
    trained = [step.stage for step in found if step.stage.name == "classifier"]
    assert len(trained) == classifiers
    assert [trained[0].key, trained[-1].key] == [
        stages(found)["segmenter:0"].reads["start"].key,
        ceiling.reads["start"].key,
    ]


def test_a_ceiling_without_tags_of_its_own_starts_from_the_classifier_of_the_labels() -> None:
    untagged = DrawnDataset(PICTURES, tags=dict.fromkeys(PICTURES))
    found = planned(started(labelled("points")), untagged)
    assert stages(found)["ceiling:0"].reads["start"].key == stages(found)["classifier:0"].key


@pytest.mark.parametrize("supervision", ["pseudo_labels", "dsrg", "sparse"])
def test_segmenters_of_every_supervision_and_round_start_from_the_classifier(supervision: str) -> None:
    found = planned(started(labelled("points"), supervision=supervision))
    names = [step.stage.title for step in found]
    for round in (0, 1):
        assert stages(found)[f"segmenter:{round}"].reads["start"] is stages(found)["classifier:0"]
    assert names.index("classifier:0") < names.index("segmenter:0")
    assert names.count("classifier:0") == 1


class Blindfolded(DrawnDataset):
    """Images whose truth nobody may look at."""

    def truth(self, id: str) -> LabelMap | None:
        raise AssertionError(f"the truth of '{id}' was looked at")

    def _truth_digest(self, id: str) -> bytes:
        # what measures is planned with the rest
        return id.encode()


SHOWN = {f"{name} {number}": enlarged(drawn, 16) for name, drawn in SCENES.items() for number in range(3)}
GIVEN = {
    "cat 0": Annotation(points=Points((Point(1, 8, 24), Point(0, 8, 4)))),
    "cat 1": Annotation(boxes=Boxes((Box(1, 0, 16, 32, 32),)), tags_complete=True),
    "dog 0": Annotation(points=Points((Point(2, 8, 8),)), tags_complete=True),
    "both 0": Annotation(boxes=Boxes((Box(1, 0, 0, 16, 16), Box(2, 16, 0, 32, 32))), tags_complete=True),
}


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(("rounds=2",), id="tags"),
        pytest.param(("rounds=1", "labels.kinds=[tags,points,boxes]", "labels.source=manifest"), id="a manifest"),
    ],
)
def test_nothing_that_learns_or_labels_looks_at_the_truth(settings: tuple[str, ...], tmp_path: Path) -> None:
    if "labels.source=manifest" in settings:
        write_manifest(tmp_path / "labels.json", GIVEN, DATA.classes)
        settings += (f"labels.manifest={tmp_path / 'labels.json'}",)
    config = load([*TOY, "refine=[growing,graph,crf]", "ceiling=false", *SHORT, *settings])
    data = with_labels(Blindfolded(SHOWN), config.labels)
    bench, done = workbench(tmp_path, data), set()
    with quietly():
        for step in planned(config, Blindfolded(SHOWN)):
            carry_out(step.stage, bench)
            done.add(step.stage.name)
    expected = {"classifier", "cams", "seeds", "growing", "superpixels", "graphs", "graph_fit", "graph", "crf"}
    assert done >= expected | {"pseudo_labels", "segmenter", "predictions"}
    assert ("annotations" in done) == ("labels.source=manifest" in settings)
    assert ({"scores", "signal"} <= done) == ("rounds=2" in settings)
    with pytest.raises(AssertionError, match="was looked at"):
        carry_out(evaluate(data, step.stage, "val"), bench)


def test_the_truth_is_not_read_where_labels_come_from_a_manifest(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    write_manifest(path, {"image 0": Annotation(points=Points((Point(1, 0, 5),)))}, DATA.classes)
    config = labelled("points", source="manifest", manifest=str(path))
    found = changed(config, DrawnDataset(PICTURES, truth=dict.fromkeys(PICTURES)), plain=config)
    assert all(title.startswith(("scores of ", "ceiling")) for title in found)
