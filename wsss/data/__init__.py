"""Data sets: images with tags from various sources, and training batches."""

from collections.abc import Callable
from typing import Any, NamedTuple

from wsss.annotations.settings import LabelSettings
from wsss.data.base import Dataset, DatasetSettings
from wsss.data.coco import CocoDataset, CocoSettings
from wsss.data.folder import FolderDataset, FolderSettings
from wsss.data.labelled import with_labels
from wsss.data.synthetic import SyntheticDataset, SyntheticSettings
from wsss.data.voc import VocDataset, VocSettings

__all__ = ["DATASETS", "Dataset", "DatasetSettings", "open_dataset"]


class DatasetKind(NamedTuple):
    """A kind of data set: its settings, and the function that opens it."""

    settings: type[DatasetSettings]
    dataset: Callable[[Any], Dataset]


DATASETS = {
    "synthetic": DatasetKind(SyntheticSettings, SyntheticDataset),
    "voc": DatasetKind(VocSettings, VocDataset),
    "coco": DatasetKind(CocoSettings, CocoDataset),
    "folder": DatasetKind(FolderSettings, FolderDataset),
}
"""All kinds of data sets; to add one, add a line here and a module beside this one."""


def open_dataset(settings: DatasetSettings, labels: LabelSettings | None = None) -> Dataset:
    """Open the data set that the settings describe.

    Args:
        settings: Settings of one of the kinds in ``DATASETS``.
        labels: Labels used in training; None means the data set's own tags.

    Raises:
        DataError: If its files are missing or invalid.
    """
    opener = next(kind.dataset for kind in DATASETS.values() if type(settings) is kind.settings)
    dataset = opener(settings)
    return dataset if labels is None else with_labels(dataset, labels)
