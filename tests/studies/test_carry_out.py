import gc
import json
import os
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.studies.pretence import FILE, WHOLE, Pretender, install, planned, summary, write_study
from wsss.data import Dataset, open_dataset
from wsss.errors import StageError, WsssError
from wsss.studies import carry_out
from wsss.studies.carry_out import DONE, FAILED, TO_DO, Inspector, Progress, State, find_states
from wsss.studies.plan import StudyPlan

BUDGETS = FILE + "budgets: [25%]\nbudgeted: [weak]\n"


@pytest.fixture
def pretender(monkeypatch: pytest.MonkeyPatch) -> Pretender:
    return install(monkeypatch)


@pytest.fixture
def plan(tmp_path: Path) -> StudyPlan:
    return planned(write_study(tmp_path))


def states_of(plan: StudyPlan) -> dict[str, str]:
    return {state.planned.title: state.state for state in Progress(plan, lambda _: None).carry_out()}


def ran(pretender: Pretender) -> list[tuple[int, int]]:
    """CRF iterations and seed of the runs that were carried out since this was last asked."""
    done = [(config.crf.iterations, config.seed) for config in pretender.ran]
    pretender.ran.clear()
    return done


def test_what_is_finished_is_not_repeated(plan: StudyPlan, pretender: Pretender) -> None:
    assert set(states_of(plan).values()) == {DONE}
    assert ran(pretender) == [(1, 0), (5, 0), (1, 1), (5, 1)]
    assert set(states_of(plan).values()) == {DONE}
    assert ran(pretender) == []


def test_a_stop_keeps_what_is_done_and_the_next_start_goes_on(
    plan: StudyPlan, pretender: Pretender, capsys: pytest.CaptureFixture[str]
) -> None:
    pretender.broken[5] = KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        states_of(plan)
    assert ran(pretender) == [(1, 0), (5, 0)]
    pretender.broken.clear()
    capsys.readouterr()
    assert set(states_of(plan).values()) == {DONE}
    assert ran(pretender) == [(5, 0), (1, 1), (5, 1)]
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "1 of 4 runs are finished already"
    assert said[1].startswith("run 2 of 4: strong · seed 0, in runs/synthetic-")
    assert "is done in 0 s: mIoU 50.0" in said[2]


@pytest.mark.parametrize("error", [StageError("lost"), RuntimeError("lost"), OSError("lost"), MemoryError("lost")])
def test_a_run_that_fails_is_told_and_the_others_go_on(
    error: Exception, plan: StudyPlan, pretender: Pretender, capsys: pytest.CaptureFixture[str]
) -> None:
    pretender.broken[1] = lambda: error
    reported: list[list[str]] = []
    progress = Progress(plan, lambda states: reported.append([state.state for state in states]))
    states = progress.carry_out()
    assert [state.state for state in states] == [FAILED, DONE, FAILED, DONE]
    assert "lost" in str(states[0].error)
    assert (states[0].trace is None) == isinstance(error, StageError)  # an error of our own says what to do
    assert "run 1 of 4: weak · seed 0 failed: lost\nthe study continues with the next run" in capsys.readouterr().err
    assert reported[0] == [FAILED, TO_DO, TO_DO, TO_DO]
    assert reported[1] == [FAILED, DONE, TO_DO, TO_DO]
    ran(pretender)
    pretender.broken.clear()
    assert set(states_of(plan).values()) == {DONE}
    assert ran(pretender) == [(1, 0), (1, 1)]


def test_a_mistake_of_the_code_ends_the_study(plan: StudyPlan, pretender: Pretender) -> None:
    pretender.broken[1] = lambda: TypeError("no")
    with pytest.raises(TypeError):
        states_of(plan)


def test_a_run_that_can_not_be_planned_is_refused_before_any_starts(tmp_path: Path, pretender: Pretender) -> None:
    text = FILE.replace("crf.iterations: 5", "crf.iterations: 5, segmenter.weights: nowhere.pth")
    with pytest.raises(WsssError, match=r"nowhere\.pth"):
        states_of(planned(write_study(tmp_path, text)))
    assert pretender.ran == []


def test_a_share_of_the_cost_is_reckoned_when_the_cost_is_known(tmp_path: Path, pretender: Pretender) -> None:
    plan = planned(write_study(tmp_path, BUDGETS))
    pretender.scores = {1: {"annotation": {"seconds": 1000.0, "per_image_seconds": 10.0}}}
    assert set(states_of(plan).values()) == {DONE}
    assert [config.labels.budget_seconds for config in pretender.ran] == [None] * 4 + [250.0] * 2
    ran(pretender)
    assert set(states_of(plan).values()) == {DONE}
    assert ran(pretender) == []


def test_a_share_of_what_nobody_knows_fails_and_names_the_run_to_mend(tmp_path: Path, pretender: Pretender) -> None:
    plan = planned(write_study(tmp_path, BUDGETS), "seeds=0")
    pretender.scores = {1: {"annotation": None}}
    *_, share = Progress(plan, lambda _: None).carry_out()
    assert (share.state, share.folder) == (FAILED, None)
    assert "share of what 'weak · seed 0' costs" in str(share.error)


def test_a_run_is_finished_when_it_has_been_through_the_stages_that_there_are_now(
    plan: StudyPlan, pretender: Pretender
) -> None:
    config = plan.runs[0].config()
    inspector = Inspector()
    assert not inspector.finished(config)
    pretender(config=config)
    assert inspector.finished(config)
    path = config.folder / "summary.json"
    whole = json.loads(path.read_text())
    assert [row["name"] for row in whole["work"]][-1] == "ceiling_predictions"
    cut = whole | {"work": whole["work"][:4]}  # as `until` leaves it
    other = whole | {"work": [{**row, "key": "other"} if row["name"] == "crf" else row for row in whole["work"]]}
    for changed in (cut, other, whole | {"config": "other"}):
        path.write_text(json.dumps(changed))
        assert not inspector.finished(config)


def test_rounds_after_one_that_was_taken_back_are_not_waited_for(tmp_path: Path, pretender: Pretender) -> None:
    config = planned(write_study(tmp_path), "rounds=3", "seeds=0").runs[0].config()
    pretender(config=config)
    path = config.folder / "summary.json"
    whole = json.loads(path.read_text())
    path.write_text(json.dumps(whole | {"work": [row for row in whole["work"] if row["round"] < 2]}))
    assert not Inspector().finished(config)
    back = [{"round": 0, "kept": True}, {"round": 1, "kept": False}]
    path.write_text(json.dumps(whole | {"work": [row for row in whole["work"] if row["round"] < 2], "rounds": back}))
    assert Inspector().finished(config)


def test_what_there_is_is_found_without_carrying_anything_out(tmp_path: Path, pretender: Pretender) -> None:
    plan = planned(write_study(tmp_path, BUDGETS), "seeds=0")
    assert [state.state for state in find_states(plan, {})] == [TO_DO] * 3
    pretender(config=plan.runs[0].config())
    whole, failed, share = find_states(plan, {"strong · seed 0": {"error": "lost", "trace": None}})
    assert (whole.state, failed.state, failed.error, share.state) == (DONE, FAILED, "lost", TO_DO)
    assert share.folder == plan.runs[2].config(WHOLE).folder
    pretender(config=plan.runs[2].config(WHOLE))
    assert find_states(plan, {})[2] == State(plan.runs[2], DONE, share.folder)
    assert len(pretender.ran) == 2


def test_a_run_that_was_cut_short_since_is_not_done(tmp_path: Path, pretender: Pretender) -> None:
    plan = planned(write_study(tmp_path), "seeds=0", "runs=weak")
    config = plan.runs[0].config()
    pretender(config=config)
    assert [state.state for state in find_states(plan, {})] == [DONE]
    # the same run once more, but to its CAMs only, takes the summary's place
    pretender(config=replace(config, until="cams"))
    assert [state.state for state in find_states(plan, {})] == [TO_DO]


def test_a_run_that_has_ended_since_it_failed_is_done(tmp_path: Path, pretender: Pretender) -> None:
    plan = planned(write_study(tmp_path), "seeds=0", "runs=weak")
    (run,) = plan.runs
    failed = {run.title: {"error": "lost", "trace": None}}
    assert [state.state for state in find_states(plan, failed)] == [FAILED]
    pretender(config=run.config())
    assert find_states(plan, failed) == [State(run, DONE, run.config().folder)]
    # started again, and no newer summary
    settings, ended = (run.config().folder / name for name in ("run.yaml", "summary.json"))
    for started, state in ((1, FAILED), (-1, DONE)):
        os.utime(settings, ns=(0, ended.stat().st_mtime_ns + started * 10**9))
        assert [each.state for each in find_states(plan, failed)] == [state]


def test_one_data_set_is_held_at_a_time_and_opened_once_for_runs_that_share_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[weakref.ref[Dataset]] = []

    def opening(*settings: Any) -> Dataset:
        gc.collect()
        assert [one for one in opened if one() is not None] == []
        dataset = open_dataset(*settings)
        opened.append(weakref.ref(dataset))
        return dataset

    monkeypatch.setattr(carry_out, "open_dataset", opening)
    text = "study: Q\nruns:\n  - {name: tags}\n  - {name: points, labels.kinds: [points]}\n"
    inspector = Inspector()
    for run in planned(write_study(tmp_path, text), "seeds=0").runs:
        assert inspector.left(run.config()) == inspector.left(run.config())
    assert len(opened) == 2


def test_stages_that_are_left_are_those_that_the_store_has_not(plan: StudyPlan) -> None:
    left = Inspector().left(plan.runs[0].config())
    assert len(left) == len(summary(plan.runs[0].config())["work"])
    assert left[0].startswith("classifier/")
