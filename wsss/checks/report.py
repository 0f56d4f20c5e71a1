"""Results of checking a data set, as text, as JSON and for notebooks."""

import base64
import html
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wsss import console
from wsss.checks.looks import Finding

LISTED = 10
"""Findings per kind that the report lists; the others are counted."""

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class DataReport:
    """Results of checking a data set; notebooks display them with the contact sheet.

    Attributes:
        name: Name of the data set.
        splits: A row per split: numbers of images, tagged, empty, untagged, with ground truth; sizes, height first.
        classes: A row per label: in each split the number of images tagged with it, of images that show it, and of its
            pixels.
        findings: All findings.
        sheet: The contact sheet; None if no image was readable, or the file could not be written.
    """

    name: str
    splits: list[Row]
    classes: list[Row]
    findings: list[Finding]
    sheet: Path | None

    @property
    def faults(self) -> list[Finding]:
        """The findings that are errors."""
        return [finding for finding in self.findings if finding.fault]

    @property
    def ok(self) -> bool:
        """Whether there are no errors; there may be remarks."""
        return not self.faults

    def table(self) -> str:
        """Format everything as text, with only the first findings of each kind."""
        return "\n\n".join(part for part in self._parts() if part)

    def _parts(self) -> Iterator[str]:
        if self.splits:
            rows = [
                [_size_text(value) if isinstance(value, tuple) else value for value in row.values()]
                for row in self.splits
            ]
            yield console.format_table(
                f"data set {self.name}", [name.replace("_", " ") for name in self.splits[0]], rows
            )
        if self.classes:
            columns = [name.replace("_", " ") for name in self.classes[0]]
            yield console.format_table(
                "labels: images and pixels", columns, [list(row.values()) for row in self.classes]
            )
        yield "\n".join(_lines(self.findings))
        yield "\n".join(self._conclusion())

    def _conclusion(self) -> Iterator[str]:
        faults, remarks = len(self.faults), len(self.findings) - len(self.faults)
        yield f"{_counted(faults, 'fault') if faults else 'nothing is wrong'}, {_counted(remarks, 'remark')}"
        if self.sheet is not None:
            yield f"contact sheet: {self.sheet}"

    def to_dict(self) -> Row:
        """Return everything as JSON-compatible values."""
        return {**asdict(self), "sheet": self.sheet and str(self.sheet), "ok": self.ok}

    def _repr_html_(self) -> str:
        shown = "" if self.sheet is None else base64.b64encode(self.sheet.read_bytes()).decode()
        sheet = f'<img src="data:image/png;base64,{shown}">' if shown else ""
        return f"<pre>{html.escape(self.table())}</pre>{sheet}"


def _lines(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield a line per finding, faults first, grouped by kind; of many similar ones only the first and a count."""
    kinds: dict[tuple[bool, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        kinds[not finding.fault, finding.kind].append(finding)
    for (remark, kind), alike in sorted(kinds.items(), key=lambda entry: entry[0][0]):
        label = f"{'remark' if remark else 'fault'}, {kind}"
        yield from (f"{label}: {finding.text}" for finding in alike[:LISTED])
        if len(alike) > LISTED:
            yield f"{label}: {len(alike) - LISTED} more; --json lists them all"


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _size_text(size: tuple[int, int]) -> str:
    return f"{size[0]} × {size[1]}"
