"""Batches for training, the same whatever the number of processes."""

from collections.abc import Callable, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from wsss.data.base import Dataset
from wsss.data.transforms import TransformSettings
from wsss.data.views import Batch, EpochSampler, Target, TrainingViews, WholeImages
from wsss.errors import DataError, require


class DataModule(pl.LightningDataModule):
    """Training batches of random views, and whole held-out images one at a time.

    A training batch holds image (b, 3, crop, crop) float in [0, 1], tags (b, C) bool, known (b, C) bool (False where
    nobody said, then the tag is False), index (b,) place in ``train_ids`` and, with a target, labels (b, crop, crop)
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
        samples: Samples in an epoch, for few images that are to be seen often; None takes each image once.
        outlined: Whether a batch has boxes too, (b, 32, 5) int64: label, top, left, bottom, right in pixels of the
            crop, filled up with rows of ``IGNORE``.
        sparse: Whether the target labels few pixels, which views are not to lose.

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
        samples: int | None = None,
        outlined: bool = False,
        sparse: bool = False,
    ) -> None:
        super().__init__()
        whole = batch_size >= 1 and batch_size % world_size == 0
        require(whole, "batch_size", f"must be a multiple of the {world_size} processes", batch_size)
        if not train_ids:
            raise DataError(f"data set '{dataset.name}' has no image to learn from; see the settings of data")
        self.views = TrainingViews(dataset, tuple(train_ids), target, transform, seed, outlined=outlined, sparse=sparse)
        self.sampler = EpochSampler(
            len(train_ids), batch_size, seed=seed, rank=rank, world_size=world_size, samples=samples
        )
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
