"""Execution of a study: run after run; finished ones are not repeated, and a failure does not stop the others."""

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsss import console
from wsss.config import Config, to_dict
from wsss.data import open_dataset
from wsss.data.base import Dataset
from wsss.errors import StageError, WsssError
from wsss.execution import asked_for
from wsss.pipeline import Plan, plan
from wsss.runs import CONFIG, Run, run
from wsss.stages.base import is_done
from wsss.store import Store, digest_of
from wsss.studies.plan import PlannedRun, StudyPlan
from wsss.studies.results import scores_of
from wsss.summary import FILE as SUMMARY
from wsss.tasks.devices import precision_of

DONE, FAILED, TO_DO = "done", "failed", "to do"

FAILURES = (WsssError, RuntimeError, OSError, MemoryError)
"""Errors that may affect one run but not the next: its settings, its data, the machine. Anything else is a bug, which
would affect every run: it ends the study."""


@dataclass(frozen=True)
class State:
    """State of a run of a study.

    Attributes:
        planned: The run.
        state: ``DONE``, ``FAILED`` or ``TO_DO``.
        folder: The run's folder; None while its budget is a share of an unknown cost.
        error: Why it failed, in a line or two.
        trace: Traceback, for failures that may be bugs.
    """

    planned: PlannedRun
    state: str = TO_DO
    folder: Path | None = None
    error: str | None = None
    trace: str | None = None


class Progress:
    """States of the runs of a study while it is executed.

    Args:
        plan: The study.
        report: Called with all states whenever one has changed.
    """

    def __init__(self, plan: StudyPlan, report: Callable[[Sequence[State]], None]) -> None:
        self.plan, self.report = plan, report
        self.states = {planned.title: State(planned, folder=_folder(planned)) for planned in plan.runs}
        self.inspector = Inspector()

    def carry_out(self) -> list[State]:
        """Execute the remaining runs, in order.

        Raises:
            WsssError: If a run cannot be planned; then nothing has been executed.
        """
        for planned in self.plan.runs:
            if not planned.waits and self.inspector.finished(planned.config()):
                self._set(State(planned, DONE, _folder(planned)))
        count, done = len(self.plan.runs), sum(state.state == DONE for state in self.states.values())
        if done:
            console.note(f"{done} of {count} runs are finished already")
        for place, planned in enumerate(self.plan.runs, start=1):
            if self.states[planned.title].state != DONE:
                self._carry_out(planned, f"run {place} of {count}: {planned.title}")
                self.report(self.all)
        self.report(self.all)
        return self.all

    @property
    def all(self) -> list[State]:
        """State of each run, in the order of the study."""
        return list(self.states.values())

    def _carry_out(self, planned: PlannedRun, title: str) -> None:
        begun = time.monotonic()
        folder = None
        try:
            config = self._config(planned)
            folder = config.folder
            if planned.waits and self.inspector.finished(config):
                console.note(f"{title} is finished already")
                self._set(State(planned, DONE, folder))
                return
            console.note(f"{title}, in {folder}")
            ended = run(config=config)
        except FAILURES as error:
            self._set(failure(planned, folder, error))
            console.note(f"{title} failed: {error}\nthe study continues with the next run")
            return
        self._set(State(planned, DONE, folder))
        miou = scores_of(ended.summary).miou
        scored = "" if miou is None else f": mIoU {miou:.1f}"
        console.note(f"{title} is done in {time.monotonic() - begun:.0f} s{scored}")

    def _set(self, state: State) -> None:
        self.states[state.planned.title] = state

    def _config(self, planned: PlannedRun) -> Config:
        """Configuration of a run, with its budget computed from the cost of all labels.

        Raises:
            StageError: If that cost is not known.
        """
        if not planned.waits:
            return planned.config()
        cost = known_cost(self.states[self.plan.unlimited(planned).title])
        if cost is None:
            raise StageError(
                f"the budget is a share of what '{self.plan.unlimited(planned).title}' costs, which is not known; "
                "fix that run first"
            )
        return planned.config(cost)


def known_cost(state: State) -> float | None:
    """Seconds that the labels of a finished run cost; None if unknown."""
    if state.state != DONE or state.folder is None:
        return None
    return scores_of(Run(state.folder).summary).seconds


def failure(planned: PlannedRun, folder: Path | None, error: BaseException) -> State:
    """Return the failed state of a run, with its error."""
    trace = None if isinstance(error, WsssError) else "".join(traceback.format_exception(error))
    said = str(error) if isinstance(error, WsssError) else f"{type(error).__name__}: {error}".strip(": ")
    return State(planned, FAILED, folder, said, trace)


def _folder(planned: PlannedRun) -> Path | None:
    return None if planned.waits else planned.config().folder


class Inspector:
    """Determines the current stages of a configuration, and whether a run has completed all of them.

    Consecutive configurations with the same data set open it once, since fingerprinting reads all of it. Only one is
    held.
    """

    def __init__(self) -> None:
        self._opened: tuple[str, Dataset] | None = None

    def plan(self, config: Config) -> Plan:
        """Plan the stages of a configuration."""
        return plan(config, self._dataset(config), precision_of(config.trainer))

    def finished(self, config: Config) -> bool:
        """Whether a run of this configuration has finished, with the current data and code.

        Its summary must contain each stage that would be executed, under its current key. So runs on other data, of
        older code or with an earlier ``until`` are not mistaken for the requested one.
        """
        planned = self.plan(config)
        _, until = asked_for(config, [step.stage for step in planned])
        summary = summary_of(config)
        if summary is None:
            return False
        been = {(row["name"], row["round"], row["key"]) for row in summary["work"]}
        back = [row["round"] for row in summary["rounds"] if row.get("kept") is False]
        left_out = {
            step.stage.title for later in planned.rounds if back and later.index > min(back) for step in later.steps
        }
        stages = [step.stage for place, step in enumerate(planned) if place <= until]
        return all((stage.name, stage.round, stage.key) in been or stage.title in left_out for stage in stages)

    def left(self, config: Config) -> list[str]:
        """Keys of the stages that are not in the store yet."""
        planned = self.plan(config)
        _, until = asked_for(config, [step.stage for step in planned])
        store = Store(Path(config.store.root))
        steps = [step for place, step in enumerate(planned) if place <= until]
        return [f"{step.stage.name}/{step.stage.key}" for step in steps if not is_done(store, step.stage)]

    def _dataset(self, config: Config) -> Dataset:
        settings = to_dict(config)
        shared = digest_of([settings["data"], settings["labels"]])
        if self._opened is None or self._opened[0] != shared:
            self._opened = None  # before the next is opened, not after
            self._opened = shared, open_dataset(config.data, config.labels)
        return self._opened[1]


def summary_of(config: Config) -> dict[str, Any] | None:
    """Summary of a finished run of exactly this configuration, up to the same stage; None if there is none."""
    ended = Run(config.folder)
    if not (ended.ended and (config.folder / CONFIG).exists()):
        return None
    same = ended.summary.get("config") == config.hash and ended.config.until == config.until
    return ended.summary if same else None


def _came_to_its_end(folder: Path) -> bool:
    """Whether the last start of a run finished: its settings are written at the start, its summary at the end."""
    times = [path.stat().st_mtime_ns for path in (folder / CONFIG, folder / SUMMARY) if path.exists()]
    return times == sorted(times)


def find_states(plan: StudyPlan, failures: Mapping[str, Any]) -> list[State]:
    """Determine the states of a study's runs from their folders; nothing is executed and no data is opened.

    Args:
        plan: The study.
        failures: Errors of failed runs, by title, as in ``study.json``.
    """
    states: dict[str, State] = {}
    for planned in plan.runs:
        cost = known_cost(states[plan.unlimited(planned).title]) if planned.waits else None
        known = not planned.waits or cost is not None
        config = planned.config(cost) if known else None
        folder = config.folder if config else None
        states[planned.title] = State(planned, folder=folder)
        failed = failures.get(planned.title)
        # a failed run may have finished since, in another study or on its own
        if config and summary_of(config) is not None and (failed is None or _came_to_its_end(config.folder)):
            states[planned.title] = State(planned, DONE, folder)
        elif failed is not None:
            states[planned.title] = State(planned, FAILED, folder, **failed)
    return list(states.values())
