"""A task small enough to train in a moment, with all that could differ between two trainings of it."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from wsss.tasks.base import Metrics, Task
from wsss.tasks.settings import LearningSettings
from wsss.tasks.training import fit
from wsss.types import IGNORE


class ToyTask(Task):
    """Three labels from eight numbers."""

    def losses(self, batch: Any) -> tuple[Tensor, Tensor]:
        values, labels = batch
        known = labels != IGNORE
        return cross_entropy(self.network(values), labels, ignore_index=IGNORE, reduction="sum"), known.sum().float()


class LonelyTask(ToyTask):
    shared = False


class ToyLoader:
    """Draws each epoch from its number and deals every global batch out to the processes.

    Like a loader with workers it asks for its first batch as soon as somebody iterates over it.
    """

    def __init__(self, *, batches: int = 4, size: int = 6, rank: int = 0, world: int = 1, known: float = 0.7) -> None:
        self.batches, self.size, self.rank, self.world, self.known = batches, size, rank, world, known
        self.epoch = 0
        self.read: list[int] = []

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.read.append(self.epoch)
        return self._draw(torch.Generator().manual_seed(1000 + self.epoch))

    def _draw(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        part = self.size // self.world
        here = slice(self.rank * part, (self.rank + 1) * part)
        for _ in range(self.batches):
            values = torch.randn(self.size, 8, generator=generator)
            labels = values[:, :3].argmax(dim=1)
            labels[torch.rand(self.size, generator=generator) > self.known] = IGNORE
            yield values[here], labels[here]


class Restless(nn.Module):
    """Draws from all three global generators while it trains."""

    def forward(self, values: Tensor) -> Tensor:
        if not self.training:
            return values
        return values + 0.01 * torch.randn_like(values) + float(np.random.rand()) + random.random()  # noqa: NPY002


def toy_task(*, restless: bool = False, kind: type[ToyTask] = ToyTask, **settings: Any) -> ToyTask:
    torch.manual_seed(7)
    noise = [Restless(), nn.Dropout(0.2)] if restless else []
    network = nn.Sequential(nn.Linear(8, 16), *noise, nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 3))
    return kind(network, LearningSettings(**{"learning_rate": 0.05, **settings}))


def train(task: Task, folder: Path, **options: Any) -> list[Metrics]:
    """Train for four epochs unless told otherwise; give back the rows that were reported."""
    rows: list[Metrics] = []
    options = {"epochs": 4, "seed": 3, "on_metrics": rows.append, **options}
    loader = options.pop("loader", ToyLoader())
    fit(task, loader, folder=folder, **options)
    return rows


def weights(task: Task) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in task.network.state_dict().items()}


def identical(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    """Whether two networks agree in every bit."""
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)
