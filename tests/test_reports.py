"""What is said of a run, from a summary written by hand."""

import base64
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from wsss.reports import html_report, text_report

WORK: tuple[dict[str, Any], ...] = (
    {"name": "classifier", "round": 0, "seconds": 12.5, "cached": False},
    {"name": "cams", "round": 0, "seconds": 3.0, "cached": True},
    {"name": "seeds", "round": 0, "seconds": 0.5, "cached": False},
    {"name": "seeds", "round": 1, "seconds": 0.25, "cached": False},
)
SCORES: tuple[dict[str, Any], ...] = (
    {"name": "cams", "round": 0, "miou": 40.0, "coverage": 100.0, "precision": 60.0},
    {"name": "cams_oracle", "round": 0, "miou": 45.0, "coverage": 100.0, "precision": 62.5},
    {"name": "seeds", "round": 0, "miou": 20.0, "coverage": 30.0, "precision": 90.0},
    {"name": "seeds", "round": 1, "miou": 25.0, "coverage": 35.0, "precision": 91.0},
)
SEGMENTER: dict[str, Any] = {
    "round": 1,
    "miou": 51.26,
    "interval95": [48.0, 54.04],
    "per_class": {"background": 80.0, "cat & dog": 22.5},
}


def summary(**changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "work": list(WORK),
        "stages": list(SCORES),
        "segmenter": SEGMENTER,
        "full_supervision": None,
        "percent_of_full": None,
        "percent_of_full_interval95": None,
        "data": {"val": 4},
    }
    return {**plain, **changes}


def page(folder: Path, **changes: Any) -> ElementTree.Element:
    """The HTML; it can be parsed only if all that is told is escaped."""
    return ElementTree.fromstring(f"<div>{html_report(summary(**changes), folder)}</div>")


def cells(table: ElementTree.Element) -> list[list[str | None]]:
    return [[cell.text for cell in row] for row in table.iter("tr")]


def test_each_stage_is_a_row_with_its_own_scores_and_the_best_threshold_comes_behind_the_cams() -> None:
    rows = [line.split() for line in text_report(summary(), Path("runs/mine")).splitlines()]
    assert rows[0] == ["stage", "round", "mIoU", "coverage", "precision", "seconds", "cached"]
    named = [row for row in rows if row and row[0] in ("classifier", "cams", "cams_oracle", "seeds")]
    assert [row[:2] for row in named] == [
        ["classifier", "0"],
        ["cams", "0"],
        ["cams_oracle", "0"],
        ["seeds", "0"],
        ["seeds", "1"],
    ]
    found = [[float(number) for number in row[2:5]] for row in named[1:]]
    assert found == [[row["miou"], row["coverage"], row["precision"]] for row in SCORES]
    assert "12.5" in named[0]


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({}, ["segmenter of round 1, on val: mIoU 51.3 (95 %: 48.0–54.0)"]),
        (
            {
                "full_supervision": {"miou": 60.0},
                "percent_of_full": 85.43,
                "percent_of_full_interval95": [80.0, 91.16],
            },
            [
                "segmenter of round 1, on val: mIoU 51.3 (95 %: 48.0–54.0)",
                "full supervision: mIoU 60.0; the segmenter reaches 85.4 % of it (95 %: 80.0–91.2)",
            ],
        ),
        ({"segmenter": None}, ["no segmenter was evaluated"]),
        ({"segmenter": None, "data": {"val": 0}}, ["no validation images, so no segmenter was evaluated"]),
    ],
    ids=["alone", "beside full supervision", "ended before", "nothing to measure on"],
)
def test_the_conclusion_is_the_same_in_text_and_in_a_notebook(changes: dict[str, Any], lines: list[str]) -> None:
    folder = Path("runs/mine")
    place = f"results are in {folder}: summary.json, metrics.jsonl, run.yaml, figures/, links to the artefacts"
    assert text_report(summary(**changes), folder).split("\n\n")[1:] == ["\n".join(lines), place]
    told = [paragraph.text for paragraph in page(folder, **changes).iter("p")]
    assert told == [None, *lines, place]


def test_a_notebook_shows_the_score_of_each_class_beside_the_stages() -> None:
    stages, classes = page(Path("runs/mine")).iter("table")
    assert [row[0] for row in cells(stages)] == ["stage", "classifier", "cams", "cams_oracle", "seeds", "seeds"]
    assert [row[0] for row in cells(classes)] == ["class", "background", "cat & dog"]
    assert [float(row[1] or "") for row in cells(classes)[1:]] == [80.0, 22.5]
    assert len(list(page(Path("runs/mine"), segmenter=None).iter("table"))) == 1


def test_a_notebook_shows_the_strips_that_the_run_has_drawn_and_needs_no_file_for_it(tmp_path: Path) -> None:
    assert not list(page(tmp_path).iter("img"))
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "strips_train.png").write_bytes(b"a picture")
    (image,) = page(tmp_path).iter("img")
    kind, _, content = image.attrib["src"].partition(",")
    assert (kind, base64.b64decode(content)) == ("data:image/png;base64", b"a picture")


def test_a_run_is_called_by_the_name_of_its_folder_whatever_its_characters() -> None:
    (name,) = page(Path("runs/a <b>run & more")).iter("b")
    assert name.text == "run a <b>run & more"
