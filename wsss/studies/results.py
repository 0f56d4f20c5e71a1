"""What the runs of a study came to: their scores, and lines that put together what differs in the seed alone."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Interval = tuple[float, float]
"""Low and high end."""

LABELS = "pseudo_labels"
"""The row of a run's table that tells how good the labels were that its segmenter learnt."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What one run came to, percent; None where it has nothing of the kind.

    Attributes:
        miou: Of the segmenter on validation images.
        miou_interval: 95 % interval over images.
        percent_of_full: Share of what full supervision reaches.
        percent_interval: 95 % interval over images, paired.
        full_miou: Of the same segmenter, trained on the truth.
        full_interval: 95 % interval over images.
        pseudo_labels: mIoU of the pseudo labels of the round that stands, on training images.
        seconds: What its labels cost a person, in seconds.
        per_image_seconds: The same for each image.
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
    """Read the scores of a run; runs without a price or a segmenter have none.

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
        pseudo_labels=_pseudo_labels(summary, segmenter.get("round")),
        seconds=price.get("seconds"),
        per_image_seconds=price.get("per_image_seconds"),
    )


def _interval(ends: Sequence[float] | None) -> Interval | None:
    return None if ends is None else (ends[0], ends[1])


def _pseudo_labels(summary: Mapping[str, Any], final: int | None) -> float | None:
    """Quality of the labels of the round that stands, or of the last one where no segmenter was measured."""
    rows = [row for row in summary["stages"] if row["name"] == LABELS and (final is None or row["round"] == final)]
    return rows[-1]["miou"] if rows else None


@dataclass(frozen=True)
class Measure:
    """A number measured once or several times.

    Attributes:
        mean: Over all times.
        deviation: Sample standard deviation over seeds; None if it was measured once.
        interval: 95 % interval over images; None if it was measured several times, or has none.
    """

    mean: float
    deviation: float | None = None
    interval: Interval | None = None

    @property
    def ends(self) -> Interval:
        """What a figure shows of how sure it is: a standard deviation to each side, or else the interval."""
        if self.deviation is not None:
            return self.mean - self.deviation, self.mean + self.deviation
        return self.interval or (self.mean, self.mean)

    def __str__(self) -> str:
        if self.deviation is not None:
            return f"{self.mean:.1f} ± {self.deviation:.1f}"
        return f"{self.mean:.1f}" + ("" if self.interval is None else " ({:.1f}–{:.1f})".format(*self.interval))


def measure(values: Sequence[float | None], intervals: Sequence[Interval | None] = ()) -> Measure | None:
    """Put together what was measured with several seeds; None where nothing was.

    >>> str(measure([50.0, 53.0]))
    '51.5 ± 2.1'
    >>> str(measure([50.0], [(48.0, 53.0)]))
    '50.0 (48.0–53.0)'

    Args:
        values: One for each seed.
        intervals: Of each value, in the same order.
    """
    known = [value for value in values if value is not None]
    if not known:
        return None
    if len(known) > 1:
        return Measure(statistics.fmean(known), statistics.stdev(known))
    return Measure(known[0], interval=next((ends for ends in intervals if ends is not None), None))


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a study's table: what differs in the seed alone.

    Attributes:
        label: Its name, variant and budget.
        variant: Its variant.
        budget: Its budget as text; None for all images.
        planned: Seeds that were asked for.
        scores: Of each seed that is done, by seed.
    """

    label: str
    variant: str
    budget: str | None
    planned: int
    scores: Mapping[int, Scores]

    @property
    def miou(self) -> Measure | None:
        """Of the segmenter on validation images."""
        return self._measure("miou", "miou_interval")

    @property
    def percent_of_full(self) -> Measure | None:
        """Share of what full supervision reaches."""
        return self._measure("percent_of_full", "percent_interval")

    @property
    def pseudo_labels(self) -> Measure | None:
        """Quality of the labels that the segmenter learnt, on training images."""
        return self._measure("pseudo_labels")

    @property
    def seconds(self) -> float | None:
        """What its labels cost."""
        found = self._measure("seconds")
        return None if found is None else found.mean

    @property
    def per_image_seconds(self) -> float | None:
        """What the labels of an image cost."""
        found = self._measure("per_image_seconds")
        return None if found is None else found.mean

    @property
    def seeds(self) -> str:
        """How many seeds are done, and of how many if some are not."""
        done = len(self.scores)
        return str(done) if done == self.planned else f"{done} of {self.planned}"

    def _measure(self, name: str, interval: str = "") -> Measure | None:
        each = self.scores.values()
        intervals = [getattr(scores, interval) for scores in each] if interval else []
        return measure([getattr(scores, name) for scores in each], intervals)

    def record(self) -> dict[str, Any]:
        """The line as plain values, for JSON, CSV and data frames; None where nothing was measured."""
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
    """What the same segmenter reaches when it learns the truth of all images.

    Every run that labels all images has its own, the same for each seed; where they are not the same, because runs
    differ in how segmenters are trained, there is no such number for the whole study.
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
