import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from wsss.checks import machine
from wsss.checks.libraries import Line
from wsss.checks.machine import GB, MachineReport, check_machine
from wsss.errors import SettingsError

TIMED = machine._seconds_of_convolution
HERE = ("trainer.accelerator=cpu", "tracking.mode=none")


@pytest.fixture(autouse=True)
def few_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at one library only: others take seconds to load; and let bf16 take half the time."""
    monkeypatch.setattr(machine, "requirements", lambda: [("rich", ">=13")])
    monkeypatch.setattr(machine, "_seconds_of_convolution", lambda dtype, _: 0.5 if dtype == torch.bfloat16 else 1.0)


def line(name: str, *settings: str) -> Line:
    return next(found for found in check_machine(*HERE, *settings).lines if found.name == name)


def test_a_line_for_each_thing_that_a_run_needs(tmp_path: Path) -> None:
    report = check_machine(*HERE, f"store.root={tmp_path / 'deep' / 'runs'}")
    assert [found.name for found in report.lines] == [
        "Python",
        "rich",
        "dense CRF",
        "cores",
        "memory",
        "accelerator",
        "precision",
        "store",
        "disk of the store",
        "tracking",
    ]
    states = {found.name: found.state for found in report.lines}
    for name in ("Python", "rich", "dense CRF", "accelerator", "precision", "store", "tracking"):
        assert states[name] == "ok", name
    assert list(tmp_path.iterdir()) == []
    assert json.loads(json.dumps(report.to_dict()))["lines"][0]["name"] == "Python"


def test_a_crf_that_does_nothing_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert line("dense CRF").state == "ok"
    monkeypatch.setattr("wsss.functional.dense_crf.dense_crf", lambda _, scores, *__, **___: scores)
    assert line("dense CRF").found == "gives wrong labels"

    def fail(*_: Any, **__: Any) -> None:
        raise ImportError("no module named pydensecrf")

    monkeypatch.setattr("wsss.functional.dense_crf.dense_crf", fail)
    found = line("dense CRF")
    assert found.found == "fails (no module named pydensecrf)"
    assert found.state == "broken"


def test_a_store_that_can_not_be_written_is_broken(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    found = line("store", f"store.root={tmp_path / 'file' / 'runs'}")
    assert found.state == "broken"
    assert str(found.cure).endswith("choose another store.root")


def test_little_disk_is_broken_and_little_memory_is_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 0.25 * GB}))
    monkeypatch.setattr(machine, "_memory_sizes", lambda: (8 * GB, 1.5 * GB))
    report = check_machine(*HERE)
    found = {entry.name: entry for entry in report.lines}
    assert (found["disk of the store"].found, found["disk of the store"].state) == ("0.2 GB free", "broken")
    assert (found["memory"].found, found["memory"].state) == ("1.5 of 8.0 GB free", "advice")
    assert not report.ok


def test_an_accelerator_that_is_not_there_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = line("accelerator", "trainer.accelerator=cuda")
    assert found.state == "broken"
    assert found.cure == "trainer.accelerator must be auto or cpu on this machine, got 'cuda'"


def test_an_arithmetic_that_is_only_imitated_is_advised_against(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    assert line("precision").state == "ok"
    found = line("precision", "trainer.precision=bf16-mixed")
    assert found.found.startswith("bf16 is emulated, a convolution takes 0.50 times as long")
    assert (found.state, found.cure) == ("advice", "trainer.precision=auto uses float32 here, which is faster")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    assert line("precision", "trainer.precision=bf16-mixed").state == "ok"


def test_convolutions_are_timed() -> None:
    seconds = TIMED(torch.float32, torch.device("cpu"))
    assert 0 < seconds < float("inf")


def test_sending_metrics_takes_a_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    found = line("tracking", "tracking.mode=online")
    assert found.state == "advice"
    assert "wandb login" in str(found.cure)
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password drawn-by-a-test\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert line("tracking", "tracking.mode=online").state == "ok"
    assert line("tracking", "tracking.mode=offline").found.startswith("offline: files in the run folder")


def test_wandb_is_needed_only_where_metrics_go_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "requirements", lambda: [("wandb", ">=0.31")])
    monkeypatch.setattr(machine, "check_library", lambda name, _: Line(name, "missing", "install it"))
    assert check_machine("trainer.accelerator=cpu", "tracking.mode=none").ok
    assert not check_machine("trainer.accelerator=cpu", "tracking.mode=offline").ok


def test_a_misspelt_setting_is_refused_before_anything_is_looked_at() -> None:
    with pytest.raises(SettingsError, match=r"store\.rot is not a setting"):
        check_machine("store.rot=x")


def test_without_torch_the_other_lines_still_come() -> None:
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from wsss.checks import machine\n"
        "machine.requirements = lambda: [('torch', '>=2.11'), ('rich', '>=13')]\n"
        "report = machine.check_machine()\n"
        "print(report.table()); sys.exit(report.ok)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [text.split("  ") for text in done.stdout.splitlines()]
    assert [row[0] for row in rows[2:6]] == ["Python", "torch", "rich", "everything else"]
    assert "broken: can't be imported" in done.stdout
    assert done.stdout.endswith("1 of 4 lines are broken; fix them first\n")


def test_the_table_shows_the_cure() -> None:
    report = MachineReport((Line("disk", "0.1 GB <free>", "free some"), Line("cores", "2")))
    assert "broken: free some" in report.table()
    assert "&lt;free&gt;" in report._repr_html_()
