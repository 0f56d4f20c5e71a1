"""Studies as one opens them: carried out by name, shown as a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsss import console
from wsss.config import written
from wsss.errors import StageError
from wsss.runs import Drawing, Run
from wsss.studies.carry_out import DONE, FAILED, Inspector, Progress, State, found
from wsss.studies.plan import StudyPlan, plan_study
from wsss.studies.report import CURVE, failures, html_report, record, text_report, write_report


@dataclass(frozen=True)
class Study:
    """A study as far as it has come; a notebook shows its table.

    Attributes:
        plan: What it is to do.
        states: How far each run has come.
    """

    plan: StudyPlan
    states: tuple[State, ...]

    @property
    def folder(self) -> Path:
        """Where its table and figures lie."""
        return self.plan.folder

    @property
    def runs(self) -> dict[str, Run]:
        """The runs that are done, by title."""
        done = ((state.planned.title, state.folder) for state in self.states if state.state == DONE)
        return {title: Run(folder) for title, folder in done if folder is not None}

    @property
    def failed(self) -> dict[str, str]:
        """Why runs have failed, by title."""
        return {state.planned.title: state.error or "" for state in self.states if state.state == FAILED}

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The table as plain values, a dict a line, such as data frames are made of."""
        return record(self.plan, self.states)["table"]

    def table(self) -> str:
        """The table as plain text."""
        return text_report(self.plan, self.states)

    def show(self, figure: str = Path(CURVE).stem) -> Drawing:
        """Show a figure.

        Args:
            figure: ``cost`` (mIoU over the cost of labels), ``labels_given``, ``pseudo_labels`` or ``predictions``.

        Raises:
            StageError: If no run has what it shows.
        """
        path = self.folder / "figures" / f"{figure}.png"
        if not path.is_file():
            drawn = ", ".join(sorted(each.stem for each in path.parent.glob("*.png"))) or "none"
            raise StageError(f"study '{self.plan.name}' has no figure '{figure}' (it has: {drawn}); let more runs end")
        return Drawing(path)

    def _repr_html_(self) -> str:
        return html_report(self.plan, self.states)


def study(name: str, *overrides: str, report_only: bool = False, **settings: object) -> Study:
    """Carry out a study: every run that is left, one after the other, a table after each.

    A run that fails is told and recorded, and the study goes on; the next start tries it again. A stop at any moment
    costs what was under way.

    Args:
        name: Name of a study in experiments/, or a path to a YAML file.
        overrides: Settings for all of its runs, ``"experiment=voc21"``, and what to take of it, ``"seeds=[0]"``,
            ``"runs=[tags,points]"``, ``"budgets=[]"``.
        report_only: Only put together what there is.
        settings: More settings by name, ``rounds=1``, ``seeds=[0]``.

    Returns:
        The study.

    Raises:
        WsssError: If the study or one of its configurations is malformed; nothing has been carried out then.
    """
    plan = plan_study(name, [*overrides, *(f"{key}={written(value)}" for key, value in settings.items())])
    if report_only:
        states = found(plan, failures(plan.folder))
        write_report(plan, states)
    else:
        states = Progress(plan, lambda now: write_report(plan, now)).carry_out()
    return Study(plan, tuple(states))


def dry_run(name: str, overrides: Sequence[str] = ()) -> str:
    """The table of what a study would do: its runs, their folders, and how many stages are left to do.

    A stage that runs share is counted once, with the first of them.

    Raises:
        WsssError: If the study or one of its configurations is malformed.
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
