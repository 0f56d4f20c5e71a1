"""Small pictures, and small networks that can learn them in a moment."""

from collections.abc import Iterator, Mapping

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from wsss.functional.dsrg import DsrgSettings
from wsss.networks.backbones import build_backbone
from wsss.networks.classifier import Classifier
from wsss.networks.deeplabv3plus import DeepLabV3Plus
from wsss.tasks.classification import ClassificationTask
from wsss.tasks.dsrg import DsrgTask
from wsss.tasks.segmentation import SegmentationTask
from wsss.tasks.settings import ClassifierSettings, SegmenterSettings
from wsss.tasks.sparse import SparseTask
from wsss.tasks.sparse_settings import SparseSettings
from wsss.types import IGNORE

CLASSIFIER = ClassifierSettings(learning_rate=3e-4, batch_size=8, head_multiplier=1.0)
COLOURS = torch.tensor([[1.0, 0, 0], [0, 0, 1]])


def classification_task(settings: ClassifierSettings = CLASSIFIER) -> ClassificationTask:
    torch.manual_seed(0)
    return ClassificationTask(Classifier(build_backbone("tiny", output_stride=16), 2), settings)


class Squares:
    """Dark noisy images; class 0 is a red square, class 1 a blue one. Some images have no known tags."""

    def __init__(self, *, batches: int = 6, known: float = 1.0) -> None:
        self.batches, self.known, self.epoch = batches, known, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        generator = torch.Generator().manual_seed(self.epoch)
        for _ in range(self.batches):
            tags = torch.rand(8, 2, generator=generator) < 0.5
            images = torch.rand(8, 3, 32, 32, generator=generator) * 0.3
            for number, present in enumerate(tags):
                for label in present.nonzero().flatten():
                    row, column = torch.randint(0, 20, (2,), generator=generator).tolist()
                    images[number, :, row : row + 12, column : column + 12] = COLOURS[label][:, None, None]
            known = (torch.rand(8, generator=generator) < self.known)[:, None].expand(-1, tags.shape[1])
            yield {"image": images, "tags": tags, "known": known}


class HeldOut(pl.LightningDataModule):
    """Learns from squares and measures others, some of them without known tags."""

    def __init__(self, held_out: list[dict[str, Tensor]]) -> None:
        super().__init__()
        self.held_out = held_out

    def train_dataloader(self) -> Squares:
        return Squares()

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        return DataLoader(self.held_out, batch_size=None)  # type: ignore[arg-type]


SEGMENTER = SegmenterSettings(learning_rate=1e-3, batch_size=4, weight_decay=0.0, width=16, head_multiplier=3.0)
LABELS = 3


GROWING = DsrgSettings(stride=2)


def small_segmenter() -> DeepLabV3Plus:
    torch.manual_seed(0)
    return DeepLabV3Plus(build_backbone("tiny", output_stride=16), LABELS, width=16, dropout=0.0)


def segmentation_task(settings: SegmenterSettings = SEGMENTER, *, background: bool = True) -> SegmentationTask:
    return SegmentationTask(small_segmenter(), settings, background=background)


def dsrg_task(
    settings: SegmenterSettings = SEGMENTER, dsrg: DsrgSettings = GROWING, *, background: bool = True
) -> DsrgTask:
    return DsrgTask(small_segmenter(), settings, dsrg, background=background)


def sparse_task(
    weights: Mapping[str, float], settings: SegmenterSettings = SEGMENTER, *, background: bool = True
) -> SparseTask:
    return SparseTask(small_segmenter(), settings, SparseSettings(), weights, dsrg=GROWING, background=background)


class Halves:
    """The upper part of an image is red and 1, the lower green and 2, what lies left is dark and 0 or IGNORE."""

    def __init__(self, *, batches: int = 6, background: bool = True, everything: bool = False) -> None:
        self.batches, self.background, self.everything, self.epoch = batches, background, everything, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        generator = torch.Generator().manual_seed(self.epoch)
        for _ in range(self.batches):
            images = torch.rand(4, 3, 32, 32, generator=generator) * 0.3
            labels = torch.full((4, 32, 32), 0 if self.background else IGNORE)
            for number, (row, column) in enumerate(torch.randint(8, 24, (4, 2), generator=generator).tolist()):
                images[number, 0, :row, column:] = 1
                images[number, 1, row:, column:] = 1
                labels[number, :row, column:] = 1
                labels[number, row:, column:] = 2
            weights = torch.rand(4, 32, 32, generator=generator)
            yield {"image": images, "labels": labels.fill_(IGNORE) if self.everything else labels, "weights": weights}


class Cues:
    """Dark noisy images with one thing, red and 1 or green and 2; its tag is known, its labels only here and there."""

    def __init__(self, *, batches: int = 6, given: float = 0.1, background: bool = True) -> None:
        self.batches, self.given, self.background, self.epoch = batches, given, background, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        generator = torch.Generator().manual_seed(self.epoch)
        for _ in range(self.batches):
            images = torch.rand(4, 3, 32, 32, generator=generator) * 0.3
            labels = torch.full((4, 32, 32), 0 if self.background else IGNORE)
            shown = torch.randint(1, 3, (4,), generator=generator).tolist()
            for number, (row, column) in enumerate(torch.randint(0, 16, (4, 2), generator=generator).tolist()):
                thing = slice(row, row + 16), slice(column, column + 16)
                images[number, shown[number] - 1, *thing] = 1
                labels[number, *thing] = shown[number]
            hidden = torch.rand(labels.shape, generator=generator) > self.given
            yield {
                "image": images,
                "labels": labels.masked_fill(hidden, IGNORE),
                "weights": torch.ones(labels.shape),
                "tags": torch.tensor([[label == 1, label == 2] for label in shown]),
                "known": torch.ones(4, 2, dtype=torch.bool),
            }
