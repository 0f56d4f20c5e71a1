"""Definition of stages, their environment, and their execution."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Protocol

import torch

from wsss import ranks
from wsss.data.base import Dataset
from wsss.data.units import Portion as Portion
from wsss.data.units import plan_units
from wsss.data.units import portions as portions
from wsss.errors import StageError
from wsss.ranks import Pool
from wsss.store import Artefact, Store, digest_of
from wsss.tasks.devices import autocast, choose_device
from wsss.tasks.settings import TrainerSettings

SHORT = 16
"""Digits of a key: enough for every stage that fits on a disk."""


class Watcher(Protocol):
    """Receives the progress of stages: the terminal, the tracker, the metrics file."""

    def progress(self, description: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Show the progress of work of known length; the returned function adds to the completed amount."""

    def metrics(self, row: Mapping[str, Any]) -> None:
        """Record one row of measurements."""

    def say(self, text: str) -> None:
        """Show a message to the user."""


@dataclass(frozen=True, kw_only=True)
class Workbench:
    """Environment of all stages.

    Attributes:
        store: The store of artefacts.
        dataset: The images.
        pool: Worker processes.
        trainer: Devices and precision.
        precision: The resolved precision.
        seed: Seed of all randomness.
        watcher: Receives the progress.
    """

    store: Store
    dataset: Dataset
    pool: Pool
    trainer: TrainerSettings
    precision: str
    seed: int
    watcher: Watcher

    @property
    def device(self) -> torch.device:
        """Device of the networks."""
        return choose_device(self.trainer.accelerator)

    def autocast(self) -> AbstractContextManager[object]:
        """Precision context for inference."""
        return autocast(self.precision, self.device)

    def read(self, stage: "Stage") -> Artefact:
        """Open the artefact of an earlier stage."""
        return self.store.artefact(stage.name, stage.key)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step of the method: its dependencies and its work.

    Attributes:
        name: Name in the store and in tables.
        version: Incremented whenever the same inputs give another result.
        work: Reads from the store and writes to the artefact.
        settings: The settings that the result depends on.
        reads: The stages that it reads, by their role.
        data: Fingerprints of the data that it reads.
        round: Round of self-training; not part of the key.
    """

    name: str
    version: int
    work: Callable[[Workbench, Artefact], None] = field(repr=False, compare=False)
    settings: Mapping[str, Any] = field(default_factory=dict)
    reads: Mapping[str, "Stage"] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    round: int = 0

    @cached_property
    def key(self) -> str:
        """Hash of everything that the result depends on."""
        depends = {
            "stage": self.name,
            "version": self.version,
            "settings": dict(self.settings),
            "reads": {part: stage.key for part, stage in self.reads.items()},
            "data": dict(self.data),
        }
        return digest_of(depends)[:SHORT]

    @property
    def title(self) -> str:
        """The name with its round, as ``until`` and ``start`` accept it."""
        return f"{self.name}:{self.round}"


def science(settings: Any, *without: str) -> dict[str, Any]:  # noqa: ANN401 - any settings dataclass
    """The settings as plain values, without those that cannot change a result."""
    return {name: value for name, value in asdict(settings).items() if name not in without}


def repeats(dataset: Dataset) -> dict[str, int]:
    """The part of a training's key about repeated images: empty unless images repeat within an epoch."""
    images = len(dataset.ids("train"))
    samples = dataset.samples(images)
    return {} if samples == images else {"samples": samples}


@dataclass(frozen=True)
class Outcome:
    """Result of executing a stage.

    Attributes:
        stage: The stage.
        cached: Whether its result was already complete.
        seconds: Time taken now.
    """

    stage: Stage
    cached: bool
    seconds: float


def is_done(store: Store, stage: Stage) -> bool:
    """Whether the store contains the stage's complete result."""
    return store.artefact(stage.name, stage.key).complete


def carry_out(stage: Stage, bench: Workbench) -> Outcome:
    """Execute a stage unless the store has its result; all processes of the run decide together.

    Raises:
        StageError: If the work fails because of the machine.
    """
    begun = time.perf_counter()
    if not ranks.world().leads:
        return _follow(stage, bench, begun)
    ranks.broadcast(stage.key)
    artefact = bench.store.artefact(stage.name, stage.key)
    if artefact.complete:
        artefact.sweep()
        ranks.broadcast(True)
        return Outcome(stage, True, time.perf_counter() - begun)
    waiting = f"{stage.title} is being made by another run; waiting for it"
    with bench.store.locked(stage.name, stage.key, lambda: bench.watcher.say(waiting)):
        begun = time.perf_counter()  # waiting for another run is no work
        done = ranks.broadcast(artefact.complete)
        if not done:
            _work(stage, bench, artefact)
            artefact.finish(stage.name, stage.key, stage.version)
            ranks.barrier()
    return Outcome(stage, done, time.perf_counter() - begun)


def _follow(stage: Stage, bench: Workbench, begun: float) -> Outcome:
    if ranks.broadcast(stage.key) != stage.key:
        raise StageError(
            f"{stage.title} has another key in this process than in the first one: data or settings differ; give all "
            f"processes the same, and run again"
        )
    done = ranks.broadcast(False)
    if not done:
        _work(stage, bench, bench.store.artefact(stage.name, stage.key))
        ranks.barrier()
    return Outcome(stage, done, time.perf_counter() - begun)


def _work(stage: Stage, bench: Workbench, artefact: Artefact) -> None:
    try:
        stage.work(bench, artefact)
    except BrokenProcessPool as error:
        raise StageError(
            f"{stage.title} lost a worker process (killed, or out of memory); free memory, or allow this process fewer "
            "cores, each of which has a worker, and run the same command to go on"
        ) from error
    ranks.barrier()


def batches(dataset: Dataset, ids: Sequence[str], size: int) -> list[Portion]:
    """Split a list of images into units of similar size, each processed by a network as one batch."""
    return plan_units(ids, [dataset.size(image) for image in ids], size)


def share_out(out: Artefact, planned: Sequence[Portion]) -> list[Portion]:
    """Return this process's units that are not done yet."""
    here = ranks.world()
    return [portion for portion in planned[here.rank :: here.size] if not out.unit_done(portion.name)]


def for_each(
    bench: Workbench,
    out: Artefact,
    planned: Sequence[Portion],
    work: Callable[[Portion], None],
    *,
    description: str,
    pooled: bool = False,
) -> None:
    """Process each unit once, distributed over processes and optionally over the workers of the pool.

    Args:
        bench: Environment of the stage.
        out: The artefact to write.
        planned: All units of the stage.
        work: Processes one unit and writes its files; picklable if ``pooled``.
        description: Text of the progress bar.
        pooled: Whether to use the pool.
    """
    left = share_out(out, planned)
    with bench.watcher.progress(description, sum(len(portion.ids) for portion in left)) as advance:
        done = bench.pool.map(work, left) if pooled else map(work, left)
        for portion, _ in zip(left, done, strict=True):
            advance(len(portion.ids))
