"""What a check of a data set has found, as text, as JSON and as a notebook shows it."""

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
"""Findings of a kind that the report lists; the others are counted."""

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class DataReport:
    """What a check has found; a notebook shows it with its contact sheet.

    Attributes:
        name: What the data set is called.
        splits: A row for each split: images, how many are tagged, empty, untagged, have truth; sizes, height first.
        classes: A row for each label: in each split how many images are tagged with it, show it, and in how many
            pixels.
        findings: Everything that somebody should know; all of it, however much there is.
        sheet: The contact sheet; None where no image could be read, or the file could not be written.
    """

    name: str
    splits: list[Row]
    classes: list[Row]
    findings: list[Finding]
    sheet: Path | None

    @property
    def faults(self) -> list[Finding]:
        """The findings that are wrong."""
        return [finding for finding in self.findings if finding.fault]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong; there may be remarks."""
        return not self.faults

    def table(self) -> str:
        """Lay everything out as text, of each kind of finding only the first ones."""
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
        """Give everything as JSON can hold it."""
        return {**asdict(self), "sheet": self.sheet and str(self.sheet), "ok": self.ok}

    def _repr_html_(self) -> str:
        shown = "" if self.sheet is None else base64.b64encode(self.sheet.read_bytes()).decode()
        sheet = f'<img src="data:image/png;base64,{shown}">' if shown else ""
        return f"<pre>{html.escape(self.table())}</pre>{sheet}"


def _lines(findings: Sequence[Finding]) -> Iterator[str]:
    """A line for each finding, faults first, alike ones together; of many alike ones the first and a count."""
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
