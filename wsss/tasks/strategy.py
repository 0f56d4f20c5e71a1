"""Distributed training whose result depends neither on the number of processes nor on resumption."""

from collections.abc import Iterable
from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import Tensor, distributed, nn

from wsss import ranks
from wsss.ranks import World


class SumStrategy(SingleDeviceStrategy):
    """Each process holds the whole network; gradients are summed over processes, at once and in parameter order.

    Lightning's DDP strategy averages over processes, which is wrong for losses whose counts differ between them, and it
    reorders its buckets after the first backward pass, so that with three or more processes a resumed training adds the
    same numbers in another order than an uninterrupted one.

    Args:
        device: This process's device.
        world: The processes that train together; already connected.
    """

    def __init__(self, device: torch.device, world: World) -> None:
        super().__init__(device)
        self.global_rank, self.world_size = world.rank, world.size

    @property
    def is_global_zero(self) -> bool:
        """Whether this process writes checkpoints."""
        return self.global_rank == 0

    def setup(self, trainer: Trainer) -> None:
        """Move the network to its device and load the weights of the first process."""
        super().setup(trainer)
        if self.world_size > 1:
            assert self.lightning_module is not None
            copy_from_first(self.lightning_module)

    def post_backward(self, closure_loss: Tensor) -> None:  # noqa: ARG002 - Lightning's signature
        """Add up the gradients of all processes."""
        if self.world_size > 1:
            assert self.lightning_module is not None
            sum_gradients(self.lightning_module.parameters())

    def barrier(self, name: str | None = None) -> None:  # noqa: ARG002 - Lightning's signature
        """Wait for the other processes."""
        if self.world_size > 1:
            ranks.barrier()

    def broadcast(self, obj: Any, src: int = 0) -> Any:  # noqa: ANN401, ARG002 - Lightning's signature
        """Broadcast a value of the first process to all."""
        return ranks.broadcast(obj) if self.world_size > 1 else obj

    def reduce(self, tensor: Any, group: Any = None, reduce_op: Any = "mean") -> Any:  # noqa: ANN401, ARG002
        """Sum or average a tensor over the processes; Lightning uses it to compare the lengths of loaders."""
        if self.world_size == 1:
            return tensor
        total = tensor.clone()
        distributed.all_reduce(total)
        return total if str(reduce_op).lower() == "sum" else total / self.world_size


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its sum over all processes.

    A parameter that this process did not use but another did receives the other's gradient; one that no process used
    keeps none, so that weight decay skips it as in a single process.

    Args:
        parameters: The same parameters in the same order in every process.
    """
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    if not learning:
        return
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in learning]
    used = gradients[0].new_tensor([p.grad is not None for p in learning])
    flat = torch.cat([*(gradient.flatten() for gradient in gradients), used])
    distributed.all_reduce(flat)
    *sums, users = torch.split(flat, [*(p.numel() for p in learning), len(learning)])
    for index, (parameter, gradient, total) in enumerate(zip(learning, gradients, sums, strict=True)):
        gradient.copy_(total.view(gradient.shape))
        if parameter.grad is None and users[index] > 0:
            parameter.grad = gradient


def copy_from_first(network: nn.Module) -> None:
    """Broadcast the parameters and buffers of the first process."""
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            whole = tensor.detach().contiguous()
            distributed.broadcast(whole, src=0)
            tensor.copy_(whole)
