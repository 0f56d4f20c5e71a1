"""Reports of a finished run: as plain text, and as HTML for notebooks."""

import base64
import html
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from wsss import console

COLUMNS = ("stage", "round", "mIoU", "coverage", "precision", "seconds", "cached")


def text_report(summary: dict[str, Any], folder: Path) -> str:
    """Format the table of stages, the segmenter's score and the location of the results.

    Args:
        summary: See ``summary.json``.
        folder: The run folder.
    """
    parts = [console.format_table("", COLUMNS, _rows(summary)), "\n".join(_conclusion(summary)), _place(folder)]
    return "\n\n".join(parts)


def html_report(summary: dict[str, Any], folder: Path) -> str:
    """Format the same as HTML, with the segmenter's score of each class and the run's figure.

    Args:
        summary: See ``summary.json``.
        folder: The run folder.

    Returns:
        Self-contained HTML: the figure is embedded.
    """
    tables = [console.html_table("", COLUMNS, _rows(summary))]
    if summary["segmenter"] is not None:
        scores = list(summary["segmenter"]["per_class"].items())
        tables.append(console.html_table("segmenter, by class", ["class", "IoU"], scores))
    beside = "\n".join(f'<div style="margin-right: 3em">{table}</div>' for table in tables)
    lines = [f"<p>{html.escape(line)}</p>" for line in [*_conclusion(summary), _place(folder)]]
    parts = [f'<div style="display: flex; align-items: flex-start; flex-wrap: wrap">{beside}</div>', *lines]
    return "\n".join([f"<p><b>run {html.escape(folder.name)}</b></p>", *parts, *_figure(folder)])


def _figure(folder: Path) -> Iterator[str]:
    """The strips of training images that the run has drawn."""
    path = folder / "figures" / "strips_train.png"
    if path.exists():
        content = base64.b64encode(path.read_bytes()).decode()
        yield f'<img alt="images, stage by stage" style="max-width: 100%" src="data:image/png;base64,{content}"/>'


def _place(folder: Path) -> str:
    return f"results are in {folder}: summary.json, metrics.jsonl, run.yaml, figures/, links to the artefacts"


def _rows(summary: dict[str, Any]) -> list[Sequence[object]]:
    """A row per stage, and one for the best threshold of the CAMs."""
    scores = {(row["name"], row["round"]): row for row in summary["stages"]}
    rows: list[Sequence[object]] = []
    for work in summary["work"]:
        rows.append(_line(work, scores.get((work["name"], work["round"]), {})))
        if work["name"] == "cams":
            rows += [
                _line({**row, "seconds": None, "cached": None}, row)
                for row in summary["stages"]
                if row["name"] == "cams_oracle"
            ]
    return rows


def _line(work: dict[str, Any], scores: dict[str, Any]) -> list[object]:
    found = [scores.get(name) for name in ("miou", "coverage", "precision")]
    return [work["name"], work["round"], *found, work["seconds"], work["cached"]]


def _conclusion(summary: dict[str, Any]) -> Iterator[str]:
    segmenter = summary["segmenter"]
    if segmenter is None:
        yield (
            "no segmenter was evaluated"
            if summary["data"]["val"]
            else "no validation images, so no segmenter was evaluated"
        )
        return
    low, high = segmenter["interval95"]
    yield f"segmenter of round {segmenter['round']}, on val: mIoU {segmenter['miou']:.1f} (95 %: {low:.1f}–{high:.1f})"
    if summary["percent_of_full"] is not None:
        low, high = summary["percent_of_full_interval95"]
        full = summary["full_supervision"]["miou"]
        share = f"{summary['percent_of_full']:.1f} % of it (95 %: {low:.1f}–{high:.1f})"
        yield f"full supervision: mIoU {full:.1f}; the segmenter reaches {share}"
