"""Table and figures of a study, rewritten after each run, so that an unfinished study shows its results so far."""

import csv
import html
import io
import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsss import console
from wsss.plotting import Curve, draw_tradeoff
from wsss.runs import Run
from wsss.store import json_bytes, write_atomically
from wsss.studies.carry_out import DONE, FAILED, State
from wsss.studies.plan import StudyPlan
from wsss.studies.results import Line, full_supervision, scores_of
from wsss.studies.strips import Column, draw_study

RECORD = "study.json"
TABLE = "table"
CURVE = "cost.png"

WIDTH = 100
"""Line length of plain text."""

COLUMNS = ("run", "seeds", "mIoU", "% of full", "pseudo labels", "seconds", "s/image")
"""Columns of the table."""

LEGEND = (
    "mIoU on val, % of full supervision, mIoU of pseudo labels on train: percent; for one seed with the 95 % interval "
    "over images, for several as mean ± standard deviation. seconds: annotation time."
)


def lines_of(plan: StudyPlan, states: Sequence[State]) -> list[Line]:
    """Combine the runs that differ only in their seed, in the order of the file."""
    return [_line(label, [state for state in states if state.planned.label == label]) for label in plan.labels]


def _line(label: str, states: Sequence[State]) -> Line:
    planned = states[0].planned
    return Line(
        label=label,
        variant=planned.variant,
        budget=None if planned.budget is None else str(planned.budget),
        planned=len(states),
        scores={
            state.planned.seed: scores_of(Run(state.folder).summary)
            for state in states
            if state.state == DONE and state.folder is not None
        },
    )


def table_rows(lines: Sequence[Line]) -> list[Sequence[object]]:
    """Cells of the table, see ``COLUMNS``."""
    return [
        [
            line.label,
            line.seeds,
            *(None if found is None else str(found) for found in (line.miou, line.percent_of_full, line.pseudo_labels)),
            None if line.seconds is None else round(line.seconds),
            line.per_image_seconds,
        ]
        for line in lines
    ]


def remarks(plan: StudyPlan, states: Sequence[State], lines: Sequence[Line]) -> Iterator[str]:
    """Yield remarks on the table: full supervision, missing runs, failed runs."""
    full = full_supervision(lines)
    if full is not None:
        yield f"full supervision: mIoU {full}"
    left = sum(state.state != DONE for state in states)
    if left:
        yield f"{len(states) - left} of {len(states)} runs are done"
    for state in states:
        if state.state == FAILED:
            yield f"{state.planned.title} failed: {state.error}"
    yield f"results are in {plan.folder}"


def text_report(plan: StudyPlan, states: Sequence[State]) -> str:
    """The study as plain text."""
    lines = lines_of(plan, states)
    table = console.format_table(plan.question, COLUMNS, table_rows(lines))
    return "\n\n".join([table, textwrap.fill(LEGEND, WIDTH), "\n".join(remarks(plan, states, lines))])


def markdown_report(plan: StudyPlan, states: Sequence[State]) -> str:
    """The study as Markdown, with its figures."""
    lines = lines_of(plan, states)
    figures = [f"![{path.stem}](figures/{path.name})" for path in sorted((plan.folder / "figures").glob("*.png"))]
    parts = [f"# {plan.question}", console.markdown_table(COLUMNS, table_rows(lines)), LEGEND]
    listed = "\n".join(f"- {remark}" for remark in remarks(plan, states, lines))
    return "\n\n".join([*parts, listed, *figures])


def html_report(plan: StudyPlan, states: Sequence[State]) -> str:
    """The study as HTML for notebooks."""
    lines = lines_of(plan, states)
    said = [LEGEND, *remarks(plan, states, lines)]
    paragraphs = [f"<p>{html.escape(remark)}</p>" for remark in said]
    return "\n".join([console.html_table(plan.question, COLUMNS, table_rows(lines)), *paragraphs])


def record(plan: StudyPlan, states: Sequence[State]) -> dict[str, Any]:
    """The study as plain values."""
    lines = lines_of(plan, states)
    return {
        "study": plan.name,
        "question": plan.question,
        "table": [line.record() for line in lines],
        "runs": [_run_record(state) for state in states],
    }


def _run_record(state: State) -> dict[str, Any]:
    planned = state.planned
    return {
        "title": planned.title,
        "run": planned.variant,
        "seed": planned.seed,
        "budget": None if planned.budget is None else str(planned.budget),
        "state": state.state,
        "folder": None if state.folder is None else state.folder.as_posix(),
        "error": state.error,
        "trace": state.trace,
    }


def failures(folder: Path) -> dict[str, dict[str, Any]]:
    """Errors of failed runs when a study was last executed, by title."""
    try:
        runs = json.loads((folder / RECORD).read_bytes())["runs"]
        return {run["title"]: {"error": run["error"], "trace": run["trace"]} for run in runs if run["state"] == FAILED}
    except (OSError, ValueError, KeyError, TypeError):
        # an unreadable report is treated as missing
        return {}


def csv_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows with the same keys as CSV."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def write_report(plan: StudyPlan, states: Sequence[State]) -> None:
    """Write the table in all formats, and draw the figures."""
    draw_figures(plan, states)
    told = record(plan, states)
    write_atomically(plan.folder / RECORD, json_bytes(told))
    for suffix, text in (
        ("txt", text_report(plan, states)),
        ("md", markdown_report(plan, states)),
        ("csv", csv_table(told["table"]).rstrip("\n")),
    ):
        write_atomically(plan.folder / f"{TABLE}.{suffix}", f"{text}\n".encode())


def draw_figures(plan: StudyPlan, states: Sequence[State]) -> None:
    """Draw the score over the cost of labels, and the results of the first seed's runs on the same images."""
    figures = plan.folder / "figures"
    draw_cost(figures / CURVE, plan, lines_of(plan, states))
    columns: dict[str, Column] = {}
    for state in states:
        name = state.planned.variant
        if state.state == DONE and state.folder is not None and state.planned.budget is None and name not in columns:
            columns[name] = Column(name, state.planned.whole, Run(state.folder).summary)
    draw_study(figures, list(columns.values()))


def draw_cost(path: Path, plan: StudyPlan, lines: Sequence[Line]) -> None:
    """Draw mIoU over the cost of labels, one line per variant; nothing while no run has both."""
    points: dict[str, list[tuple[float, float, float, float]]] = {}
    for line in lines:
        if line.seconds and line.miou:
            points.setdefault(line.variant, []).append((line.seconds, line.miou.mean, *line.miou.ends))
    if not points:
        return
    full = full_supervision(lines)
    level = None if full is None else Curve("full supervision", ((0.0, full.mean, *full.ends),))
    curves = [Curve(name, tuple(each)) for name, each in points.items()]
    draw_tradeoff(
        curves, path, along="annotation time in seconds", value="mIoU on val, %", level=level, title=plan.question
    )
