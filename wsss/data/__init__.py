"""Images with their tags, however they are kept; batches of them for training."""

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
    """A kind of data set: its settings, and what opens it."""

    settings: type[DatasetSettings]
    dataset: Callable[[Any], Dataset]


DATASETS = {
    "synthetic": DatasetKind(SyntheticSettings, SyntheticDataset),
    "voc": DatasetKind(VocSettings, VocDataset),
    "coco": DatasetKind(CocoSettings, CocoDataset),
    "folder": DatasetKind(FolderSettings, FolderDataset),
}
"""All kinds of data sets; a new one is a line here and a file beside this one."""


def open_dataset(settings: DatasetSettings, labels: LabelSettings | None = None) -> Dataset:
    """Open the data set that the settings describe.

    Args:
        settings: Settings of one of the kinds in ``DATASETS``.
        labels: What training may see of its labels; its own tags if not given.

    Raises:
        DataError: If its files are missing or wrong.
    """
    opener = next(kind.dataset for kind in DATASETS.values() if type(settings) is kind.settings)
    dataset = opener(settings)
    return dataset if labels is None else with_labels(dataset, labels)
