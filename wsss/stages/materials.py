"""What stages hand to each other: thresholds, evidence, superpixels and graphs, labels to train on."""

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image as PillowImage
from torch import Tensor

from wsss.data.base import Dataset
from wsss.functional.levels import LEVELS, count_levels
from wsss.functional.seeds import SeedSettings, Thresholds, rank_thresholds
from wsss.refine.base import Refiner, Source, View
from wsss.stages.base import Stage, Workbench
from wsss.store import Artefact, UnitWriter
from wsss.types import CamMap, Evidence, LabelMap, Segments, Tags

if TYPE_CHECKING:
    from torch_geometric.data import Data

KEPT_BYTES = 1 << 30
"""What trainings read again in each epoch is kept in memory up to this size; what is beyond it is read anew."""

Item = TypeVar("Item")


class Remembered(Generic[Item]):
    """Reads what belongs to an image at the first call and keeps it, so that no epoch but the first waits for it.

    Args:
        read: Reads what belongs to an image; nobody may change what it returned.
        tensors: The tensors of what was read, which are what fills the memory.
    """

    def __init__(self, read: Callable[[str], Item], tensors: Callable[[Item], Iterable[Tensor | None]]) -> None:
        self._read, self._tensors = read, tensors
        self._kept: dict[str, Item] = {}
        self._bytes = 0

    def __reduce__(self) -> tuple[object, ...]:
        """Travel to another process with nothing in mind."""
        return Remembered, (self._read, self._tensors)

    def __call__(self, image: str) -> Item:
        """Read, or remember, what belongs to an image."""
        if image in self._kept:
            return self._kept[image]
        item = self._read(image)
        size = sum(tensor.nbytes for tensor in self._tensors(item) if tensor is not None)
        if self._bytes + size <= KEPT_BYTES:
            self._kept[image] = item
            self._bytes += size
        return item


@dataclass(frozen=True)
class GraphStages:
    """The stages that write superpixels and graphs."""

    superpixels: Stage
    graphs: Stage

    @property
    def reads(self) -> dict[str, Stage]:
        """What a stage reads that needs both."""
        return {"superpixels": self.superpixels, "graphs": self.graphs}

    def open(self, bench: Workbench) -> "Graphs":
        """Open the artefacts."""
        return Graphs(bench.read(self.superpixels), bench.read(self.graphs))


@dataclass(frozen=True)
class Graphs:
    """Superpixels and region graphs, read image by image."""

    superpixels: Artefact
    graphs: Artefact

    def segments(self, image: str) -> Segments:
        """Superpixels of one image."""
        return read_segments(self.superpixels, image)

    def graph(self, image: str) -> "Data":
        """Region graph of one image: ``x``, ``edge_index`` and ``edge_attr``."""
        from wsss.functional.region_graph import Data

        path = self.graphs.path("graphs", image, ".safetensors")
        tensors = self.graphs.read_tensors(path.relative_to(self.graphs.folder).as_posix())
        return Data(
            x=tensors["x"].float(),
            edge_index=tensors["edge_index"].long(),
            edge_attr=tensors["edge_attr"].float(),
        )


@dataclass(frozen=True)
class Trail:
    """Where the evidence of a round lies after some refiners.

    Attributes:
        scores: Stage that wrote the scores last.
        seeds: Stage that wrote the seeds last.
        labels: Stage whose labels are the last word.
        source: Where the scores of the round came from.
    """

    scores: Stage
    seeds: Stage
    labels: Stage
    source: Source

    def after(self, refiner: Refiner, stage: Stage) -> "Trail":
        """The trail with one more refiner behind it."""
        if refiner.changes == "seeds":
            return replace(self, seeds=stage, labels=stage)
        return replace(self, scores=stage, labels=stage)

    def open(self, bench: Workbench) -> "Material":
        """Open the artefacts."""
        return Material(bench.dataset, bench.read(self.scores), bench.read(self.seeds), self.source)


@dataclass(frozen=True)
class Material:
    """The evidence of a data set, read image by image.

    Attributes:
        dataset: The images and their tags.
        scores: Artefact that holds the scores.
        seeds: Artefact that holds the seeds.
        source: Where the scores came from.
        graphs: Superpixels and region graphs, for refiners that need them.
    """

    dataset: Dataset
    scores: Artefact
    seeds: Artefact
    source: Source
    graphs: Graphs | None = None

    def evidence(self, image: str) -> Evidence:
        """Read the evidence about one image."""
        return Evidence(self.scores.read_scores(image, len(self.dataset.classes) + 1), self.seeds.read_labels(image))

    def view(self, image: str) -> View:
        """Read what a refiner may look at besides."""
        return View(
            image=self.dataset.image(image),
            tags=self.dataset.tags(image),
            background=self.dataset.background,
            source=self.source,
            segments=self.graphs.segments(image) if self.graphs else None,
            graph=self.graphs.graph(image) if self.graphs else None,
        )


def training_thresholds(bench: Workbench, cams: Artefact, settings: SeedSettings) -> Thresholds | None:
    """Take each class's quantiles over the CAMs of all training images with the class, where the settings ask for it.

    Every process counts for itself: reading the CAMs takes less than what is done with them afterwards.
    """
    if settings.background != "quantile" or settings.quantile_pixels != "training":
        return None
    dataset, classes = bench.dataset, len(bench.dataset.classes)
    images = dataset.ids("train")
    counts = torch.zeros(classes, LEVELS, dtype=torch.int64)
    with bench.watcher.progress("levels of cams", len(images)) as advance:
        for image in images:
            counts += count_levels(cams.read_scores(image, classes + 1)[1:], dataset.tags(image))
            advance(1)
    return rank_thresholds(counts, settings)


def image_thresholds(cams: CamMap, tags: Tags | None, settings: SeedSettings) -> Thresholds | None:
    """Take each class's quantiles over one image's CAMs, as the store keeps them, where the settings ask for it."""
    return rank_thresholds(count_levels(cams, tags), settings) if settings.background == "quantile" else None


def write_segments(unit: UnitWriter, image: str, segments: Segments) -> None:
    """Write the segments of one image as a grey PNG of 16 bits."""
    buffer = io.BytesIO()
    PillowImage.fromarray(segments.numpy().astype(np.uint16)).save(buffer, format="PNG", compress_level=4)
    unit.write(unit.artefact.path("segments", image, ".png"), buffer.getvalue())


def read_segments(artefact: Artefact, image: str) -> Segments:
    """Read the segments of one image, (H, W) int64."""
    content = artefact.read(artefact.path("segments", image, ".png"))
    return torch.from_numpy(np.array(PillowImage.open(io.BytesIO(content))).astype(np.int64))


def write_weights(unit: UnitWriter, image: str, weights: Float[Tensor, "H W"]) -> None:
    """Write weights in [0, 1] as a grey PNG of 256 steps."""
    buffer = io.BytesIO()
    PillowImage.fromarray((weights * 255).round().to(torch.uint8).numpy()).save(buffer, format="PNG", compress_level=4)
    unit.write(unit.artefact.path("weights", image, ".png"), buffer.getvalue())


def read_weights(artefact: Artefact, image: str) -> Float[Tensor, "H W"]:
    """Read weights in [0, 1]."""
    content = artefact.read(artefact.path("weights", image, ".png"))
    return torch.from_numpy(np.array(PillowImage.open(io.BytesIO(content)), dtype=np.float32)) / 255


def read_target(artefact: Artefact, image: str) -> tuple[LabelMap, Tensor | None]:
    """Read what a segmenter is trained on: labels, and the weights of their pixels if there are any."""
    labels = artefact.read_labels(image)
    weighted = artefact.path("weights", image, ".png").exists()
    return labels, read_weights(artefact, image) if weighted else None
