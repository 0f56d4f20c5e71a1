"""Results of a study's runs: their scores, and table lines that combine runs that differ only in the seed."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Interval = tuple[float, float]
"""Lower and upper end."""

LABELS = "pseudo_labels"
"""Row of a run's table with the quality of the labels that its segmenter was trained on."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores of one run in percent; None where there is none.

    Attributes:
        miou: mIoU of the segmenter on validation images.
        miou_interval: Its 95 % interval over images.
        percent_of_full: mIoU relative to full supervision.
        percent_interval: Its 95 % interval over images, paired.
        full_miou: mIoU of the same segmenter, trained on ground truth.
        full_interval: Its 95 % interval over images.
        pseudo_labels: mIoU of the final round's pseudo labels on training images.
        seconds: Annotation time of its labels in seconds.
        per_image_seconds: The same per image.
    """

    miou: float | None
    miou_interval: Interval | None
    percent_of_full: float | None
    percent_interval: Interval | None
    full_miou: float | None
    full_interval: Interval | None
    pseudo_labels: float | None
    seconds: float | None
    per_image_seconds: float | None


def scores_of(summary: Mapping[str, Any]) -> Scores:
    """Read the scores of a run; missing ones are None.

    Args:
        summary: See ``summary.json``.
    """
    segmenter = summary.get("segmenter") or {}
    full = summary.get("full_supervision") or {}
    price = summary.get("annotation") or {}
    return Scores(
        miou=segmenter.get("miou"),
        miou_interval=_interval(segmenter.get("interval95")),
        percent_of_full=summary.get("percent_of_full"),
        percent_interval=_interval(summary.get("percent_of_full_interval95")),
        full_miou=full.get("miou"),
        full_interval=_interval(full.get("interval95")),
        pseudo_labels=_pseudo_labels(summary, summary.get("final_round")),
        seconds=price.get("seconds"),
        per_image_seconds=price.get("per_image_seconds"),
    )


def _interval(ends: Sequence[float] | None) -> Interval | None:
    return None if ends is None else (ends[0], ends[1])


def _pseudo_labels(summary: Mapping[str, Any], final: int | None) -> float | None:
    """Quality of the pseudo labels of the final round, or of the last one if there is none."""
    rows = [row for row in summary["stages"] if row["name"] == LABELS and (final is None or row["round"] == final)]
    return rows[-1]["miou"] if rows else None


@dataclass(frozen=True)
class Measure:
    """A number measured once or several times.

    Attributes:
        mean: Mean over all measurements.
        deviation: Sample standard deviation over seeds; None for a single measurement.
        interval: 95 % interval over images; None for several measurements, or if there is none.
    """

    mean: float
    deviation: float | None = None
    interval: Interval | None = None

    @property
    def ends(self) -> Interval:
        """Error bar: one standard deviation to each side, or else the interval."""
        if self.deviation is not None:
            return self.mean - self.deviation, self.mean + self.deviation
        return self.interval or (self.mean, self.mean)

    def __str__(self) -> str:
        if self.deviation is not None:
            return f"{self.mean:.1f} ± {self.deviation:.1f}"
        return f"{self.mean:.1f}" + ("" if self.interval is None else " ({:.1f}–{:.1f})".format(*self.interval))


def measure(values: Sequence[float | None], intervals: Sequence[Interval | None] = ()) -> Measure | None:
    """Combine the measurements of several seeds; None if there are none.

    >>> str(measure([50.0, 53.0]))
    '51.5 ± 2.1'
    >>> str(measure([50.0], [(48.0, 53.0)]))
    '50.0 (48.0–53.0)'

    Args:
        values: One per seed.
        intervals: Interval of each value, in the same order.
    """
    known = [value for value in values if value is not None]
    if not known:
        return None
    if len(known) > 1:
        return Measure(statistics.fmean(known), statistics.stdev(known))
    return Measure(known[0], interval=next((ends for ends in intervals if ends is not None), None))


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a study's table: runs that differ only in the seed.

    Attributes:
        label: Its name, variant and budget.
        variant: Its variant.
        budget: Its budget as text; None for all images.
        planned: Number of planned seeds.
        scores: Scores of each finished run, by seed.
    """

    label: str
    variant: str
    budget: str | None
    planned: int
    scores: Mapping[int, Scores]

    @property
    def miou(self) -> Measure | None:
        """Segmenter's mIoU on validation images."""
        return self._measure("miou", "miou_interval")

    @property
    def percent_of_full(self) -> Measure | None:
        """Segmenter's mIoU in percent of full supervision."""
        return self._measure("percent_of_full", "percent_interval")

    @property
    def pseudo_labels(self) -> Measure | None:
        """Pseudo labels' mIoU on training images."""
        return self._measure("pseudo_labels")

    @property
    def seconds(self) -> float | None:
        """Annotation time of its labels in seconds."""
        found = self._measure("seconds")
        return None if found is None else found.mean

    @property
    def per_image_seconds(self) -> float | None:
        """Annotation time per image in seconds."""
        found = self._measure("per_image_seconds")
        return None if found is None else found.mean

    @property
    def seeds(self) -> str:
        """Number of finished seeds, and of how many if some are missing."""
        done = len(self.scores)
        return str(done) if done == self.planned else f"{done} of {self.planned}"

    def _measure(self, name: str, interval: str = "") -> Measure | None:
        each = self.scores.values()
        intervals = [getattr(scores, interval) for scores in each] if interval else []
        return measure([getattr(scores, name) for scores in each], intervals)

    def record(self) -> dict[str, Any]:
        """The line as plain values, for JSON, CSV and data frames; None where there is no measurement."""
        record: dict[str, Any] = {"run": self.variant, "budget": self.budget}
        record |= {"seeds": len(self.scores), "seeds_planned": self.planned}
        for name in ("miou", "percent_of_full", "pseudo_labels"):
            found: Measure | None = getattr(self, name)
            low, high = (None, None) if found is None or found.interval is None else found.interval
            record[name] = None if found is None else _rounded(found.mean)
            record |= {f"{name}_sd": None if found is None else _rounded(found.deviation)}
            record |= {f"{name}_low95": low, f"{name}_high95": high} if name != "pseudo_labels" else {}
        record["annotation_seconds"] = _rounded(self.seconds)
        record["annotation_seconds_per_image"] = _rounded(self.per_image_seconds)
        return record


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def full_supervision(lines: Sequence[Line]) -> Measure | None:
    """Combine the mIoU of the same segmenter trained on ground truth of all images.

    Every run on all images has its own value, which is the same for each seed; if they differ, because the runs train
    segmenters differently, there is no single value for the study.
    """
    found: dict[int, set[tuple[float, Interval | None]]] = {}
    for line in lines:
        for seed, scores in line.scores.items():
            if line.budget is None and scores.full_miou is not None:
                found.setdefault(seed, set()).add((scores.full_miou, scores.full_interval))
    if any(len(values) > 1 for values in found.values()):
        return None
    each = [value for values in found.values() for value in values]
    return measure([value for value, _ in each], [ends for _, ends in each])
