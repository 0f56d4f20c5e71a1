"""The interface of studies: executed by name, shown as a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsss import console
from wsss.config import overrides_of
from wsss.errors import StageError
from wsss.runs import Drawing, Run
from wsss.studies.carry_out import DONE, FAILED, Inspector, Progress, State, find_states
from wsss.studies.plan import StudyPlan, plan_study
from wsss.studies.report import CURVE, failures, html_report, record, text_report, write_report


@dataclass(frozen=True)
class Study:
    """A study, finished or not; notebooks display its table.

    Attributes:
        plan: Its plan.
        states: State of each run.
    """

    plan: StudyPlan
    states: tuple[State, ...]

    @property
    def folder(self) -> Path:
        """Folder of its table and figures."""
        return self.plan.folder

    @property
    def runs(self) -> dict[str, Run]:
        """The finished runs, by title."""
        done = ((state.planned.title, state.folder) for state in self.states if state.state == DONE)
        return {title: Run(folder) for title, folder in done if folder is not None}

    @property
    def failed(self) -> dict[str, str]:
        """Errors of failed runs, by title."""
        return {state.planned.title: state.error or "" for state in self.states if state.state == FAILED}

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The table as plain values, one dict per line, for data frames."""
        return record(self.plan, self.states)["table"]

    def table(self) -> str:
        """The table as plain text."""
        return text_report(self.plan, self.states)

    def show(self, figure: str = Path(CURVE).stem) -> Drawing:
        """Show a figure.

        Args:
            figure: ``cost`` (mIoU over the cost of labels), ``labels_given``, ``pseudo_labels`` or ``predictions``.

        Raises:
            StageError: If there is no such figure yet.
        """
        path = self.folder / "figures" / f"{figure}.png"
        if not path.is_file():
            drawn = ", ".join(sorted(each.stem for each in path.parent.glob("*.png"))) or "none"
            raise StageError(f"study '{self.plan.name}' has no figure '{figure}' (it has: {drawn}); finish more runs")
        return Drawing(path)

    def __repr__(self) -> str:
        return f"Study({self.plan.name!r}: {len(self.runs)} of {len(self.states)} runs are done)"

    def _repr_html_(self) -> str:
        return html_report(self.plan, self.states)


def study(name: str, *overrides: str, report_only: bool = False, **settings: object) -> Study:
    """Execute a study: every remaining run, one after the other, with an updated table after each.

    A failed run is reported and recorded, and the study continues; the next start retries it. Interrupting a study
    loses only the work in progress.

    Args:
        name: Name of a study in experiments/, or a path to a YAML file.
        overrides: Settings for all of its runs, ``"experiment=voc21"``, and selections, ``"seeds=[0]"``,
            ``"runs=[tags,points]"``, ``"budgets=[]"``.
        report_only: Only report existing results.
        settings: More settings by name, ``rounds=1``, ``seeds=[0]``.

    Returns:
        The study.

    Raises:
        WsssError: If the study or one of its configurations is invalid; then nothing has been executed.
    """
    plan = plan_study(name, [*overrides, *overrides_of(settings)])
    if report_only:
        states = find_states(plan, failures(plan.folder))
        write_report(plan, states)
    else:
        states = Progress(plan, lambda now: write_report(plan, now)).carry_out()
    return Study(plan, tuple(states))


def dry_run(name: str, overrides: Sequence[str] = ()) -> str:
    """Table of what a study would do: its runs, their folders, and how many stages are left to do.

    A stage shared by several runs is counted once, with the first of them.

    Raises:
        WsssError: If the study or one of its configurations is invalid.
    """
    plan = plan_study(name, overrides)
    inspector = Inspector()
    counted: set[str] = set()
    rows: list[Sequence[object]] = []
    for planned in plan.runs:
        if planned.waits:
            rows.append([planned.title, "named when the cost of all labels is known", None])
            continue
        config = planned.config()
        left = set(inspector.left(config)) - counted
        counted |= left
        rows.append([planned.title, config.folder.name, len(left)])
    return console.format_table(f"study {plan.folder}: {plan.question}", ["run", "folder", "stages to do"], rows)
