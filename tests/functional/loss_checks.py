"""What holds for every loss that comes as a sum and a count."""

from collections.abc import Callable

import torch
from torch import Tensor

from wsss.functional.losses import SumAndCount


def generator_of(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shares_of(seed: int, *shape: int) -> Tensor:
    """Probabilities in double precision."""
    return torch.randn(*shape, generator=generator_of(seed), dtype=torch.double).softmax(dim=1)


def mask_of(seed: int, *shape: int, share: float = 0.7) -> Tensor:
    return torch.rand(*shape, generator=generator_of(seed)) < share


def numbers_of(loss: SumAndCount) -> tuple[float, float]:
    total, count = loss
    return total.item(), count.item()


def assert_nothing_counts(loss: SumAndCount, *leaves: Tensor) -> None:
    assert numbers_of(loss) == (0, 0)
    loss[0].backward()  # type: ignore[no-untyped-call]
    for leaf in leaves:
        assert leaf.grad is not None
        assert not leaf.grad.any()


def assert_the_slope_is_right(loss: Callable[[Tensor], SumAndCount], leaf: Tensor) -> None:
    """Compare the gradient of the sum with small steps; the leaf is in double precision."""
    assert torch.autograd.gradcheck(lambda values: loss(values)[0], leaf.detach().clone().requires_grad_())


def assert_the_parts_add_up(loss: Callable[..., SumAndCount], *batch: Tensor) -> None:
    """Compare a batch with the sum of its first image and the others."""
    parts = [loss(*(values[part] for values in batch)) for part in (slice(0, 1), slice(1, None))]
    for whole, first, second in zip(loss(*batch), *parts, strict=True):
        torch.testing.assert_close(first + second, whole)
