"""Training samples and their order; independent of Lightning, so that worker processes start fast."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import Sampler

from wsss.data.base import Dataset
from wsss.data.chance import repeated_order, seed_of
from wsss.data.transforms import TransformSettings, Weights, random_view
from wsss.types import IGNORE, LabelMap

Target = tuple[LabelMap, Weights | None]
"""Training target of a segmenter for one image: labels, and pixel weights; None weights all by 1."""

MOST_BOXES = 32
"""Maximum number of boxes per image in a batch; the largest ones are used."""

Batch = dict[str, Tensor]


class EpochSampler(Sampler[tuple[int, int, int]]):
    """Distributes the samples of an epoch over the processes, as (epoch, turn, index); an image occurs once per turn.

    The order is determined by (seed, epoch), with one permutation per turn, and padded from its own beginning to whole
    global batches. Each process takes its slice of each global batch, so the global batches are the same for any number
    of processes.

    Args:
        count: Number of training images.
        batch_size: Samples in a global batch; divisible by the number of processes.
        seed: Seed of the orders.
        rank: This process.
        world_size: Number of processes.
        samples: Samples in an epoch before padding; None takes each image once.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        *,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        samples: int | None = None,
    ) -> None:
        self.count = count
        self.samples = count if samples is None else samples
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the next epoch."""
        self.epoch = epoch

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return -(-self.samples // self.batch_size)

    def __len__(self) -> int:
        return self.steps * self.batch_size // self.world_size

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        if not self.samples:
            return
        epoch = self.epoch
        order = repeated_order(self.count, self.samples, seed_of("order", self.seed, epoch))
        places = torch.arange(self.steps * self.batch_size) % self.samples
        for place in places.view(self.steps, self.world_size, -1)[:, self.rank].flatten().tolist():
            yield epoch, place // self.count, int(order[place])


class TrainingViews(TorchDataset[Batch]):
    """Random views of the training images, by (epoch, turn, index).

    Args:
        dataset: The data set.
        ids: The training images.
        target: Reads the training target of an image; None if only tags are needed.
        transform: Ranges of the random views.
        seed: Seed of the views, combined with the epoch, the turn and the image's name.
        outlined: Whether boxes are included, for trainings that use them.
        sparse: Whether the target has few labelled pixels, which views must not lose.
    """

    def __init__(
        self,
        dataset: Dataset,
        ids: tuple[str, ...],
        target: Callable[[str], Target] | None,
        transform: TransformSettings,
        seed: int,
        *,
        outlined: bool = False,
        sparse: bool = False,
    ) -> None:
        self.dataset = dataset
        self.outlined = outlined
        self.sparse = sparse
        self.ids = ids
        self.target = target
        self.transform = transform
        self.seed = seed

    def __getitem__(self, place: tuple[int, int, int]) -> Batch:
        epoch, turn, index = place
        id = self.ids[index]
        labels, weights = (None, None) if self.target is None else self.target(id)
        # first turns have no number in the seed, as before there were others
        seed = seed_of("view", self.seed, epoch, *([turn] if turn else []), id)
        boxes = self._boxes(id) if self.outlined else None
        image = self.dataset.image(id)
        view = random_view(image, labels, weights, self.transform, seed=seed, boxes=boxes, sparse=self.sparse)
        entry = {"image": view.image, "index": torch.tensor(index), **_tags(self.dataset, id)}
        if view.labels is not None and view.weights is not None:
            entry |= {"labels": view.labels, "weights": view.weights}
        if view.boxes is not None:
            entry["boxes"] = torch.full((MOST_BOXES, 5), IGNORE)
            entry["boxes"][: len(view.boxes)] = view.boxes
        return entry

    def _boxes(self, id: str) -> Tensor:
        """The largest boxes of an image, (N, 5)."""
        boxes = self.dataset.annotation(id).boxes
        return torch.zeros(0, 5, dtype=torch.int64) if boxes is None else boxes.as_tensor()[:MOST_BOXES]


class WholeImages(TorchDataset[Batch]):
    """Whole images with their tags.

    Args:
        dataset: The data set.
        ids: Names of the images.
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


def _tags(dataset: Dataset, id: str) -> Batch:
    present, known = dataset.presence(id)
    return {"tags": present, "known": known}
