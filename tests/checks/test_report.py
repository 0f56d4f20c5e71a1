import base64
import json
from pathlib import Path

from PIL import Image as PillowImage

from wsss.checks.looks import Finding
from wsss.checks.report import LISTED, DataReport


def report(*findings: Finding, sheet: Path | None = None) -> DataReport:
    splits = [{"split": "train", "with_truth": 2, "smallest": (3, 4)}]
    classes = [{"label": 1, "class": "cat", "train_pixels": 12}]
    return DataReport(name="toy", splits=splits, classes=classes, findings=list(findings), sheet=sheet)


def test_a_report_of_nothing_says_so() -> None:
    lines = report().table().splitlines()
    assert lines[0] == "data set toy"
    assert lines[1].split() == ["split", "with", "truth", "smallest"]
    assert lines[3].split() == ["train", "2", "3", "×", "4"]
    assert lines[-1] == "nothing is wrong, 0 remarks"
    assert report().ok


def test_faults_come_first_and_alike_ones_together() -> None:
    told = report(Finding("b", "one", fault=False), Finding("a", "two"), Finding("c", "three"), Finding("a", "four"))
    assert [line for line in told.table().splitlines() if "," in line] == [
        "fault, a: two",
        "fault, a: four",
        "fault, c: three",
        "remark, b: one",
        "3 faults, 1 remark",
    ]
    assert [finding.text for finding in told.faults] == ["two", "three", "four"]
    assert not told.ok


def test_of_many_alike_findings_the_first_are_listed_and_json_has_all(tmp_path: Path) -> None:
    many = [Finding("size", f"mask {number}") for number in range(LISTED + 3)]
    told = report(*many, Finding("other", "last"), sheet=tmp_path / "sheet.png")
    lines = [line for line in told.table().splitlines() if line.startswith("fault")]
    assert lines[LISTED - 1 : LISTED + 1] == [
        f"fault, size: mask {LISTED - 1}",
        "fault, size: 3 more; --json lists them all",
    ]
    assert lines[LISTED + 1 :] == ["fault, other: last"]
    plain = json.loads(json.dumps(told.to_dict()))
    assert len(plain["findings"]) == LISTED + 4
    assert plain["findings"][0] == {"kind": "size", "text": "mask 0", "fault": True}
    assert (plain["ok"], plain["sheet"], plain["splits"][0]["smallest"]) == (False, str(tmp_path / "sheet.png"), [3, 4])


def test_a_notebook_shows_the_report_and_its_sheet(tmp_path: Path) -> None:
    PillowImage.new("RGB", (2, 2)).save(tmp_path / "sheet.png")
    shown = report(Finding("a", "1 < 2"), sheet=tmp_path / "sheet.png")._repr_html_()
    assert base64.b64encode((tmp_path / "sheet.png").read_bytes()).decode() in shown
    assert "1 &lt; 2" in shown
    assert "img" not in report()._repr_html_()
