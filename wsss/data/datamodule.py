"""Batches for training, the same whatever the number of processes."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from wsss.data.base import Dataset
from wsss.data.transforms import TransformSettings, Weights, random_view, seed_of
from wsss.errors import DataError, require
from wsss.types import LabelMap

Target = tuple[LabelMap, Weights | None]
"""What a segmenter learns of one image: labels, and how much each pixel counts; None counts each as 1."""

Batch = dict[str, Tensor]


class EpochSampler(Sampler[tuple[int, int]]):
    """Deals the samples of an epoch out to the processes, as pairs (epoch, index).

    The order is a permutation drawn from (seed, epoch), filled up from its own beginning to whole global batches. Each
    process takes its slice of each global batch, so the global batches are the same for any number of processes.

    Args:
        count: Number of training images.
        batch_size: Samples in a global batch; divisible by the number of processes.
        seed: Where the orders come from.
        rank: This process.
        world_size: Number of processes.
    """

    def __init__(self, count: int, batch_size: int, *, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self.count = count
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch to be gone through next."""
        self.epoch = epoch

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return -(-self.count // self.batch_size)

    def __len__(self) -> int:
        return self.steps * self.batch_size // self.world_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        if not self.count:
            return
        generator = torch.Generator().manual_seed(seed_of("order", self.seed, self.epoch))
        order = torch.randperm(self.count, generator=generator)
        filled = order.repeat(-(-self.batch_size // self.count) + 1)[: self.steps * self.batch_size]
        epoch = self.epoch
        for index in filled.view(self.steps, self.world_size, -1)[:, self.rank].flatten().tolist():
            yield epoch, index


class TrainingViews(TorchDataset[Batch]):
    """Random views of the training images, by (epoch, index).

    Args:
        dataset: Where the images are.
        ids: The training images.
        target: Reads what to learn of an image; None where tags are all there is to learn.
        transform: How far views go.
        seed: Where they are drawn from, with the epoch and the image's name.
    """

    def __init__(
        self,
        dataset: Dataset,
        ids: tuple[str, ...],
        target: Callable[[str], Target] | None,
        transform: TransformSettings,
        seed: int,
    ) -> None:
        self.dataset = dataset
        self.ids = ids
        self.target = target
        self.transform = transform
        self.seed = seed

    def __getitem__(self, place: tuple[int, int]) -> Batch:
        epoch, index = place
        id = self.ids[index]
        labels, weights = (None, None) if self.target is None else self.target(id)
        seed = seed_of("view", self.seed, epoch, id)
        view = random_view(self.dataset.image(id), labels, weights, self.transform, seed=seed)
        entry = {"image": view.image, "index": torch.tensor(index), **_tags(self.dataset, id)}
        if view.labels is not None and view.weights is not None:
            entry |= {"labels": view.labels, "weights": view.weights}
        return entry


class WholeImages(TorchDataset[Batch]):
    """Images as they are, with their tags.

    Args:
        dataset: Where the images are.
        ids: Which of them.
    """

    def __init__(self, dataset: Dataset, ids: tuple[str, ...]) -> None:
        self.dataset = dataset
        self.ids = ids

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Batch:
        id = self.ids[index]
        image = self.dataset.image(id).float().div_(255)
        return {"image": image, "index": torch.tensor(index), **_tags(self.dataset, id)}


class DataModule(pl.LightningDataModule):
    """Training batches of random views, and whole held-out images one at a time.

    A training batch holds image (b, 3, crop, crop) float in [0, 1], tags (b, C) bool, known (b,) bool (False where
    nobody said, then all tags are False), index (b,) place in ``train_ids`` and, with a target, labels (b, crop, crop)
    int64 and weights (b, crop, crop) float. A held-out batch has b = 1, the whole image, and no labels.

    The trainer must not replace the samplers (``use_distributed_sampler=False``): held-out images are spread over the
    processes without padding or repeats.

    Args:
        dataset: Where the images are.
        train_ids: Images to learn from.
        target: Reads the labels of an image; picklable if ``workers`` > 0.
        held_out_ids: Images whose tags are only measured against.
        transform: How far random views go.
        batch_size: Samples in a step, over all processes together.
        seed: Where orders and views come from.
        workers: Processes that prepare batches beside this one; they are spawned, so that they hold none of its locks.
        rank: This process.
        world_size: Number of processes.

    Raises:
        SettingsError: If the processes can't share a batch evenly.
        DataError: If there is nothing to learn from.
    """

    def __init__(
        self,
        dataset: Dataset,
        train_ids: Sequence[str],
        *,
        target: Callable[[str], Target] | None = None,
        held_out_ids: Sequence[str] = (),
        transform: TransformSettings,
        batch_size: int,
        seed: int,
        workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__()
        whole = batch_size >= 1 and batch_size % world_size == 0
        require(whole, "batch_size", f"must be a multiple of the {world_size} processes", batch_size)
        if not train_ids:
            raise DataError(f"data set '{dataset.name}' has no image to learn from; see the settings of data")
        self.views = TrainingViews(dataset, tuple(train_ids), target, transform, seed)
        self.sampler = EpochSampler(len(train_ids), batch_size, seed=seed, rank=rank, world_size=world_size)
        self.held_out = WholeImages(dataset, tuple(held_out_ids))
        self.workers = workers

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of random views; its sampler wants to be told the epoch."""
        local = self.sampler.batch_size // self.sampler.world_size
        return DataLoader(self.views, batch_size=local, sampler=self.sampler, **self._loading())

    def val_dataloader(self) -> DataLoader[Batch]:
        """This process's share of the held-out images, one at a time."""
        mine = range(self.sampler.rank, len(self.held_out), self.sampler.world_size)
        return DataLoader(self.held_out, batch_size=1, sampler=mine, **self._loading())

    def _loading(self) -> dict[str, Any]:
        return {
            "num_workers": self.workers,
            "multiprocessing_context": "spawn" if self.workers else None,
            "persistent_workers": self.workers > 0,
            "pin_memory": torch.cuda.is_available(),
            # a generator of its own, else each pass would draw from the global one
            "generator": torch.Generator(),
        }


def _tags(dataset: Dataset, id: str) -> Batch:
    tags = dataset.tags(id)
    known = tags is not None
    return {
        "tags": torch.zeros(len(dataset.classes), dtype=torch.bool) if tags is None else tags,
        "known": torch.tensor(known),
    }
