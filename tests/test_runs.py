import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
import yaml
from PIL import Image as PillowImage

import wsss
from tests import wandb_files
from tests.data.toys import box_outline, make_coco, make_voc
from tests.toy_run import DRAWN, TOY, files_below, run_toy
from wsss.cli import main
from wsss.config import from_dict, load
from wsss.errors import SettingsError, StageError, StoreError, WsssError
from wsss.functional.confusion import confusion_matrix, mean_iou
from wsss.pipeline import plan
from wsss.runs import Run, dry_run, load_run
from wsss.store import encode_labels
from wsss.tracking import read_metrics

FIRST_ROUND = (
    "classifier",
    "cams",
    "seeds",
    "growing",
    "superpixels",
    "graphs",
    "graph_fit",
    "graph",
    "crf",
    "pseudo_labels",
    "segmenter",
    "predictions",
    "signal",
)
SECOND_ROUND = (
    "scores",
    "seeds",
    "growing",
    "graph_fit",
    "graph",
    "crf",
    "pseudo_labels",
    "segmenter",
    "predictions",
    "signal",
)
CEILING = ("ceiling", "ceiling_predictions")
STAGES = [
    *((name, 0) for name in FIRST_ROUND),
    *((name, 1) for name in SECOND_ROUND),
    *((name, 0) for name in CEILING),
]
SCORES = ("miou", "pixel_accuracy", "coverage", "precision")
ONE_ROUND = ("rounds=1", "ceiling=false")


@pytest.fixture
def root(toy: Run, tmp_path: Path) -> Path:
    """A copy of everything that the finished run has written, free to be spoilt."""
    return Path(shutil.copytree(toy.folder.parent, tmp_path / "runs", symlinks=True))


@pytest.fixture
def unended(toy: Run, root: Path) -> Path:
    """The same as if the run had been killed after its last stage, before it wrote its summary."""
    (root / toy.folder.name / "summary.json").unlink()
    return root


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A folder of images and tags, no masks: with an image of one pixel, one that is narrow, and odd tags."""
    folder = tmp_path / "photographs"
    (folder / "images").mkdir(parents=True)
    generator = np.random.default_rng(0)
    lines = ["image,tags"]
    sizes = [(30, 34), (34, 30), (33, 33), (30, 30), (3, 40), (1, 1), (32, 28)]
    tags = ["cat", "dog", "cat;dog", "", "dog", "cat", None]
    for index, (size, words) in enumerate(zip(sizes, tags, strict=True)):
        pixels = generator.integers(0, 255, (*size, 3), dtype=np.uint8)
        pixels[: size[0] // 2, :, index % 3] = 255
        PillowImage.fromarray(pixels).save(folder / "images" / f"{index}.png")
        lines += [] if words is None else [f"{index}.png,{words}"]
    (folder / "tags.csv").write_text("\n".join(lines))
    return folder


def keys_of(*settings: str, data: tuple[str, ...] = DRAWN) -> dict[str, str]:
    """Key of each stage that a dry run lists."""
    lines = dry_run(load([*TOY, *data, "store.root=nowhere", *settings])).splitlines()[3:]
    return {line.split()[0]: line.split()[1] for line in lines}


def work_of(run: Run) -> list[tuple[str, int, bool]]:
    return [(row["name"], row["round"], row["cached"]) for row in run.summary["work"]]


def remove(run: Run, root: Path, *stages: str) -> None:
    """Take artefacts out of a copy of the store."""
    for step in run.plan:
        if step.stage.name in stages or step.stage.title in stages:
            shutil.rmtree(root / "store" / step.stage.name / step.stage.key)


def modified(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_the_summary_says_what_was_run_on_what(toy: Run) -> None:
    summary = toy.summary
    assert json.loads((toy.folder / "summary.json").read_bytes()) == summary
    assert (summary["run"], summary["config"], summary["seed"]) == (toy.folder.name, toy.config.hash, 0)
    fingerprint = toy.dataset.fingerprint("train")
    assert summary["data"] == {"name": "synthetic", "fingerprint": fingerprint, "train": 12, "val": 4}
    assert {"git", "torch", "device", "world_size"} <= set(summary["environment"])
    assert summary["environment"]["world_size"] == 1


def test_the_summary_has_a_row_for_every_label_map_of_every_round(toy: Run) -> None:
    rows = toy.summary["stages"]
    labelled = [("cams", 0), ("cams_oracle", 0)]
    labelled += [(name, 0) for name in ("seeds", "growing", "graph", "crf", "pseudo_labels")]
    labelled += [(name, 1) for name in ("scores", "seeds", "growing", "graph", "crf", "pseudo_labels")]
    assert [(row["name"], row["round"]) for row in rows] == labelled
    for row in rows:
        assert row["split"] == "train"
        assert row["cached"] is False
        assert min(row["seconds"], row["images_per_second"], row["peak_memory_mb"]) > 0
        for name in ("miou", "pixel_accuracy", "coverage"):
            assert 0 <= row[name] <= 100
    by_name = {(row["name"], row["round"]): row for row in rows}
    assert by_name["cams_oracle", 0]["miou"] >= by_name["cams", 0]["miou"] > 0
    assert by_name["seeds", 0]["coverage"] <= by_name["growing", 0]["coverage"] < 100
    assert by_name["crf", 0]["coverage"] == 100


def test_the_summary_ends_with_the_segmenter_and_its_share_of_full_supervision(toy: Run) -> None:
    segmenter, full = toy.summary["segmenter"], toy.summary["full_supervision"]
    assert (segmenter["round"], segmenter["split"]) == (1, "val")
    low, high = segmenter["interval95"]
    assert 0 <= low <= segmenter["miou"] <= high <= 100
    assert 0 <= segmenter["pixel_accuracy"] <= 100
    assert 0 <= segmenter["boundary_iou"] <= 100
    assert set(segmenter["per_class"]) <= {"background", *toy.dataset.classes}
    assert np.mean(list(segmenter["per_class"].values())) == pytest.approx(segmenter["miou"], abs=0.01)
    assert toy.summary["percent_of_full"] == pytest.approx(100 * segmenter["miou"] / full["miou"], rel=0.01)


def test_the_summary_tells_the_signal_of_each_round_and_what_the_rule_made_of_it(toy: Run) -> None:
    rounds = toy.summary["rounds"]
    assert [(row["round"], row["kept"]) for row in rounds] == [(0, True), (1, True)]
    for row in rounds:
        assert set(row["signal"]) == {"tag_f1", "consistency", "seed_agreement", "trust"}
        assert all(0 <= value <= 1 for value in row["signal"].values())
        assert row["reason"]
    assert rounds[1]["miou"] == toy.summary["segmenter"]["miou"]


def test_a_run_keeps_its_configuration(toy: Run) -> None:
    assert from_dict(yaml.safe_load((toy.folder / "run.yaml").read_text())) == toy.config
    assert toy.config == load([*TOY, *DRAWN, f"store.root={toy.folder.parent}"])


def test_every_epoch_of_every_training_is_a_row_of_the_metrics(toy: Run) -> None:
    rows = [row for row in read_metrics(toy.folder) if "epoch" in row]
    trained = {
        "classifier:0": 12,
        "graph_fit:0": 2,
        "segmenter:0": 2,
        "graph_fit:1": 2,
        "segmenter:1": 2,
        "ceiling:0": 2,
    }
    assert [(row["stage"], row["epoch"]) for row in rows] == [
        (stage, epoch) for stage, epochs in trained.items() for epoch in range(epochs)
    ]
    assert all(np.isfinite(row["loss"]) for row in rows)


def test_figures_are_drawn(toy: Run) -> None:
    for name in ("strips_train", "strips_val", "curves"):
        with PillowImage.open(toy.folder / "figures" / f"{name}.png") as figure:
            assert figure.width > 300
            assert len(figure.convert("RGB").getcolors(figure.width * figure.height) or []) > 50


def test_numbered_links_lead_to_the_artefacts_in_their_order(toy: Run) -> None:
    links = sorted(path for path in toy.folder.iterdir() if path.is_symlink())
    assert [link.name for link in links] == [
        f"{place:02d}_{name}_{round}" for place, (name, round) in enumerate(STAGES, 1)
    ]
    for link, step in zip(links, toy.plan, strict=True):
        assert not link.readlink().is_absolute()
        assert link.resolve() == (toy.folder.parent / "store" / step.stage.name / step.stage.key).resolve()
        assert (link / "manifest.json").is_file()


def test_nothing_but_finished_artefacts_is_left_in_the_store(toy: Run) -> None:
    names = files_below(toy.folder.parent / "store")
    assert not [name for name in names if "/." in name]
    folders = {tuple(name.split("/")[:2]) for name in names}
    assert all(f"{stage}/{key}/manifest.json" in names for stage, key in folders)


def test_a_second_call_computes_nothing(toy: Run, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("nothing is left to do")

    monkeypatch.setattr("wsss.stages.base._work", fail)
    before = modified(root / "store") | modified(root / toy.folder.name / "figures")
    again = run_toy(root, figures=True)
    assert modified(root / "store") | modified(root / toy.folder.name / "figures") == before
    assert work_of(again) == [(name, round, True) for name, round in STAGES]
    assert (again.folder / "metrics.jsonl").read_bytes() == (toy.folder / "metrics.jsonl").read_bytes()
    for first, second in zip(toy.summary["stages"], again.summary["stages"], strict=True):
        assert {name: second[name] for name in SCORES} == {name: first[name] for name in SCORES}
        assert second["cached"] is True
    assert {**again.summary, "stages": [], "work": []} == {**toy.summary, "stages": [], "work": []}


@pytest.mark.parametrize(
    ("setting", "first"),
    [
        ("cams.flip=false", "cams:0"),
        ("seeds.foreground_threshold=0.6", "seeds:0"),
        ("graph.hidden=32", "graph_fit:0"),
        ("pseudo_labels.ignore_below=0.4", "pseudo_labels:0"),
        ("segmenter.learning_rate=0.5", "segmenter:0"),
        ("segmenter.test_flip=false", "predictions:0"),
        ("self_training.background_threshold=0.3", "seeds:1"),
        ("self_training.tolerance=0.3", None),
        ("trainer.devices=2", None),
        ("trainer.threads=2", None),
        ("tracking.mode=offline", None),
    ],
)
def test_stages_before_a_changed_setting_keep_their_keys(setting: str, first: str | None) -> None:
    before, after = keys_of("ceiling=false"), keys_of("ceiling=false", setting)
    changed = [stage for stage in before if before[stage] != after[stage]]
    assert list(before) == list(after) == [f"{name}:{round}" for name, round in STAGES[: -len(CEILING)]]
    assert (changed[0] if changed else None) == first


def test_wandb_keeps_masks_scores_of_classes_and_a_reference_for_every_stage_that_works(toy: Run, root: Path) -> None:
    worked = {"cams:0", "seeds:0", "crf:1", "predictions:1"}
    remove(toy, root, *worked, "graphs:0")
    run = run_toy(root, "tracking.mode=offline")
    kept = wandb_files.stages(run.folder)
    assert set(kept) == worked | {"graphs:0"}
    for title, records in kept.items():
        name, round = title.split(":")
        artefact = run.artefact(name, int(round))
        assert artefact is not None
        listing = (artefact.folder / "manifest.json").resolve().as_uri()
        assert wandb_files.references(records) == [(name, "stage", listing)]
        logged = wandb_files.history(records)
        assert ("per_class" in logged) == (title in worked)
        split = "val" if name == "predictions" else "train"
        images = [value for key, value in logged.items() if key.startswith(f"{split}/")]
        assert len(images) == (4 if title in worked else 0)
        for image in images:
            given, true = (masks_of(run, image, layer) for layer in ("prediction", "ground_truth"))
            assert torch.equal(true, truth_of(run, image["caption"]))
            if name == "cams":
                assert set(given.unique().tolist()) <= set(run.dataset.possible(image["caption"]))
            else:
                assert torch.equal(given, artefact.read_labels(image["caption"]))
    per_class = next(row for row in read_metrics(run.folder) if row.get("table") and row["stage"] == "predictions:1")
    ious = {row[0]: row[1] for row in per_class["rows"] if row[1] is not None}
    assert ious == run.summary["segmenter"]["per_class"]


def truth_of(run: Run, image: str) -> torch.Tensor:
    truth = run.dataset.truth(image)
    assert truth is not None
    return truth


def masks_of(run: Run, logged: dict[str, Any], layer: str) -> torch.Tensor:
    # named by its content, so that stages that say the same have files of one name
    files = run.folder.glob(f"wandb/offline-run-*/files/{logged['masks'][layer]['path']}")
    with PillowImage.open(next(files)) as mask:
        return torch.from_numpy(np.array(mask))


def test_two_runs_that_differ_in_the_crf_share_everything_before_it(root: Path) -> None:
    # the refiner `growing` uses the CRF itself unless told not to
    common = (*ONE_ROUND, "growing.crf=false", "until=crf")
    run_toy(root, *common)
    before, after = keys_of(*common), keys_of(*common, "crf.iterations=2")
    names = [f"{name}:0" for name in FIRST_ROUND[:9]]
    assert [stage for stage in names if before[stage] != after[stage]] == ["crf:0"]
    ablation = run_toy(root, *common, "crf.iterations=2")
    assert work_of(ablation) == [(name, 0, name != "crf") for name in FIRST_ROUND[:9]]


def test_rounds_and_refiners_share_what_they_have_in_common() -> None:
    whole, short = keys_of(), keys_of("rounds=1", "refine=[growing]")
    shared = [stage for stage in short if short[stage] == whole.get(stage)]
    assert shared == ["classifier:0", "cams:0", "seeds:0", "growing:0"]


def test_a_dry_run_tells_what_is_cached(toy: Run, root: Path) -> None:
    remove(toy, root, "crf:1", "ceiling")
    lines = dry_run(replace(toy.config, store=replace(toy.config.store, root=str(root)))).splitlines()
    states = {line.split()[0]: line.split(maxsplit=2)[2] for line in lines[3:]}
    assert list(states) == [f"{name}:{round}" for name, round in STAGES]
    assert {stage for stage, state in states.items() if state == "to do"} == {"crf:1", "ceiling:0"}
    assert {states[stage] for stage in states if stage not in ("crf:1", "ceiling:0")} == {"cached"}


@pytest.mark.parametrize(
    ("until", "last"), [("seeds", 3), ("seeds:0", 3), ("crf", 9), ("seeds:1", 15), ("ceiling", 24), ("signal:0", 13)]
)
def test_until_names_the_last_stage(unended: Path, until: str, last: int) -> None:
    run = run_toy(unended, f"until={until}")
    assert work_of(run) == [(name, round, True) for name, round in STAGES[:last]]


def test_a_run_that_ends_before_its_segmenter_measures_what_there_is(toy: Run, unended: Path) -> None:
    root = unended
    remove(toy, root, *(name for name, _ in STAGES[2:]))
    run = run_toy(root, "until=seeds")
    assert [row["name"] for row in run.summary["stages"]] == ["cams", "cams_oracle", "seeds"]
    assert run.summary["segmenter"] is run.summary["full_supervision"] is run.summary["percent_of_full"] is None
    made = {path.name for path in (root / "store").iterdir() if any(path.iterdir())}
    assert made == {"classifier", "cams", "evaluate_cams", "seeds", "evaluate", "price"}
    assert "no segmenter was evaluated" in run.table()


def test_start_refuses_when_an_earlier_stage_is_not_in_the_store(toy: Run, root: Path) -> None:
    remove(toy, root, "graphs")
    with pytest.raises(StageError, match=r"start=crf needs graphs:0, .* run with start=graphs:0, or without start"):
        run_toy(root, "start=crf")


def test_start_goes_on_from_what_is_in_the_store(toy: Run, unended: Path) -> None:
    root = unended
    remove(toy, root, "crf:0")
    run = run_toy(root, "start=crf", "until=pseudo_labels")
    assert work_of(run) == [(name, 0, name != "crf") for name in FIRST_ROUND[:10]]
    assert files_below(root / "store" / "crf") == files_below(toy.folder.parent / "store" / "crf")


@pytest.mark.parametrize("setting", ["until=cms", "start=seeds:7"])
def test_a_misspelt_stage_is_refused_before_anything_is_done(tmp_path: Path, setting: str) -> None:
    with pytest.raises(SettingsError, match="did you mean"):
        run_toy(tmp_path, setting)
    assert not (tmp_path / "store").exists()


def test_a_damaged_artefact_stops_the_run_and_deleting_it_mends_it(toy: Run, root: Path) -> None:
    remove(toy, root, "growing:0")
    folder = next((root / "store" / "seeds").glob(f"{_key(toy, 'seeds:0')}"))
    damaged = next(folder.rglob("*.png"))
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    with pytest.raises(
        StoreError, match=rf"{damaged.name}' has changed since its stage wrote it.*delete the folder '{folder}'"
    ):
        run_toy(root, "until=growing")
    shutil.rmtree(folder)
    run_toy(root, "until=growing")
    for stage in ("seeds", "growing"):
        assert files_below(root / "store" / stage) == files_below(toy.folder.parent / "store" / stage)


def _key(run: Run, title: str) -> str:
    return next(step.stage.key for step in run.plan if step.stage.title == title)


def test_segmenters_learn_from_seeds_that_grow_in_every_round(toy: Run, root: Path) -> None:
    run = run_toy(root, "segmenter.supervision=dsrg", figures=True)
    shared = [("classifier", 0), ("cams", 0), ("seeds", 0), ("ceiling", 0), ("ceiling_predictions", 0)]
    assert [(name, round) for name, round, cached in work_of(run) if cached] == shared
    made = ["segmenter", "predictions", "signal", "scores", "seeds", "segmenter", "predictions", "signal"]
    assert [name for name, _, cached in work_of(run) if not cached] == made
    assert [row["name"] for row in run.summary["stages"]] == ["cams", "cams_oracle", "seeds", "scores", "seeds"]
    assert len(run.summary["rounds"]) == 2
    assert run.summary["percent_of_full"] is not None
    assert run.summary["full_supervision"] == toy.summary["full_supervision"]
    assert (run.folder / "figures" / "strips_train.png").exists()


def test_a_run_is_opened_and_shown(toy: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    opened = wsss.load_run(toy.folder)
    assert opened.summary == toy.summary
    assert opened.show(count=2, out=tmp_path / "train.png").path == tmp_path / "train.png"
    assert main(["show", str(toy.folder), "--split", "val", "--count", "1", "--out", str(tmp_path / "val.png")]) == 0
    assert capsys.readouterr().out == f"drawn: {tmp_path / 'val.png'}\n"
    with PillowImage.open(tmp_path / "train.png") as two, PillowImage.open(tmp_path / "val.png") as one:
        assert two.height > one.height


def test_a_run_is_shown_in_the_colours_that_are_asked_for(toy: Run, tmp_path: Path) -> None:
    plain = toy.show("val", 1, tmp_path / "voc.png").path
    other = toy.show("val", 1, tmp_path / "other.png", palette="colour_blind").path
    assert plain.read_bytes() != other.read_bytes()


def test_other_colours_are_drawn_anew_and_compute_nothing(toy: Run, root: Path) -> None:
    short = "until=cams", "run=coloured"
    strips = run_toy(root, *short, figures=True).folder / "figures" / "strips_train.png"
    before = strips.read_bytes()
    again = run_toy(root, *short, "palette=colour_blind", figures=True)
    assert strips.read_bytes() != before
    assert all(row["cached"] for row in again.summary["work"])
    # the hash of a configuration knows no colours
    assert again.summary["config"] == toy.summary["config"]


def test_images_are_shown_by_name_by_class_and_worst_first(toy: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr("wsss.runs.draw_images", lambda *given, **_: drawn.append(given[4:]))
    data = toy.dataset
    toy.show(images=["val_00002", "train_00003"])
    assert drawn.pop() == (["val_00002", "train_00003"], {})
    toy.show("val", of="cat", count=9)
    assert drawn.pop() == ([image for image in data.ids("val") if 1 in data.possible(image)], {})
    assert toy.show("val", worst=3).path.name == "show_val_worst.png"
    predictions = toy.artefact("predictions", 1)
    assert predictions is not None
    ious = {
        image: mean_iou(confusion_matrix(predictions.read_labels(image), truth_of(toy, image), classes=7))
        for image in data.ids("val")
    }
    expected = sorted(ious, key=lambda image: ious[image])[:3]
    assert drawn.pop() == (expected, {image: f"IoU {100 * ious[image]:.1f}" for image in expected})
    toy.show(worst=2, of="dog")
    chosen, remarks = drawn.pop()
    assert all(2 in data.possible(image) for image in chosen)
    assert all(re.fullmatch(r"dog IoU \d+\.\d", remarks[image]) for image in chosen)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--images", "train_0003"], "data set 'synthetic' has no image 'train_0003'; did you mean train_00003 or"),
        (["--class", "catt"], "data set 'synthetic' has no class 'catt'; did you mean cat?"),
        (["--class", "sheep"], "has no class 'sheep'; there are: cat, dog, apple tree"),
        (["--worst", "3", "--count", "2"], "worst must be given without count"),
        (["--images", "train_00003", "--worst", "2"], "images must be given without another choice"),
        (["--worst", "0"], "worst must be at least 1, got 0"),
        (["--palette", "colourblind"], "palette"),
    ],
)
def test_what_can_not_be_shown_is_refused_in_one_sentence(
    toy: Run, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", str(toy.folder), *options]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("wsss: ")
    assert said in error
    assert len(error.splitlines()) == 1


def test_a_notebook_is_told_of_a_run_that_has_not_ended(tmp_path: Path) -> None:
    said = Run(tmp_path / "a <b>run")._repr_html_()
    assert "has not finished" in said
    assert "<b>run" not in said


def test_an_opened_run_gives_its_artefacts(toy: Run) -> None:
    image = toy.dataset.ids("train")[0]
    seeds, later = toy.artefact("seeds"), toy.artefact("seeds", 1)
    assert seeds is not None
    assert later is not None
    assert seeds.read_labels(image).shape == toy.dataset.size(image)
    assert seeds.folder != later.folder
    assert toy.artefact("seeds", 2) is None
    assert toy.artefact("sedes") is None


def test_a_run_that_has_ended_knows_what_it_made_whatever_became_of_data_and_code(
    toy: Run, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = root / toy.folder.name
    values = yaml.safe_load((folder / "run.yaml").read_text())
    # as a run that was started beside its folder, and is opened from elsewhere
    values["store"]["root"] = "runs"
    values["crf"]["iterations"] += 1
    (folder / "run.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.chdir(tmp_path / "runs")
    opened = Run(folder)
    made = opened.artefact("crf", 1)
    assert made is not None
    assert made.folder.is_relative_to(root)
    assert made.folder.name == next(row["key"] for row in toy.summary["work"] if row["name"] == "crf" and row["round"])
    opened.show(count=1, out=tmp_path / "shown.png")
    assert "crf, pseudo_labels, segmenter" in capsys.readouterr().err
    Run(toy.folder).show(count=1, out=tmp_path / "shown.png")
    assert "made by another version" not in capsys.readouterr().err


def test_of_two_classifiers_a_run_knows_its_own(toy: Run, root: Path) -> None:
    path = root / toy.folder.name / "summary.json"
    summary = json.loads(path.read_bytes())
    own = next(row for row in summary["work"] if row["name"] == "classifier")
    summary["work"].append(own | {"key": "that of the ceiling"})
    path.write_text(json.dumps(summary))
    found = Run(path.parent).artefact("classifier")
    assert found is not None
    assert found.folder.name == own["key"]


def test_a_run_reports_every_stage_as_text_and_to_a_notebook(toy: Run) -> None:
    expected = [[name, str(round)] for name, round in STAGES]
    expected = [*expected[:2], ["cams_oracle", "0"], *expected[2:]]
    assert [line.split()[:2] for line in toy.table().splitlines()[2 : 3 + len(STAGES)]] == expected
    stages, classes = ElementTree.fromstring(f"<div>{toy._repr_html_()}</div>").iter("table")
    assert [[cell.text for cell in row][:2] for row in stages.iter("tr")][1:] == expected
    assert [row[0].text for row in classes.iter("tr")][1:] == list(toy.summary["segmenter"]["per_class"])


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not a run"):
        load_run(tmp_path)


def test_settings_are_given_as_words_or_as_a_configuration_but_not_both(toy: Run) -> None:
    with pytest.raises(SettingsError, match="config must be given alone"):
        wsss.run("rounds=1", config=toy.config)
    with pytest.raises(SettingsError, match="did you mean rounds"):
        wsss.run(roundz=1)
    with pytest.raises(SettingsError, match="refine knows no 'crff'"):
        wsss.run("experiment=voc21", refine=["growing", "crff"])


def test_images_without_truth_go_through_all_stages_and_have_no_scores(photographs: Path, tmp_path: Path) -> None:
    data = ("data=folder", f"data.root={photographs}")
    run = run_toy(tmp_path / "runs", "ceiling=false", "classifier.epochs=2", data=data, figures=True)
    assert [(name, round) for name, round, _ in work_of(run)] == STAGES[: -len(CEILING)]
    assert run.summary["data"]["val"] == 0
    assert all(row[name] is None for row in run.summary["stages"] for name in SCORES)
    assert run.summary["segmenter"] is run.summary["full_supervision"] is run.summary["percent_of_full"] is None
    assert "no validation images" in run.table()
    # nothing was measured, and the last round that the rule kept stands all the same
    assert run.final_round == max(row["round"] for row in run.summary["rounds"] if row["kept"]) == 1
    for stage in ("crf", "pseudo_labels"):
        artefact = run.artefact(stage)
        assert artefact is not None
        for image in run.dataset.ids("train"):
            labels = artefact.read_labels(image)
            assert labels.shape == run.dataset.size(image)
            assert set(labels.flatten().tolist()) <= {*run.dataset.possible(image)}
    empty = run.artefact("pseudo_labels")
    assert empty is not None
    assert not empty.read_labels("3").any()  # known to show nothing
    with PillowImage.open(run.show(count=7)) as shown:
        assert shown.height > 100


def draw_coco(root: Path) -> tuple[str, ...]:
    objects: dict[int, dict[str, Any]] = {
        category: {"category_id": category, "segmentation": [box_outline(4, 4, 20, 28)]} for category in (3, 17)
    }
    crowd: dict[str, Any] = {"category_id": 90, "iscrowd": 1, "segmentation": {"size": [32, 32], "counts": [700, 324]}}
    images: tuple[list[dict[str, Any]], ...] = (
        [objects[3]],
        [objects[17]],
        [objects[3], crowd],
        [objects[17]],
        [],
        [crowd],
    )
    make_coco(root, train=named("train", images), val=named("val", images), size=(32, 32))
    return "data=coco", f"data.root={root}"


def named(prefix: str, images: Sequence[list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    return {f"{prefix}{place}": objects for place, objects in enumerate(images)}


def draw_augmented(root: Path) -> tuple[str, ...]:
    mask = torch.zeros(32, 32, dtype=torch.uint8)
    mask[8:24, 8:24] = 1
    images = {f"2007_{place:06d}": mask * (1 + place % 2) for place in range(4)}
    make_voc(root, train=images, val={"2008_000001": mask, "2008_000002": 2 * mask})
    # half of the images have their mask elsewhere, and all but one have tags
    (root / "SegmentationClassAug").mkdir()
    for id in list(images)[2:]:
        (root / "SegmentationClass" / f"{id}.png").rename(root / "SegmentationClassAug" / f"{id}.png")
    (root / "ImageSets" / "Segmentation" / "train.txt").rename(root / "ImageSets" / "Segmentation" / "train_aug.txt")
    tags = {2007000000 + place: np.eye(2, dtype=np.float32)[place % 2] for place in range(3)}
    np.save(root / "cls_labels.npy", np.array(tags, dtype=object), allow_pickle=True)
    return "data=voc", f"data.root={root}", "data.train_list=train_aug", "data.tags=cls_labels.npy"


@pytest.mark.parametrize(
    ("draw", "train", "val", "unknown"),
    [(draw_coco, 6, 6, "train5"), (draw_augmented, 4, 2, "2007_000003")],
    ids=["coco", "train_aug"],
)
def test_published_data_sets_go_through_all_stages(
    tmp_path: Path, draw: Callable[[Path], tuple[str, ...]], train: int, val: int, unknown: str
) -> None:
    data = draw(tmp_path / "data")
    run = run_toy(
        tmp_path / "runs", *ONE_ROUND, "classifier.epochs=2", "graph.epochs=1", "segmenter.epochs=1", data=data
    )
    assert (run.summary["data"]["train"], run.summary["data"]["val"]) == (train, val)
    assert [name for name, _, _ in work_of(run)] == list(FIRST_ROUND[:-1])
    assert all(0 <= row["miou"] <= 100 for row in run.summary["stages"])
    assert 0 <= run.summary["segmenter"]["miou"] <= 100
    # where nobody said what there is, nothing is ruled out
    classes = len(run.dataset.classes)
    assert run.dataset.possible(unknown) == list(range(classes + 1))
    labels = run.artefact("pseudo_labels")
    assert labels is not None
    for id in run.dataset.ids("train"):
        assert set(labels.read_labels(id).flatten().tolist()) <= {*run.dataset.possible(id), 255}


def test_masks_change_nothing_but_what_is_measured(photographs: Path) -> None:
    data = ("data=folder", f"data.root={photographs}", "data.val_share=0.0")
    before = keys_of("ceiling=false", data=data)
    (photographs / "masks").mkdir()
    for path in (photographs / "images").iterdir():
        with PillowImage.open(path) as image:
            labels = torch.ones(image.height, image.width, dtype=torch.uint8)
        (photographs / "masks" / path.name).write_bytes(encode_labels(labels))
    assert keys_of("ceiling=false", data=data) == before


def test_the_ceiling_of_images_without_truth_is_refused_with_the_cure(photographs: Path, tmp_path: Path) -> None:
    config = load([*TOY, "data=folder", f"data.root={photographs}", f"store.root={tmp_path}", "ceiling=true"])
    assert config.ceiling
    dataset = wsss.open_dataset(config.data)
    steps = list(plan(config, dataset, "32-true"))
    bench: Any = None
    with pytest.raises(StageError, match=r"image '\d' has no ground truth, .* run with ceiling=false"):
        steps[-2].stage.work(bench, bench)


def test_a_data_set_without_a_background_goes_through_all_stages(tmp_path: Path) -> None:
    run = run_toy(tmp_path, "data.background=false", "classifier.epochs=2", figures=True)
    assert [(name, round) for name, round, _ in work_of(run)] == STAGES
    segmenter = run.summary["segmenter"]
    assert segmenter["miou"] >= 0
    assert "background" not in segmenter["per_class"]
    for stage in ("seeds", "growing", "crf", "pseudo_labels"):
        artefact = run.artefact(stage)
        assert artefact is not None
        assert all(bool(artefact.read_labels(image).all()) for image in run.dataset.ids("train"))
    by_name = {row["name"]: row for row in run.summary["stages"] if row["round"] == 0}
    assert by_name["pseudo_labels"]["coverage"] == 100
    assert 0 < by_name["seeds"]["coverage"] < 100


def test_a_refused_run_leaves_nothing_and_takes_nothing_from_a_run_of_its_name(toy: Run, root: Path) -> None:
    before = files_below(root)
    for wrong in (("data=voc", "data.root=/nowhere"), ("until=nothing",), ("segmenter.output_stride=1",)):
        for name in (toy.folder.name, "new"):
            with pytest.raises(WsssError):
                run_toy(root, *wrong, f"run={name}")
    assert files_below(root) == before


def test_another_configuration_of_the_same_name_does_not_keep_what_the_first_came_to(tmp_path: Path) -> None:
    first = run_toy(tmp_path, "run=mine", "until=classifier", "ceiling=false")
    again = run_toy(tmp_path, "run=mine", "until=classifier", "ceiling=false")
    assert again.summary["config"] == first.summary["config"]
    with pytest.raises(StageError):  # stops after it has begun
        run_toy(tmp_path, "run=mine", "seed=1", "start=seeds", "ceiling=false")
    left = Run(tmp_path / "mine")
    assert not left.ended
    assert left.config.seed == 1


def test_a_number_is_the_same_however_it_was_given(tmp_path: Path) -> None:
    whole = load([*DRAWN, *TOY, f"store.root={tmp_path}", "until=classifier", "ceiling=false", "rounds=1"])
    odd = replace(whole, seeds=replace(whole.seeds, power=4))  # where 4.0 is due
    ended = wsss.run(config=odd)
    assert ended.config.hash == ended.summary["config"]
    assert {row["key"] for row in ended.summary["work"]} <= {step.stage.key for step in ended.plan}


def test_nothing_of_another_configuration_stays_in_a_run_of_its_name(tmp_path: Path) -> None:
    settings = ("run=mine", "until=superpixels", "ceiling=false")
    first = run_toy(tmp_path, *settings, figures=True)
    assert (first.folder / "figures" / "curves.png").exists()
    kept = files_below(first.folder)
    again = run_toy(tmp_path, *settings)
    assert files_below(again.folder).keys() == kept.keys()
    other = run_toy(tmp_path, *settings, "seed=1", "refine=[growing]", "until=seeds")
    assert not (other.folder / "figures").exists()
    assert {row["key"] for row in other.summary["work"]} == {
        link.resolve().name for link in other.folder.iterdir() if link.is_symlink()
    }


def test_a_round_that_was_not_judged_does_not_stand(toy: Run, unended: Path) -> None:
    assert toy.final_round == toy.summary["segmenter"]["round"]
    first = run_toy(unended, "until=predictions:0")
    assert first.summary["segmenter"]["round"] == 0
    begun = run_toy(unended, "until=predictions:1")
    assert begun.final_round == begun.summary["segmenter"]["round"] == 0


def test_a_call_that_ends_earlier_keeps_the_summary_of_one_that_went_further(toy: Run, root: Path) -> None:
    before = (root / toy.folder.name / "summary.json").read_bytes()
    again = run_toy(root, "until=seeds")
    assert (again.folder / "summary.json").read_bytes() == before
    assert again.final_round == toy.final_round
    assert again.artefact("segmenter", again.final_round) is not None


def test_a_call_that_goes_further_replaces_the_summary(unended: Path) -> None:
    assert len(run_toy(unended, "until=seeds").summary["work"]) == 3
    assert len(run_toy(unended, "until=crf").summary["work"]) == 9


def test_a_summary_of_other_keys_is_replaced_whatever_it_contained(toy: Run, root: Path) -> None:
    path = root / toy.folder.name / "summary.json"
    whole = json.loads(path.read_bytes())
    whole["work"][0]["key"] = "of older code"
    path.write_text(json.dumps(whole))
    assert len(run_toy(root, "until=seeds").summary["work"]) == 3
