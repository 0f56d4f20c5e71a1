"""Execution of a plan: stages in order, measured, with rounds that stop when they no longer help."""

import contextlib
import os
import resource
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from wsss import console, ranks
from wsss.config import Config, unknown_name
from wsss.data.base import Dataset
from wsss.errors import StageError, require
from wsss.gallery import found, spread
from wsss.pipeline import CEILING, Plan, Round, Step
from wsss.self_training import Verdict, judge
from wsss.stages.base import Outcome, Stage, Workbench, carry_out, is_done
from wsss.stages.evaluate import Counts, cam_labels, read_counts, read_pooled
from wsss.stages.materials import training_thresholds
from wsss.stages.measure_signal import Signal, read_signal
from wsss.stages.price_annotations import Price, read_price
from wsss.store import MANIFEST
from wsss.summary import CLASS_COLUMNS, Row, class_rows, compare_with_ceiling, environment, label_rows, segmenter_row
from wsss.tracking import Masked, Tracker, Tracking

SHOWN = 4
"""Number of images whose labels are tracked for every stage."""


class Watcher:
    """Reports the progress of stages to the terminal, the metrics file and wandb; only in the leading process.

    Attributes:
        tracker: Receives the metrics of the current stage; None if nothing is tracked.
    """

    def __init__(self) -> None:
        self.tracker: Tracker | None = None

    def progress(self, description: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Show the progress of work of known length."""
        if not ranks.world().leads or not total:
            return contextlib.nullcontext(_nothing)
        return console.progress(description, total)

    def metrics(self, row: Mapping[str, Any]) -> None:
        """Record one row of measurements."""
        if self.tracker is not None:
            self.tracker.log(row)

    def say(self, text: str) -> None:
        """Show a message to the user."""
        if ranks.world().leads:
            console.note(text)


def _nothing(done: int) -> None:
    """Ignore progress."""


@dataclass
class Report:
    """Results of a run so far.

    Attributes:
        rows: Every evaluated label map, in order.
        work: Every stage, in order.
        verdicts: Decision of the stopping rule on each round.
        signals: Input of the rule, for every round.
        kept: Signals of the accepted rounds.
        segmenters: Counts of each round's segmenter on val; None if there is no truth.
        ceiling: Counts of full supervision on val; None if it was not requested.
        final: The round whose segmenter is the result; None before the first one.
    """

    rows: list[Row] = field(default_factory=list)
    work: list[Row] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    signals: list[Signal] = field(default_factory=list)
    kept: list[Signal] = field(default_factory=list)
    segmenters: dict[int, Counts | None] = field(default_factory=dict)
    ceiling: Counts | None = None
    final: int | None = None


class Execution:
    """Executes a plan.

    Args:
        config: The configuration.
        dataset: The images.
        plan: The stages.
        bench: Environment of the stages.
        watcher: Receives progress and results.
    """

    def __init__(self, config: Config, dataset: Dataset, plan: Plan, bench: Workbench, watcher: Watcher) -> None:
        self.config, self.dataset, self.plan, self.bench, self.watcher = config, dataset, plan, bench, watcher
        self.report = Report()
        self.tracking = Tracking(config.tracking, config.folder, config.folder.name)
        self.classes = len(dataset.classes) + 1
        self.start, self.until = asked_for(config, [step.stage for step in plan])
        self._place = 0

    def run(self) -> Report:
        """Execute the rounds, then the ceiling; then count the cost of the labels."""
        for current in self.plan.rounds:
            if not self._round(current):
                break
        self._place = sum(len(each.steps) for each in self.plan.rounds)
        for step in self.plan.ceiling:
            self._step(step)
        carry_out(self.plan.price, self.bench)
        return self.report

    def _round(self, current: Round) -> bool:
        """Execute one round; return whether another may follow."""
        for step in current.steps:
            if not self._step(step):
                # there is nothing to compare the first round with
                if current.index == 0 and current.index in self.report.segmenters:
                    self.report.final = current.index
                return False
        if current.signal is None:
            self.report.final = current.index
            return True
        signal = read_signal(self.bench.read(current.signal))
        verdict = judge(self.report.kept, signal, self.config.self_training)
        self.report.verdicts.append(verdict)
        self.report.signals.append(signal)
        if verdict.kept:
            self.report.final = current.index
            self.report.kept.append(signal)
        else:
            self.watcher.say(f"round {current.index} is rolled back: {verdict.reason}")
        return verdict.kept

    def _step(self, step: Step) -> bool:
        """Execute a stage and evaluate its labels; return whether to continue."""
        place, self._place = self._place, self._place + 1
        if place > self.until:
            return False
        if place < self.start and not is_done(self.bench.store, step.stage):
            raise StageError(
                f"start={self.config.start} needs {step.stage.title}, which is not in the store; "
                f"run with start={step.stage.title}, or without start"
            )
        outcome = self._tracked(step)
        if ranks.world().leads:
            self._link(step.stage, place)
            self._note(step, outcome)
        return True

    def _tracked(self, step: Step) -> Outcome:
        """Execute a stage; cached ones start no tracking."""
        stage = step.stage
        done = ranks.broadcast(is_done(self.bench.store, stage))
        if done or not ranks.world().leads:
            outcome = carry_out(stage, self.bench)
            self._measure(step)
            return outcome
        settings = {"key": stage.key, "round": stage.round, **stage.settings}
        self.watcher.say(f"{stage.title} [{stage.key}]")
        with self.tracking.stage(stage.title, settings) as tracker:
            self.watcher.tracker = tracker
            try:
                outcome = carry_out(stage, self.bench)
                self._measure(step)
                self._track_results(step, outcome, tracker)
            finally:
                self.watcher.tracker = None
        return outcome

    def _measure(self, step: Step) -> None:
        if step.scored is not None:
            carry_out(step.scored, self.bench)

    def _track_results(self, step: Step, outcome: Outcome, tracker: Tracker) -> None:
        """Track the results of a stage: scores, labels of some images, its effort, and the location of its files."""
        stage = step.stage
        if step.scored is not None:
            scored = self.bench.read(step.scored)
            for name, scores in label_rows(stage.name, scored, self.classes):
                tracker.log({f"{name}/{key}": value for key, value in scores.items() if value is not None})
            rows = class_rows(read_pooled(scored, self.classes), self.dataset.classes, self.dataset.background)
            if rows:
                tracker.table("per_class", CLASS_COLUMNS, rows)
            tracker.masks(step.split, self._masked(step), self.dataset.classes)
        tracker.summary(self._effort(step, outcome))
        artefact = self.bench.read(stage)
        about = {"key": stage.key, "round": stage.round, "folder": os.fspath(artefact.folder.resolve())}
        tracker.artefact(stage.name, artefact.folder / MANIFEST, about | {"files": len(artefact.files)})

    def _masked(self, step: Step) -> Iterator[Masked]:
        """Some images with the labels of a stage; CAMs are converted to labels as in the evaluation."""
        settings, artefact = self.config.seeds, self.bench.read(step.stage)
        are_cams = step.stage.name == "cams"
        thresholds = training_thresholds(self.bench, artefact, settings) if are_cams else None
        for image in spread(self.dataset.ids(step.split), SHOWN):
            labels = (
                cam_labels(self.dataset, settings, thresholds, artefact, image)[1]
                if are_cams
                else found(self.bench.store, step, image, len(self.dataset.classes))
            )
            if labels is not None:
                yield Masked(image, self.dataset.image(image), labels, self.dataset.truth(image))

    def _link(self, stage: Stage, place: int) -> None:
        """Create a numbered link to the artefact in the run folder."""
        folder = self.config.folder
        link = folder / f"{place + 1:02d}_{stage.name}_{stage.round}"
        target = os.path.relpath(self.bench.read(stage).folder, folder)
        if link.is_symlink() and link.readlink() == Path(target):
            return
        link.unlink(missing_ok=True)
        # another process that executes the same run may have created it first
        with contextlib.suppress(FileExistsError):
            link.symlink_to(target, target_is_directory=True)

    def _note(self, step: Step, outcome: Outcome) -> None:
        """Add a stage to the report."""
        stage = step.stage
        effort = self._effort(step, outcome) | {"cached": outcome.cached}
        self.report.work.append({"name": stage.name, "round": stage.round, "key": stage.key, **effort})
        if step.scored is None:
            return
        scored = self.bench.read(step.scored)
        if stage.name == "predictions":
            self.report.segmenters[stage.round] = read_counts(scored, self.classes)
            return
        if stage.name == CEILING:
            self.report.ceiling = read_counts(scored, self.classes)
            return
        for name, scores in label_rows(stage.name, scored, self.classes):
            self.report.rows.append({"name": name, "round": stage.round, "split": "train", **scores, **effort})

    def _effort(self, step: Step, outcome: Outcome) -> Row:
        """Time, throughput and memory of a stage."""
        images = len(self.dataset.ids(step.split))
        return {
            "seconds": round(outcome.seconds, 2),
            "images_per_second": None if outcome.cached else round(images / max(outcome.seconds, 1e-6), 2),
            "peak_memory_mb": peak_memory(),
        }


def peak_memory() -> float:
    """Peak memory of this process, or of its GPU if larger, in MB."""
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if torch.cuda.is_available():
        held = max(held, torch.cuda.max_memory_allocated() / 2**20)
    return round(held, 1)


def asked_for(config: Config, stages: Sequence[Stage]) -> tuple[int, int]:
    """Indices of the first and the last stage, from ``start`` and ``until``.

    Raises:
        SettingsError: If one of them names no stage, or the last stage comes before the first.
    """
    start = find_stage(stages, config.start, "start") if config.start else 0
    until = find_stage(stages, config.until, "until") if config.until else len(stages) - 1
    require(start <= until, "until", f"must not come before start={config.start}, nothing would be done", config.until)
    return start, until


def find_stage(stages: Sequence[Stage], wanted: str, setting: str) -> int:
    """Index of the stage given as ``name`` or ``name:round``; without a round, the first of that name.

    Raises:
        SettingsError: If there is none.
    """
    for place, stage in enumerate(stages):
        if wanted in (stage.name, stage.title):
            return place
    raise unknown_name(
        setting,
        wanted,
        [name for stage in stages for name in (stage.name, stage.title)],
        "see all with: wsss run --dry-run",
    )


def summarise(config: Config, dataset: Dataset, report: Report, bench: Workbench, price: Stage) -> dict[str, Any]:
    """Assemble the summary of a run."""
    weak = report.segmenters.get(report.final) if report.final is not None else None
    row = segmenter_row(weak, dataset.classes, background=dataset.background)
    compared = compare_with_ceiling(weak, report.ceiling)
    return {
        "run": config.folder.name,
        "config": config.hash,
        "seed": config.seed,
        "data": {
            "name": dataset.name,
            "fingerprint": dataset.fingerprint("train"),
            "train": len(dataset.ids("train")),
            "val": len(dataset.ids("val")),
        },
        "annotation": annotation_row(config, dataset, read_price(bench.read(price))),
        "environment": environment(bench.device, ranks.world().size, bench.precision),
        "stages": report.rows,
        "work": report.work,
        "rounds": list(_rounds(report, dataset)),
        "final_round": report.final,
        "segmenter": {"round": report.final, "split": "val", **row} if row else None,
        **compared,
    }


def annotation_row(config: Config, dataset: Dataset, price: Price) -> Row:
    """Kinds of labels used, and their annotation time: in total and per image."""
    images = len(dataset.ids("train"))
    return {
        "kinds": [*config.labels.kinds, *(["masks"] if "masks" in price.images else [])],
        "seconds": round(price.seconds, 1),
        "per_image_seconds": round(price.seconds / images, 2) if images else None,
    }


def _rounds(report: Report, dataset: Dataset) -> Iterator[Row]:
    """Yield a row per round: its segmenter's score, and the decision of the stopping rule."""
    for index, counts in sorted(report.segmenters.items()):
        row = segmenter_row(counts, dataset.classes, background=dataset.background)
        found: Row = {
            "round": index,
            "miou": row["miou"] if row else None,
            "interval95": row["interval95"] if row else None,
        }
        if index < len(report.verdicts):
            found |= asdict(report.verdicts[index])
        if index < len(report.signals):
            found["signal"] = {name: round(value, 4) for name, value in report.signals[index].to_dict().items()}
        yield found
