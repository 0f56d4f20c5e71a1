"""Training batches that are independent of the number of processes."""

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

    A training batch contains image (b, 3, crop, crop) float in [0, 1], tags (b, C) bool, known (b, C) bool (where
    False, the tag is False too), index (b,) index into ``train_ids`` and, with a target, labels (b, crop, crop) int64
    and weights (b, crop, crop) float. A held-out batch has b = 1, the whole image, and no labels.

    The trainer must not replace the samplers (``use_distributed_sampler=False``): held-out images are distributed over
    the processes without padding or repeats.

    Args:
        dataset: The data set.
        train_ids: Images to train on.
        target: Reads the labels of an image; picklable if ``workers`` > 0.
        held_out_ids: Images whose tags are used for evaluation only.
        transform: Ranges of the random views.
        batch_size: Samples per step, over all processes together.
        seed: Seed of orders and views.
        workers: Data loading processes beside this one; they are spawned, so that they inherit no locks.
        rank: This process.
        world_size: Number of processes.
        samples: Samples per epoch, to repeat images of a small set; None takes each image once.
        outlined: Whether batches include boxes, (b, 32, 5) int64: label, top, left, bottom, right in pixels of the
            crop, padded with rows of ``IGNORE``.
        sparse: Whether the target has few labelled pixels, which views must not lose.

    Raises:
        SettingsError: If the batch size is not divisible by the number of processes.
        DataError: If there are no training images.
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
            raise DataError(f"data set '{dataset.name}' has no image to train on; see the settings of data")
        self.views = TrainingViews(dataset, tuple(train_ids), target, transform, seed, outlined=outlined, sparse=sparse)
        self.sampler = EpochSampler(
            len(train_ids), batch_size, seed=seed, rank=rank, world_size=world_size, samples=samples
        )
        self.held_out = WholeImages(dataset, tuple(held_out_ids))
        self.workers = workers

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of random views; the epoch must be set on its sampler."""
        local = self.sampler.batch_size // self.sampler.world_size
        return DataLoader(self.views, batch_size=local, sampler=self.sampler, **self._loading())

    def val_dataloader(self) -> DataLoader[Batch]:
        """This process's part of the held-out images, one at a time."""
        mine = range(self.sampler.rank, len(self.held_out), self.sampler.world_size)
        return DataLoader(self.held_out, batch_size=1, sampler=mine, **self._loading())

    def _loading(self) -> dict[str, Any]:
        return {
            "num_workers": self.workers,
            "multiprocessing_context": "spawn" if self.workers else None,
            "persistent_workers": self.workers > 0,
            "pin_memory": torch.cuda.is_available(),
            # a separate generator, as each pass would otherwise draw from the global one
            "generator": torch.Generator(),
        }
