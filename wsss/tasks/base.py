"""Base classes of all training tasks: a loss summed over processes, an optimizer and a schedule."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from torch import Tensor, distributed, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from wsss.networks.backbones import STAGES, Backbone
from wsss.tasks.settings import ImageLearningSettings, LearningSettings

Metrics = dict[str, float]
"""One row of measurements: epoch, step, loss and the metrics of the task."""

SMALLEST = 1e-12
"""Lower bound of a count in divisions, so that the loss of an empty batch is 0."""


class Task(pl.LightningModule, ABC):
    """A network with a loss; subclasses define the loss of a batch.

    Attributes:
        network: The network to train.
        settings: Training settings.
        total_steps: Length of the schedule in steps; set by ``fit``.
        epoch_steps: Length of an epoch in steps; set by ``fit``.
        history: One row per epoch, those before a resumption included.
        shared: Whether batches are distributed over the processes. If not, the first process trains alone and
            broadcasts the weights to the others.
    """

    shared: ClassVar[bool] = True

    def __init__(self, network: nn.Module, settings: LearningSettings) -> None:
        super().__init__()
        self.network = network
        self.settings = settings
        self.total_steps = self.epoch_steps = 1
        # with few held-out images some processes have none; no collective call happens between validation steps
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.history: list[Metrics] = []
        self._running = torch.zeros(2, 1, dtype=torch.float64)

    @abstractmethod
    def losses(self, batch: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401 - each task has its own batches
        """Return the summed loss of a batch and the count to divide it by.

        Returns:
            The sum, from which gradients flow, and the count: weighted number of pixels, tags or regions. Both are 0 if
            the batch has no supervision. Losses with separate counts are returned as vectors; their means are added.
        """

    def held_out_metrics(self) -> Metrics:
        """Compute the metrics on held-out data, after its batches have passed through ``validation_step``."""
        return {}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:  # noqa: ANN401, ARG002 - Lightning's signature
        """Compute this process's part of the loss; the parts of all processes sum to the mean over all samples."""
        total, count = self.losses(batch)
        here = torch.stack([total.detach().flatten(), count.detach().flatten()]).double()
        self._running = here + self._running.to(here.device)
        everywhere = self.over_processes(here[1])
        return (total.flatten() / everywhere.clamp(min=SMALLEST).to(total.dtype)).sum()

    def over_processes(self, value: Tensor) -> Tensor:
        """Sum a tensor over the processes that train together."""
        if self.trainer.world_size == 1:
            return value
        total = value.clone()
        distributed.all_reduce(total)
        return total

    def finish_epoch(self) -> float:
        """Mean loss since the last call, over all processes; 0 if nothing was counted."""
        means = [total / count if count else total for total, count in self.over_processes(self._running).T.tolist()]
        self._running = torch.zeros_like(self._running)
        return sum(means)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:  # noqa: ARG002 - Lightning's signature
        """Clip the gradient norm; done here because Lightning's own clipping rejects fused optimizers."""
        if self.settings.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.parameters(), self.settings.gradient_clip)

    def configure_optimizers(self) -> Any:  # noqa: ANN401 - Lightning's own union of nine types
        """Create the optimizer, and the learning rate schedule with one update per step."""
        optimizer = make_optimizer(self.parameter_groups(), self.settings)
        scheduler = LambdaLR(optimizer, [self.schedule(group) for group in optimizer.param_groups])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def schedule(self, group: dict[str, Any]) -> Callable[[int], float]:  # noqa: ARG002 - subclasses treat groups apart
        """Return the learning rate of a parameter group, relative to its initial value, as a function of the step."""
        return partial(_factor, settings=self.settings, total=self.total_steps)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Group the parameters by learning rate and weight decay."""
        return decayed_groups(self.network.named_parameters(), lambda _: 1.0, self.settings)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the rows of the epochs so far."""
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the rows of the epochs before the resumption."""
        self.history = checkpoint["history"]


class ImageTask(Task):
    """A task on images: channels-last memory, and a larger learning rate for layers outside of the backbone."""

    settings: ImageLearningSettings

    def __init__(self, network: nn.Module, settings: ImageLearningSettings) -> None:
        super().__init__(network.to(memory_format=torch.channels_last), settings)

    def on_train_epoch_start(self) -> None:
        """Freeze the backbone during the first epochs if the settings say so; it then needs no backward pass."""
        if self.settings.probe_epochs:
            probing = self.current_epoch < self.settings.probe_epochs
            self._freeze(STAGES if probing else self.settings.freeze_stages)

    def on_train_end(self) -> None:
        """Restore the backbone's initial freezing."""
        if self.settings.probe_epochs:
            self._freeze(self.settings.freeze_stages)

    def _freeze(self, stages: int) -> None:
        backbone = self.network.get_submodule("backbone")
        assert isinstance(backbone, Backbone)
        backbone.freeze_stages = stages
        # frozen stages do not update their BatchNorm statistics either
        backbone.train(backbone.training)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Give the head a larger learning rate than the backbone."""
        parts: tuple[list[tuple[str, nn.Parameter]], list[tuple[str, nn.Parameter]]] = ([], [])
        for name, parameter in self.network.named_parameters():
            parts[not name.startswith("backbone.")].append((name, parameter))
        body, head = parts
        multiplier = self.settings.head_multiplier
        groups = [group | {"head": False} for group in decayed_groups(body, lambda _: 1.0, self.settings)]
        return groups + [group | {"head": True} for group in decayed_groups(head, lambda _: multiplier, self.settings)]

    def schedule(self, group: dict[str, Any]) -> Callable[[int], float]:
        """Train only the head at its own constant learning rate first; the schedule begins after that."""
        if not self.settings.probe_epochs:
            return super().schedule(group)
        probe = self.settings.probe_learning_rate / group["lr"] if group["head"] else 0.0
        first = min(self.settings.probe_epochs * self.epoch_steps, self.total_steps)
        return partial(_probed_factor, settings=self.settings, total=self.total_steps, first=first, probe=probe)


def decayed_groups(
    parameters: Iterable[tuple[str, nn.Parameter]], multiplier: Callable[[str], float], settings: LearningSettings
) -> list[dict[str, Any]]:
    """Group parameters that share a learning rate and a weight decay; frozen ones are left out.

    Args:
        parameters: Names and parameters.
        multiplier: Learning rate of a parameter, in multiples of the settings'.
        settings: Learning rate and weight decay; vectors and scalars do not decay.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in parameters:
        if parameter.requires_grad:
            decay = settings.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((settings.learning_rate * multiplier(name), decay), []).append(parameter)
    return [{"params": group, "lr": rate, "weight_decay": decay} for (rate, decay), group in groups.items()]


def make_optimizer(groups: list[dict[str, Any]], settings: LearningSettings) -> Optimizer:
    """Create the optimizer of the settings, with one fused kernel per parameter group."""
    if settings.optimizer == "sgd":
        return SGD(groups, lr=settings.learning_rate, momentum=settings.momentum, fused=True)
    return AdamW(groups, lr=settings.learning_rate, fused=True)


def rate_factor(progress: float, settings: LearningSettings) -> float:
    """Learning rate of a schedule relative to its initial value.

    Args:
        progress: Share of the completed steps, in [0, 1].
        settings: Selects the schedule; poly is (1 - progress)^power (Liu et al., 2015).
    """
    if progress < settings.warmup:
        return progress / settings.warmup
    progress = (progress - settings.warmup) / (1 - settings.warmup)
    if settings.schedule == "constant":
        return 1.0
    if settings.schedule == "cosine":
        return (1 + math.cos(math.pi * progress)) / 2
    return (1 - progress) ** settings.power


def _probed_factor(step: int, *, settings: LearningSettings, total: int, first: int, probe: float) -> float:
    """The schedule after the first steps, which have their own learning rate."""
    if step < first:
        return probe
    return _factor(step - first, settings=settings, total=max(1, total - first))


def _factor(step: int, *, settings: LearningSettings, total: int) -> float:
    # otherwise the first warm-up step would have a learning rate of 0
    shift = 0.5 if settings.warmup else 0.0
    return rate_factor(min((step + shift) / total, 1.0), settings)
