import random
from collections.abc import Iterator

import numpy as np
import torch

from wsss.tasks.callbacks import Epochs, seed_generators


class Sampler:
    def __init__(self) -> None:
        self.told: list[int] = []

    def set_epoch(self, epoch: int) -> None:
        self.told.append(epoch)


class Batches:
    """A loader whose sampler must know the epoch before the first batch is asked for."""

    def __init__(self) -> None:
        self.sampler = Sampler()

    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Iterator[int]:
        yield from (10 * self.sampler.told[-1], 10 * self.sampler.told[-1] + 1)


def drawn() -> tuple[float, float, float]:
    return float(torch.rand(())), float(np.random.rand()), random.random()  # noqa: NPY002 - the global one is meant


def test_the_sampler_knows_the_epoch_before_the_first_batch_is_read() -> None:
    epochs = Epochs(Batches())
    assert (len(epochs), list(epochs)) == (2, [0, 1])
    epochs.epoch = 7
    assert list(epochs) == [70, 71]


def test_a_loader_that_asks_for_no_epoch_is_told_none() -> None:
    assert list(Epochs([1, 2, 3])) == [1, 2, 3]


def test_all_three_generators_depend_on_all_numbers_and_on_nothing_else() -> None:
    seed_generators(3, 1, 0)
    first = drawn()
    torch.rand(5)
    seed_generators(3, 1, 0)
    assert drawn() == first
    for other in ((3, 1, 1), (3, 2, 0), (4, 1, 0)):
        seed_generators(*other)
        assert not set(drawn()) & set(first)
