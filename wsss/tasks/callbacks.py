"""Training callbacks: seeding before each epoch, metrics and a checkpoint after it."""

import math
import random
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint

from wsss.errors import StageError
from wsss.tasks.base import Metrics, Task


class Loader(Protocol):
    """Iterable over the batches of an epoch."""

    def __len__(self) -> int:
        """Count this process's batches of an epoch."""

    def __iter__(self) -> Iterator[Any]:
        """Yield the batches of an epoch."""


class Epochs:
    """Wraps a loader and sets its epoch before iteration begins.

    Lightning does so too late when a training is resumed: a loader with workers has by then asked its sampler for the
    first batches of epoch 0.

    Attributes:
        epoch: The next epoch.
    """

    def __init__(self, loader: Loader) -> None:
        self.loader = loader
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        for owner in (self.loader, getattr(self.loader, "sampler", None), getattr(self.loader, "batch_sampler", None)):
            tell = getattr(owner, "set_epoch", None)
            if tell is not None:
                tell(self.epoch)
        yield from self.loader


class EpochStart(pl.Callback):
    """Reseeds the global generators from (seed, epoch, rank), so that an epoch is independent of those before it.

    Args:
        epochs: The loader whose epoch is set.
        seed: The run's seed.
    """

    def __init__(self, epochs: Epochs, seed: int) -> None:
        self.epochs = epochs
        self.seed = seed
        self.on_sigterm = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Restore the previous SIGTERM handler: Lightning's waits for the other processes, which may be dead."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.on_sigterm)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Reseed, and set the loader's epoch."""
        self.epochs.epoch = trainer.current_epoch
        seed_generators(self.seed, trainer.current_epoch, trainer.global_rank)


def seed_generators(*entropy: int) -> None:
    """Seed the global generators of torch, numpy and Python from several numbers >= 0."""
    words = np.random.SeedSequence(entropy).generate_state(4)
    torch.manual_seed(int(words[0]) << 32 | int(words[1]))
    np.random.seed(int(words[2]))  # noqa: NPY002 - code that uses the global generator must be reproducible too
    random.seed(int(words[3]))


class Steps(pl.Callback):
    """Reports each step.

    Args:
        report: Called with the number of completed steps and of all steps of the schedule.
    """

    def __init__(self, report: Callable[[int, int], None]) -> None:
        self.report = report

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:  # noqa: ANN401
        """Report."""
        assert isinstance(pl_module, Task)
        self.report(trainer.global_step, pl_module.total_steps)


class EpochEnd(Checkpoint):
    """Computes the metrics of the epoch, then writes the checkpoint, then reports.

    Args:
        path: File of the checkpoint.
        report: Called with the row of the epoch, in the first process.
        description: Name of the network in error messages.
    """

    def __init__(self, path: Path, report: Callable[[Metrics], None] | None, description: str) -> None:
        self.path = path
        self.report = report
        self.description = description

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure, write, report.

        Raises:
            StageError: If the loss is not finite.
        """
        assert isinstance(pl_module, Task)
        epoch, rate = trainer.current_epoch, trainer.optimizers[0].param_groups[0]["lr"]
        row: Metrics = {
            "epoch": epoch,
            "step": trainer.global_step,
            "loss": pl_module.finish_epoch(),
            "learning_rate": rate,
        }
        if not math.isfinite(row["loss"]):
            raise StageError(
                f"the loss of {self.description} is {row['loss']} in epoch {epoch}; "
                "lower its learning_rate or set its gradient_clip"
            )
        row |= pl_module.held_out_metrics()
        pl_module.history.append(row)
        trainer.save_checkpoint(self.path)
        if self.report is not None and trainer.is_global_zero:
            self.report(row)
