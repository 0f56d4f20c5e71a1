"""The summary of a run: scores in percent, and details on how they were obtained."""

import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wsss.functional.boundary import boundary_iou
from wsss.functional.confusion import (
    bootstrap_interval,
    class_iou,
    coverage,
    mean_iou,
    paired_ratio_interval,
    pixel_accuracy,
    precision,
)
from wsss.stages.evaluate import ORACLE_STEPS, Counts, read_oracle, read_pooled
from wsss.store import Artefact, json_bytes, write_atomically

FILE = "summary.json"

CLASS_COLUMNS = ("class", "IoU", "precision", "recall")
"""Columns of the table with a row per class, in percent."""

Row = dict[str, Any]


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Write the summary of a run, with classes in their order."""
    write_atomically(folder / FILE, json_bytes(summary, sort=False))


def percent(share: float | None) -> float | None:
    """Convert a share to percent, with two decimals."""
    return None if share is None else round(100 * share, 2)


def scores_row(confusion: Tensor | None) -> Row:
    """Scores of one pooled confusion matrix; None if there is no ground truth."""
    if confusion is None or not confusion.any():
        return dict.fromkeys(("miou", "pixel_accuracy", "coverage", "precision"))
    labelled = bool(confusion[:, :-1].any())
    return {
        "miou": percent(mean_iou(confusion)),
        "pixel_accuracy": percent(pixel_accuracy(confusion)),
        "coverage": percent(coverage(confusion)),
        "precision": percent(precision(confusion)) if labelled else None,
    }


def label_rows(name: str, scored: Artefact, classes: int) -> list[tuple[str, Row]]:
    """Rows of the table for one evaluated label map; CAMs have a second row, for the best threshold.

    Returns:
        Pairs of the row's name and its scores.
    """
    rows = [(name, scores_row(read_pooled(scored, classes)))]
    if name == "cams":
        oracle, threshold = best_threshold(read_oracle(scored))
        rows.append(("cams_oracle", scores_row(oracle) | {"threshold": threshold}))
    return rows


def best_threshold(confusions: Tensor) -> tuple[Tensor | None, float | None]:
    """Return the confusion matrix with the highest mean IoU among all thresholds, and its threshold."""
    if not confusions.any():
        return None, None
    scores = [mean_iou(confusion) for confusion in confusions]
    best = max(range(len(scores)), key=scores.__getitem__)
    return confusions[best], best / ORACLE_STEPS


def class_rows(confusion: Tensor | None, names: Sequence[str], background: bool) -> list[list[Any]]:
    """Rows of the table of classes, see ``CLASS_COLUMNS``; empty if there is no ground truth.

    Args:
        confusion: (K, K + 1), pooled.
        names: Names of the C foreground classes.
        background: Whether label 0 is a class of its own.

    Returns:
        A row per label; None where a score is undefined.
    """
    if confusion is None or not confusion.any():
        return []
    right, true = confusion.diagonal().double(), confusion.sum(1).double()
    columns = [class_iou(confusion), _shares(right, confusion[:, :-1].sum(0).double()), _shares(right, true)]
    rows = [
        [name, *(percent(share) for share in shares)]
        for name, *shares in zip(["background", *names], *columns, strict=True)
    ]
    return rows if background else rows[1:]


def _shares(parts: Tensor, wholes: Tensor) -> list[float | None]:
    return [part / whole if whole else None for part, whole in zip(parts.tolist(), wholes.tolist(), strict=True)]


def segmenter_row(counts: Counts | None, names: Sequence[str], *, background: bool) -> Row | None:
    """Scores of a segmenter on the validation images, with their interval; None if there is no ground truth."""
    if counts is None or not counts.pooled.any():
        return None
    pooled = counts.pooled
    bands = counts.boundary.sum(0) if counts.boundary is not None else None
    labels = ["background", *names]
    each = class_iou(pooled)
    return {
        "miou": percent(mean_iou(pooled)),
        "pixel_accuracy": percent(pixel_accuracy(pooled)),
        "boundary_iou": percent(boundary_iou(bands)) if bands is not None and bands.any() else None,
        "per_class": {
            name: percent(share)
            for name, share in zip(labels, each, strict=True)
            if share is not None and (background or name != labels[0])
        },
        "interval95": [percent(end) for end in bootstrap_interval(counts.confusions)],
    }


def compare_with_ceiling(weak: Counts | None, full: Counts | None) -> Row:
    """The ceiling's score, and the score from weak labels in percent of it, with a paired interval."""
    if full is None or weak is None or not full.pooled.any():
        return {"full_supervision": None, "percent_of_full": None, "percent_of_full_interval95": None}
    ceiling = mean_iou(full.pooled)
    interval = paired_ratio_interval(weak.confusions, full.confusions) if ceiling else None
    return {
        "full_supervision": {
            "miou": percent(ceiling),
            "interval95": [percent(e) for e in bootstrap_interval(full.confusions)],
        },
        "percent_of_full": percent(mean_iou(weak.pooled) / ceiling) if ceiling else None,
        "percent_of_full_interval95": [round(end, 2) for end in interval] if interval else None,
    }


def environment(device: torch.device, size: int, precision_: str) -> Row:
    """Software and hardware of the run."""
    return {
        "git": _revision(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.machine(),
        "precision": precision_,
        "world_size": size,
    }


def _revision() -> str | None:
    """The commit of the checkout that the code runs from; None outside of one."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None
