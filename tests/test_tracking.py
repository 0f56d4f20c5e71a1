import json
import os
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from tests import wandb_files
from tests.drawing import picture
from wsss import tracking
from wsss.errors import SettingsError, StoreError, WsssError
from wsss.tracking import METRICS, Masked, Tracker, Tracking, TrackingSettings, read_metrics

NONE = TrackingSettings(mode="none")
LABELS, TRUTH = picture("01", "2."), picture("01", "22")
SEEN = torch.arange(12, dtype=torch.uint8).view(3, 2, 2)


def track(
    settings: TrackingSettings, folder: Path, run_id: str, stage: str, config: dict[str, object]
) -> AbstractContextManager[Tracker]:
    return Tracking(settings, folder, run_id).stage(stage, config)


def report(tracker: Tracker, folder: Path) -> None:
    listing = folder / "a folder" / "manifest.json"
    listing.parent.mkdir()
    listing.write_text("{}")
    tracker.log({"epoch": 0, "loss": 2.5})
    tracker.log({"epoch": 1, "loss": 1.25})
    tracker.masks("train", [Masked("one", SEEN, LABELS, TRUTH), Masked("two", SEEN, TRUTH, None)], ["cat", "dog"])
    tracker.table("per class", ["class", "iou"], [["cat", 61.0], ["dog", None]])
    tracker.artefact("cams", listing, {"key": "5f2a"})
    tracker.summary({"miou": 48.5})


def lose(_: object) -> None:
    """What wandb does when its service is gone."""
    raise ConnectionResetError("Connection lost")


def inspect(wandb_file: Path) -> list[dict[str, Any]]:
    """What wandb itself reads in an offline file."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(wandb_file)]
    env = {**os.environ, "HOME": str(wandb_file.parent), "WANDB_ERROR_REPORTING": "false"}
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout
    return [json.loads(line) for line in output.splitlines()]


def test_rows_name_their_stage_and_keep_their_order(tmp_path: Path) -> None:
    with track(NONE, tmp_path, "run", "cams", {}) as tracker:
        report(tracker, tmp_path)
    with track(NONE, tmp_path, "run", "seeds", {}) as tracker:
        tracker.log({"epoch": 0})
    assert read_metrics(tmp_path) == [
        {"stage": "cams", "epoch": 0, "loss": 2.5},
        {"stage": "cams", "epoch": 1, "loss": 1.25},
        {"stage": "cams", "table": "per class", "columns": ["class", "iou"], "rows": [["cat", 61.0], ["dog", None]]},
        {"stage": "cams", "summary": {"miou": 48.5}},
        {"stage": "seeds", "epoch": 0},
    ]


def test_a_loss_that_is_no_number_is_null(tmp_path: Path) -> None:
    with track(NONE, tmp_path, "run", "cams", {}) as tracker:
        tracker.log({"loss": float("nan"), "norms": [1.0, float("inf")]})
    assert read_metrics(tmp_path) == [{"stage": "cams", "loss": None, "norms": [1.0, None]}]


def test_a_row_cut_short_by_a_kill_spoils_no_other(tmp_path: Path) -> None:
    (tmp_path / METRICS).write_bytes(b'{"stage": "cams", "epoch": 0}\n{"stage": "ca')
    with track(NONE, tmp_path, "run", "seeds", {}) as tracker:
        tracker.log({"epoch": 1})
    assert read_metrics(tmp_path) == [{"stage": "cams", "epoch": 0}, {"stage": "seeds", "epoch": 1}]


def test_a_run_that_logged_nothing_has_no_rows(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []


def test_a_folder_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file, no folder")
    with (
        track(NONE, tmp_path / "run", "run", "cams", {}) as tracker,
        pytest.raises(StoreError, match=r"metrics\.jsonl"),
    ):
        tracker.log({"epoch": 0})


def test_a_mode_that_does_not_exist_is_refused() -> None:
    with pytest.raises(SettingsError, match="offline, online, none, got 'of'"):
        TrackingSettings(mode="of")


def test_wandb_is_not_loaded_without_being_wanted(tmp_path: Path) -> None:
    script = """
import sys, pathlib
from wsss.tracking import Tracking, TrackingSettings

def asked():
    raise AssertionError("nobody wants the images")
    yield

with Tracking(TrackingSettings(mode="none"), pathlib.Path(sys.argv[1]), "run").stage("cams", {}) as tracker:
    tracker.log({"loss": 1.0})
    tracker.table("t", ["a"], [[1]])
    tracker.masks("train", asked(), ["cat"])
    tracker.artefact("cams", pathlib.Path("nowhere.json"), {})
    tracker.summary({"miou": 1.0})
assert "wandb" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    assert [path.name for path in tmp_path.iterdir()] == [METRICS]


def test_an_offline_run_can_be_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    home, run = tmp_path / "home", tmp_path / "run"
    home.mkdir()
    run.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_PROJECT", "another")
    monkeypatch.setenv("WANDB_RUN_ID", "another")
    with track(TrackingSettings(), run, "7f3a", "train_classifier", {"network": {"body": "tiny"}}) as tracker:
        report(tracker, run)
    assert os.environ["WANDB_MODE"] == "online"
    assert "WANDB_DIR" not in os.environ
    assert list(home.iterdir()) == []
    assert capfd.readouterr() == ("", "")
    assert len(read_metrics(run)) == 4

    (file,) = run.glob("wandb/offline-run-*/*.wandb")
    inspected = inspect(file)
    text = json.dumps(inspected)
    for written in ("7f3a", "train_classifier", "tiny", "per class", "wsss"):
        assert written in text
    assert "another" not in text
    history = [record["history"]["item"] for record in inspected if "history" in record]
    assert [row["loss"] for row in history if "loss" in row] == [2.5, 1.25]
    check_what_wandb_keeps(file, run)


def check_what_wandb_keeps(file: Path, run: Path) -> None:
    """Masks, table and reference, as the file and what lies beside it have them."""
    records = wandb_files.records(file)
    kept = wandb_files.history(records)
    files = file.parent / "files"
    for name, caption, layers in (
        ("train/0", "one", {"prediction": LABELS, "ground_truth": TRUTH}),
        ("train/1", "two", {"prediction": TRUTH}),
    ):
        assert kept[name]["caption"] == caption
        with PillowImage.open(files / kept[name]["path"]) as image:
            assert np.array_equal(np.asarray(image), SEEN.permute(1, 2, 0).numpy())
        assert set(kept[name]["masks"]) == set(layers)
        for layer, labels in layers.items():
            with PillowImage.open(files / kept[name]["masks"][layer]["path"]) as mask:
                assert np.array_equal(np.asarray(mask), labels.numpy())
    assert '{"0":"background","1":"cat","2":"dog","255":"unknown"}' in json.dumps(
        [json.loads(item.value_json) for record in records for item in record.config.update], separators=(",", ":")
    )
    table = json.loads((files / kept["per class"]["path"]).read_text())
    assert (table["columns"], table["data"]) == (["class", "iou"], [["cat", 61.0], ["dog", None]])
    assert wandb_files.references(records) == [("cams", "stage", (run / "a folder" / "manifest.json").as_uri())]
    assert not list(run.rglob("wandb/**/manifest.json"))  # referred to, not copied


def test_a_large_picture_is_logged_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "LONGEST_SIDE", 2)
    large = Masked("one", torch.zeros(3, 5, 3, dtype=torch.uint8), torch.arange(15).view(5, 3).byte(), None)
    with track(TrackingSettings(), tmp_path, "7f3a", "cams", {}) as tracker:
        tracker.masks("val", [large], ["cat"])
    (read,) = wandb_files.stages(tmp_path).values()
    (file,) = tmp_path.glob(
        f"wandb/offline-run-*/files/{wandb_files.history(read)['val/0']['masks']['prediction']['path']}"
    )
    with PillowImage.open(file) as mask:
        assert np.asarray(mask).tolist() == [[0], [9]]


def test_a_stage_goes_on_without_a_wandb_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[str] = []

    class Run:
        log = finish = staticmethod(lambda *_, **__: lose(None))

    def start(*given: Any) -> Run:
        started.append(given[3])
        return Run()

    monkeypatch.setattr(tracking, "_wandb_run", start)
    run = Tracking(TrackingSettings(), tmp_path, "7f3a")
    for stage in ("classifier", "cams"):
        with run.stage(stage, {}) as tracker:
            tracker.log({"epoch": 0})
            tracker.log({"epoch": 1})
    assert capsys.readouterr().err == (
        "wandb has failed (Connection lost); the run goes on without it, metrics.jsonl has every row\n"
    )
    assert started == ["classifier"]
    assert [(row["stage"], row["epoch"]) for row in read_metrics(tmp_path)] == [
        ("classifier", 0),
        ("classifier", 1),
        ("cams", 0),
        ("cams", 1),
    ]


def test_a_wandb_that_can_not_start_stops_the_first_stage_and_no_later_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Tracking(TrackingSettings(), tmp_path, "7f3a")
    with monkeypatch.context() as patch:
        patch.setattr(tracking, "_wandb_run", lambda *_: lose(None))
        with (
            pytest.raises(WsssError, match=r"can't start \(Connection lost\); run with tracking\.mode=none"),
            run.stage("cams", {}),
        ):
            pass
    with run.stage("cams", {}):
        pass
    monkeypatch.setattr(tracking, "_wandb_run", lambda *_: lose(None))
    with run.stage("seeds", {}) as tracker:
        tracker.log({"epoch": 0})
    assert capsys.readouterr().err.startswith("wandb can't start (Connection lost); the run goes on without it")
    assert read_metrics(tmp_path) == [{"stage": "seeds", "epoch": 0}]


def test_each_stage_is_a_wandb_run_and_a_failed_one_says_so(tmp_path: Path) -> None:
    for stage in ("cams", "seeds"):
        with track(TrackingSettings(), tmp_path, "7f3a", stage, {}) as tracker:
            tracker.log({"epoch": 0})

    def fail() -> None:
        with track(TrackingSettings(), tmp_path, "7f3a", "graph", {}):
            raise ValueError("the stage's own error")

    with pytest.raises(ValueError, match="the stage's own error"):
        fail()
    codes = {}
    for stage, records in wandb_files.stages(tmp_path).items():
        (run,) = [record.run for record in records if record.HasField("run")]
        (end,) = [record.exit for record in records if record.HasField("exit")]
        assert run.run_group == "7f3a"
        codes[stage] = end.exit_code
    assert codes == {"cams": 0, "seeds": 0, "graph": 1}


def test_an_online_run_without_a_key_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with (
        pytest.raises(WsssError, match=r"`wandb login`, or run with tracking\.mode=offline"),
        track(TrackingSettings(mode="online"), tmp_path, "7f3a", "cams", {}),
    ):
        pass
