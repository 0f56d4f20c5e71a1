import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from wsss.errors import SettingsError, StoreError, WsssError
from wsss.tracking import METRICS, Tracker, TrackingSettings, read_metrics, track

NONE = TrackingSettings(mode="none")


def report(tracker: Tracker, folder: Path) -> None:
    picture = folder / "strip.png"
    PillowImage.fromarray(np.zeros((4, 6, 3), dtype=np.uint8)).save(picture)
    tracker.log({"epoch": 0, "loss": 2.5})
    tracker.log({"epoch": 1, "loss": 1.25})
    tracker.image("strip", picture)
    tracker.table("per class", ["class", "iou"], [["cat", 61.0], ["dog", None]])
    tracker.summary({"miou": 48.5})


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
from wsss.tracking import TrackingSettings, track
with track(TrackingSettings(mode="none"), pathlib.Path(sys.argv[1]), "run", "cams", {}) as tracker:
    tracker.log({"loss": 1.0})
    tracker.table("t", ["a"], [[1]])
    tracker.image("i", pathlib.Path("nowhere.png"))
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
    text = json.dumps(inspect(file))
    for written in ("7f3a", "train_classifier", "tiny", "strip", "per class", "wsss"):
        assert written in text
    assert "another" not in text
    history = [record["history"]["item"] for record in inspect(file) if "history" in record]
    assert [row["loss"] for row in history if "loss" in row] == [2.5, 1.25]
    assert list(file.parent.glob("files/media/images/*.png"))


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
    for file in tmp_path.glob("wandb/offline-run-*/*.wandb"):
        records = inspect(file)
        (run,) = [record["run"] for record in records if "run" in record]
        (end,) = [record["exit"] for record in records if "exit" in record]
        assert run["run_group"] == "7f3a"
        codes[run["job_type"]] = end["exit_code"]
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
