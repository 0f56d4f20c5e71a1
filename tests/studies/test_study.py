from pathlib import Path

import pytest

import wsss
from tests.studies.pretence import COMMON, Pretender, install, write_study
from tests.toy_run import DRAWN
from wsss.cli import main
from wsss.errors import StageError
from wsss.studies import report
from wsss.studies.carry_out import Inspector
from wsss.studies.plan import plan_study

SMALL = (*COMMON, *DRAWN, "rounds=1", "seeds=[0]")


@pytest.fixture
def pretender(monkeypatch: pytest.MonkeyPatch) -> Pretender:
    """Runs that pretend, and no figures."""
    monkeypatch.setattr(report, "draw_figures", lambda *_: None)
    return install(monkeypatch)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(write_study(tmp_path))


def test_a_study_is_carried_out_told_and_shown(
    path: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretender = install(monkeypatch)
    monkeypatch.setattr(report, "draw_study", lambda *_: None)
    assert main(["study", path, *SMALL]) == 0
    out, error = capsys.readouterr()
    assert out.startswith("Which CRF?\nrun ")
    assert "run 2 of 2: strong · seed 0, in runs/synthetic-" in error
    done = wsss.study(path, *SMALL, report_only=True)
    assert done.table() + "\n" == out
    assert len(pretender.ran) == 2
    assert list(done.runs) == ["weak · seed 0", "strong · seed 0"]
    assert repr(done) == f"Study({done.plan.name!r}: 2 of 2 runs are done)"
    assert done.runs["weak · seed 0"].summary["segmenter"]["miou"] == 50
    assert [(row["run"], row["miou"]) for row in done.rows] == [("weak", 50), ("strong", 50)]
    assert "Which CRF?" in done._repr_html_()
    assert done.show()._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(StageError, match="no figure 'predictions' \\(it has: cost\\)"):
        done.show("predictions")


def test_settings_may_be_given_by_name(path: str, pretender: Pretender) -> None:
    done = wsss.study(path, *COMMON, *DRAWN, rounds=1, seeds=[3], runs=["strong"], budgets=["50%"])
    assert [run.title for run in done.plan.runs] == ["strong · seed 3", "strong · 50 % · seed 3"]
    assert [config.labels.budget_seconds for config in pretender.ran] == [None, 600]


def test_a_study_with_a_failed_run_ends_with_1_and_names_it_until_it_is_mended(
    path: str, pretender: Pretender, capsys: pytest.CaptureFixture[str]
) -> None:
    pretender.broken[1] = lambda: StageError("lost a worker")
    assert main(["study", path, *SMALL]) == 1
    assert "weak · seed 0 failed: lost a worker" in capsys.readouterr().out
    assert main(["study", path, *SMALL, "--report-only"]) == 1
    assert "weak · seed 0 failed: lost a worker" in capsys.readouterr().out
    pretender.broken.clear()
    assert main(["study", path, *SMALL]) == 0
    assert main(["study", path, *SMALL, "--report-only"]) == 0
    assert "failed" not in capsys.readouterr().out


def test_a_part_of_a_study_leaves_the_table_and_the_failures_of_the_whole_alone(
    path: str, pretender: Pretender
) -> None:
    pretender.broken[1] = lambda: StageError("lost a worker")
    whole = wsss.study(path, *COMMON, *DRAWN, "rounds=1")
    told = {file: file.read_bytes() for file in whole.folder.glob("*.*")}
    assert len(told) == 4
    part = wsss.study(path, *COMMON, *DRAWN, "rounds=1", runs=["strong"], seeds=[0])
    assert part.failed == {}
    assert (part.folder / "table.txt").is_file()
    assert {file: file.read_bytes() for file in whole.folder.glob("*.*")} == told
    assert list(wsss.study(path, *COMMON, *DRAWN, "rounds=1", report_only=True).failed) == [
        "weak · seed 0",
        "weak · seed 1",
    ]


def test_a_stopped_study_says_how_to_go_on_and_has_told_what_it_had(
    path: str, pretender: Pretender, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pretender.broken[5] = KeyboardInterrupt
    assert main(["study", path, *SMALL]) == 130
    assert capsys.readouterr().err.endswith("wsss: interrupted; run the same command again to go on\n")
    (told,) = tmp_path.glob("runs/studies/*/table.txt")
    assert "1 of 2 runs are done" in told.read_text()


def test_a_dry_run_lists_the_runs_and_writes_nothing(
    path: str, pretender: Pretender, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    plan = plan_study(path, SMALL)
    keys = [{step.stage.key for step in Inspector().plan(run.config())} for run in plan.runs]
    assert keys[0] & keys[1]  # they share what comes before the CRF, and the ceiling
    assert main(["study", path, "--dry-run", *SMALL, "budgets=[50%]"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("study runs/studies/which_crf-synthetic-")
    first, second, waiting, _ = (line.rsplit(maxsplit=1) for line in lines[3:])
    assert first[0].startswith("weak · seed 0")
    assert (int(first[1]), int(second[1])) == (len(keys[0]), len(keys[1] - keys[0]))
    assert waiting[0].endswith("named when the cost of all labels is known")
    assert pretender.ran == []
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("words", [["no_such_study"], ["roundz=3"], [], ["weak_labels", "--dyr-run"]])
def test_what_is_no_study_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(["study", *words])
    except SystemExit as stopped:
        code = int(str(stopped.code))
    assert code == 2
    assert capsys.readouterr().out == ""


def test_a_study_is_no_experiment(capsys: pytest.CaptureFixture[str], path: str) -> None:
    for name in ("weak_labels", path):
        assert main(["run", f"experiment={name}"]) == 2
        said = capsys.readouterr().err
        assert said == f"wsss: experiment can't be {name!r}, a study of several runs; write: wsss study {name}\n"
