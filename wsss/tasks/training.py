"""Training loop whose final weights do not depend on interruptions or on the number of processes."""

import logging
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.plugins.layer_sync import TorchSyncBatchNorm
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils import deterministic

from wsss import ranks
from wsss.errors import SettingsError, StageError
from wsss.ranks import World
from wsss.tasks.base import Metrics, Task
from wsss.tasks.callbacks import EpochEnd, Epochs, EpochStart, Loader, Steps
from wsss.tasks.checkpoints import CHECKPOINT, SafeCheckpoints
from wsss.tasks.devices import choose_device
from wsss.tasks.settings import TrainerSettings
from wsss.tasks.strategy import SumStrategy, copy_from_first

PLAIN_NORMS = {"BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm"}
"""Kinds of BatchNorm that torch can synchronise between processes."""


def fit(
    task: Task,
    loaders: pl.LightningDataModule | Loader,
    settings: TrainerSettings | None = None,
    *,
    epochs: int,
    folder: Path,
    seed: int,
    precision: str = "32-true",
    on_metrics: Callable[[Metrics], None] | None = None,
    on_step: Callable[[int, int], None] | None = None,
    description: str = "the network",
) -> None:
    """Train a task to the end of its schedule; then ``task.network`` holds the final weights, on the CPU.

    A checkpoint is written to the folder after each epoch; an interrupted training resumes from it and ends with
    exactly the same weights. Processes connected beforehand (``ranks.join``) train together.

    Args:
        task: The network, its loss and its settings.
        loaders: A data module, or the batches of an epoch; samplers with ``set_epoch`` are supported.
        settings: Device settings.
        epochs: Length of the schedule.
        folder: Folder of the checkpoint; used by this training only.
        seed: Seed of each epoch's randomness; the global generators are seeded from it.
        precision: ``bf16-mixed`` or ``32-true``, see ``resolve_precision``.
        on_metrics: Called with one row after each epoch, in the first process. Finally, ``task.history`` has all rows,
            those before a resumption included.
        on_step: Called after each step with the number of completed steps and of all steps of the schedule.
        description: Name of the network in error messages.

    Raises:
        StoreError: If the checkpoint is damaged or cannot be written.
        StageError: If the loss is not finite, or there is no training data.
        SettingsError: If BatchNorm would have to be synchronised between processes on CPUs.
    """
    here = ranks.world()
    world = here if task.shared else World()
    if task.shared or here.leads:
        device = choose_device((settings or TrainerSettings()).accelerator)
        with _batches(loaders) as (train, held_out), _undisturbed(), _deterministic(device):
            if not len(train):
                raise StageError(f"{description} has nothing to train on; add training images, or labels to them")
            task.total_steps, task.epoch_steps = epochs * len(train), len(train)
            callbacks = [EpochStart(train, seed), EpochEnd(folder / CHECKPOINT, on_metrics, description)]
            trainer = _trainer(device, world, precision, epochs, [*callbacks, *([Steps(on_step)] if on_step else [])])
            with _synchronised(task, device, world):
                trainer.fit(task.train(), train, held_out, ckpt_path=_resumable(folder, world))
    if here.size > world.size:
        copy_from_first(task)
    task.eval()


def _trainer(
    device: torch.device, world: World, precision: str, epochs: int, callbacks: list[pl.Callback]
) -> pl.Trainer:
    """Create a trainer of which only the loop is used."""
    return pl.Trainer(
        accelerator=device.type,
        devices=1,
        strategy=SumStrategy(device, world),
        # named, so that Lightning does not detect a cluster by itself
        plugins=[SafeCheckpoints(), LightningEnvironment()],
        precision=precision,  # type: ignore[arg-type]
        max_epochs=epochs,
        callbacks=callbacks,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        benchmark=False,
    )


def _resumable(folder: Path, world: World) -> str | None:
    """Path of the checkpoint if it exists; the first process decides for all."""
    path = folder / CHECKPOINT
    found = path.exists()
    return str(path) if (ranks.broadcast(found) if world.size > 1 else found) else None


@contextmanager
def _batches(loaders: pl.LightningDataModule | Loader) -> Iterator[tuple[Epochs, Any]]:
    """Training batches and held-out batches."""
    if not isinstance(loaders, pl.LightningDataModule):
        yield Epochs(loaders), None
        return
    loaders.prepare_data()
    loaders.setup("fit")
    try:
        yield Epochs(loaders.train_dataloader()), loaders.val_dataloader()
    finally:
        loaders.teardown("fit")


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Silence Lightning, and keep it from turning Ctrl-C into an exit that callers cannot catch."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    on_interrupt = signal.getsignal(signal.SIGINT)
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"pytorch_lightning|lightning_fabric")
            yield
    except SystemExit as exit_:
        if isinstance(exit_.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, on_interrupt)


@contextmanager
def _deterministic(device: torch.device) -> Iterator[None]:
    """Use deterministic CUDA algorithms; torch warns about operations that have none."""
    if device.type == "cpu":
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    fill = deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    # cuBLAS reads this variable when it starts
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]


@contextmanager
def _synchronised(task: Task, device: torch.device, world: World) -> Iterator[None]:
    """Synchronise the statistics of trainable BatchNorm layers over all processes.

    Raises:
        SettingsError: If this is not possible: on CPUs, or for a custom kind of BatchNorm.
    """
    if world.size == 1 or not any(isinstance(m, _BatchNorm) and m.training for m in task.train().modules()):
        yield
        return
    if device.type == "cpu":
        raise SettingsError("freeze_batchnorm", f"must be true for {world.size} processes on CPUs, got false")
    others = {type(module).__name__ for module in task.modules() if isinstance(module, _BatchNorm)} - PLAIN_NORMS
    if others:
        # torch's layer would replace them but do less: timm's also contain the activation
        rule = f"must be true for {world.size} processes and a network with {', '.join(sorted(others))}"
        raise SettingsError("freeze_batchnorm", f"{rule}, got false")
    synchronise = TorchSyncBatchNorm()
    synchronise.apply(task)
    try:
        yield
    finally:
        synchronise.revert(task)
