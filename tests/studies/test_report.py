import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tests.studies.pretence import FILE, Pretender, install, planned, write_study
from wsss.plotting import Curve
from wsss.studies import report
from wsss.studies.carry_out import Progress, State
from wsss.studies.plan import StudyPlan
from wsss.studies.report import failures, html_report, markdown_report, text_report, write_report

BUDGETS = FILE + "budgets: [25%]\nbudgeted: [weak]\n"


@pytest.fixture
def pretender(monkeypatch: pytest.MonkeyPatch) -> Pretender:
    monkeypatch.setattr(report, "draw_study", lambda *_: None)
    return install(monkeypatch)


def carried_out(plan: StudyPlan) -> list[State]:
    return Progress(plan, lambda _: None).carry_out()


def drawn_curves(plan: StudyPlan, states: list[State], monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the figure over the cost is asked to show."""
    seen: list[tuple[Any, ...]] = []
    monkeypatch.setattr(report, "draw_tradeoff", lambda curves, path, **about: seen.append((curves, path, about)))
    write_report(plan, states)
    return seen


def test_the_table_of_one_seed_has_intervals_and_fits_a_terminal(tmp_path: Path, pretender: Pretender) -> None:
    plan = planned(write_study(tmp_path, BUDGETS), "seeds=0")
    pretender.scores = {5: {"annotation": None, "percent_of_full": None, "percent_of_full_interval95": None}}
    text = text_report(plan, carried_out(plan))
    lines = text.splitlines()
    assert lines[0] == "Which CRF?"
    assert lines[1].split("  ")[0] == "run"
    assert [line.split() for line in lines[3:6]] == [
        ["weak", "1", "50.0", "(48.0–53.0)", "80.0", "(77.0–84.0)", "40.0", "1200", "20.0"],
        ["weak", "·", "25", "%", "1", "50.0", "(48.0–53.0)", "80.0", "(77.0–84.0)", "40.0", "1200", "20.0"],
        ["strong", "1", "50.0", "(48.0–53.0)", "–", "40.0", "–", "–"],
    ]
    assert max(map(len, lines)) <= 100
    assert lines[-2:] == [
        "full supervision: mIoU 62.5 (60.0–64.0)",
        "results are in runs/studies/" + plan.folder.name,
    ]


def test_the_table_of_several_seeds_has_deviations_and_tells_what_is_missing(
    tmp_path: Path, pretender: Pretender
) -> None:
    plan = planned(write_study(tmp_path, FILE.replace("seeds: [0, 1]", "seeds: [0, 1, 2]")))
    pretender.broken[5] = lambda: OSError("the disk is full")
    states = carried_out(plan)
    text = text_report(plan, states)
    assert [line.split() for line in text.splitlines()[3:5]] == [
        ["weak", "3", "50.0", "±", "0.0", "80.0", "±", "0.0", "40.0", "±", "0.0", "1200", "20.0"],
        ["strong", "0", "of", "3", "–", "–", "–", "–", "–"],
    ]
    assert "3 of 6 runs are done" in text
    assert "strong · seed 1 failed: OSError: the disk is full" in text
    page = html_report(plan, states)
    assert "<td" in page
    assert "50.0 ± 0.0" in page
    assert "OSError: the disk is full" in page


@pytest.mark.usefixtures("pretender")
def test_every_form_of_the_report_tells_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(write_study(tmp_path, BUDGETS))
    states = carried_out(plan)
    drawn_curves(plan, states, monkeypatch)
    assert (plan.folder / "table.txt").read_text() == text_report(plan, states) + "\n"
    assert (plan.folder / "table.md").read_text() == markdown_report(plan, states) + "\n"
    with (plan.folder / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    told = json.loads((plan.folder / "study.json").read_text())
    assert [(row["run"], row["budget"]) for row in rows] == [("weak", ""), ("weak", "25 %"), ("strong", "")]
    assert [row["miou"] for row in told["table"]] == [float(row["miou"]) for row in rows] == [50, 50, 50]
    assert {run["state"] for run in told["runs"]} == {"done"}
    assert all(Path(run["folder"]).is_dir() for run in told["runs"])
    assert "| weak · 25 % | 2 | 50.0 ± 0.0 |" in markdown_report(plan, states)


def test_the_curve_has_a_line_for_each_variant_and_one_for_full_supervision(
    tmp_path: Path, pretender: Pretender, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(write_study(tmp_path, BUDGETS), "seeds=0")
    pretender.scores = {5: {"annotation": {"seconds": 300.0, "per_image_seconds": 5.0}}}
    ((curves, path, about),) = drawn_curves(plan, carried_out(plan), monkeypatch)
    assert curves == [
        Curve("weak", ((1200.0, 50.0, 48.0, 53.0), (1200.0, 50.0, 48.0, 53.0))),
        Curve("strong", ((300.0, 50.0, 48.0, 53.0),)),
    ]
    assert path == plan.folder / "figures" / "cost.png"
    assert about["level"] == Curve("full supervision", ((0.0, 62.5, 60.0, 64.0),))


def test_no_curve_is_drawn_while_nobody_knows_a_price(
    tmp_path: Path, pretender: Pretender, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(write_study(tmp_path), "seeds=0", "runs=weak")
    pretender.scores = {1: {"annotation": None}}
    assert drawn_curves(plan, carried_out(plan), monkeypatch) == []


def test_failures_are_remembered_and_a_damaged_record_is_none(tmp_path: Path, pretender: Pretender) -> None:
    plan = planned(write_study(tmp_path), "seeds=0")
    pretender.broken[1] = lambda: RuntimeError("lost")
    write_report(plan, carried_out(plan))
    known = failures(plan.folder)
    assert list(known) == ["weak · seed 0"]
    assert known["weak · seed 0"]["error"] == "RuntimeError: lost"
    assert "Traceback" in known["weak · seed 0"]["trace"]
    for text in ("{", "[]", '{"runs": [1]}', '{"runs": [{"state": "failed"}]}'):
        (plan.folder / "study.json").write_text(text)
        assert failures(plan.folder) == {}
    assert failures(tmp_path / "nowhere") == {}
