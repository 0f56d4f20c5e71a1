"""Data passed between stages: thresholds, evidence, superpixels and graphs, training labels."""

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
from wsss.functional.settled import confine_cams, keep_labels, keep_scores
from wsss.refine.base import Refiner, Source, View
from wsss.stages.base import Stage, Workbench
from wsss.store import Artefact, UnitWriter
from wsss.types import IGNORE, CamMap, Evidence, LabelMap, ScoreMap, Segments, Tags

if TYPE_CHECKING:
    from torch_geometric.data import Data

KEPT_BYTES = 1 << 30
"""Memory limit for data that trainings read in every epoch; data beyond it is read from disk again."""

LIKELY = "likely"
"""Name of likely (uncertain) labels of annotations, stored beside the settled ones."""

Item = TypeVar("Item")


class Remembered(Generic[Item]):
    """Caches data of images in memory, so that only the first epoch waits for it.

    Args:
        read: Reads the data of an image; the result must not be modified.
        tensors: Returns the tensors of the data, which determine its size.
    """

    def __init__(self, read: Callable[[str], Item], tensors: Callable[[Item], Iterable[Tensor | None]]) -> None:
        self._read, self._tensors = read, tensors
        self._kept: dict[str, Item] = {}
        self._bytes = 0

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle without the cached data."""
        return Remembered, (self._read, self._tensors)

    def __call__(self, image: str) -> Item:
        """Return the data of an image, from memory if cached."""
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
        """Inputs of a stage that needs both."""
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
class Settled:
    """Settled labels and exclusions from annotations, image by image; empty if training uses tags only.

    Attributes:
        dataset: The images and their annotations.
        labels: Artefact of the settled pixels; None if there are none.
    """

    dataset: Dataset
    labels: Artefact | None

    def pixels(self, image: str) -> LabelMap | None:
        """Settled labels of an image, (H, W); None if there are none."""
        return None if self.labels is None else self.labels.read_labels(image)

    def likely(self, image: str) -> LabelMap | None:
        """Labels that are likely but not settled, (H, W); None if there are none."""
        if self.labels is None or not self.labels.path(LIKELY, image, ".png").exists():
            return None
        return self.labels.read_labels(image, LIKELY)

    def allowed(self, image: str) -> Tensor | None:
        """Labels that are possible at each pixel, (K, H, W) bool; None if nothing is ruled out."""
        if self.labels is None:
            return None
        return self.dataset.annotation(image).allowed(self.dataset.size(image), len(self.dataset.classes))

    def cams(self, image: str, cams: CamMap) -> CamMap:
        """Set CAMs of any resolution to zero where their class is ruled out."""
        return confine_cams(cams, self.allowed(image))

    def marks(self, image: str) -> LabelMap | None:
        """Labels of individually annotated pixels (points, strokes), (H, W); None if there are none."""
        if self.labels is None:
            return None
        ties = self.dataset.annotation(image).ties(self.dataset.size(image))
        return None if ties is None else torch.where(ties > 0, self.labels.read_labels(image), IGNORE)

    def scores(self, image: str, scores: ScoreMap) -> ScoreMap:
        """Constrain scores of any resolution to settled and possible labels."""
        return scores if self.labels is None else keep_scores(scores, self.pixels(image), self.allowed(image))

    def keep(self, image: str, labels: LabelMap) -> LabelMap:
        """Constrain labels to settled and possible ones."""
        return labels if self.labels is None else keep_labels(labels, self.pixels(image), self.allowed(image))

    def mend(self, image: str, labels: LabelMap) -> LabelMap:
        """Restore parts of the annotation that labels have lost, unless another label is settled there."""
        return labels if self.labels is None else self.keep(image, self.dataset.annotation(image).mend(labels))

    def confidence(self, image: str, confidence: Float[Tensor, "H W"]) -> Float[Tensor, "H W"]:
        """Set the confidence in settled pixels to 1."""
        settled = self.pixels(image)
        return confidence if settled is None else torch.where(settled == IGNORE, confidence, 1.0)


def settled_by(bench: Workbench, annotations: Stage | None) -> Settled:
    """Open the settled labels of the annotations."""
    return Settled(bench.dataset, bench.read(annotations) if annotations else None)


def reads_of(annotations: Stage | None) -> dict[str, Stage]:
    """Inputs of a stage that is constrained by annotations."""
    return {"annotations": annotations} if annotations else {}


@dataclass(frozen=True)
class Trail:
    """The stages that hold the evidence of a round after some refiners.

    Attributes:
        scores: Stage that wrote the latest scores.
        seeds: Stage that wrote the latest seeds.
        labels: Stage that wrote the latest labels.
        source: Origin of the round's scores.
        annotations: Stage that wrote the settled labels; None if only tags are used.
    """

    scores: Stage
    seeds: Stage
    labels: Stage
    source: Source
    annotations: Stage | None = None

    def after(self, refiner: Refiner, stage: Stage) -> "Trail":
        """The trail after one more refiner."""
        if refiner.changes == "seeds":
            return replace(self, seeds=stage, labels=stage)
        return replace(self, scores=stage, labels=stage)

    def open(self, bench: Workbench) -> "Material":
        """Open the artefacts."""
        settled = settled_by(bench, self.annotations)
        return Material(bench.dataset, bench.read(self.scores), bench.read(self.seeds), self.source, settled)


@dataclass(frozen=True)
class Material:
    """The evidence of a data set, read image by image.

    Attributes:
        dataset: The images and their tags.
        scores: Artefact of the scores.
        seeds: Artefact of the seeds.
        source: Origin of the scores.
        settled: Settled labels of the annotations.
        graphs: Superpixels and region graphs, for refiners that need them.
    """

    dataset: Dataset
    scores: Artefact
    seeds: Artefact
    source: Source
    settled: Settled
    graphs: Graphs | None = None

    def evidence(self, image: str) -> Evidence:
        """Read the evidence about one image."""
        return Evidence(self.scores.read_scores(image, len(self.dataset.classes) + 1), self.seeds.read_labels(image))

    def kept(self, image: str, evidence: Evidence) -> Evidence:
        """Constrain evidence to the annotations."""
        if self.settled.labels is None:
            return evidence
        return Evidence(self.settled.scores(image, evidence.scores), self.settled.keep(image, evidence.seeds))

    def view(self, image: str) -> View:
        """Read the other inputs of a refiner."""
        return View(
            image=self.dataset.image(image),
            tags=self.dataset.tags(image),
            background=self.dataset.background,
            source=self.source,
            marks=self.settled.marks(image),
            segments=self.graphs.segments(image) if self.graphs else None,
            graph=self.graphs.graph(image) if self.graphs else None,
        )


def training_thresholds(
    bench: Workbench, cams: Artefact, settings: SeedSettings, settled: Settled | None = None
) -> Thresholds | None:
    """Compute each class's quantiles over the CAMs of all training images with the class, if the settings use them.

    Images with incomplete tags count for the classes that are named. If no image names a class, images with unknown
    tags are used instead.

    Thresholds belong to the maps they are computed from: CAMs constrained by annotations if ``settled`` is given, else
    CAMs as stored. Every process computes them itself: reading the CAMs takes less time than their later processing.
    """
    if settings.background != "quantile" or settings.quantile_pixels != "training":
        return None
    dataset, classes = bench.dataset, len(bench.dataset.classes)
    images = dataset.ids("train")
    # images with the class, and those with unknown tags
    counts = torch.zeros(2, classes, LEVELS, dtype=torch.int64)
    with bench.watcher.progress("levels of cams", len(images)) as advance:
        for image in images:
            maps, named = cams.read_scores(image, classes + 1)[1:], dataset.named(image)
            counts[int(named is None)] += count_levels(settled.cams(image, maps) if settled else maps, named)
            advance(1)
    shown = counts[0].any(dim=1, keepdim=True)
    return rank_thresholds(torch.where(shown, counts[0], counts[1]), settings)


def image_thresholds(cams: CamMap, tags: Tags | None, settings: SeedSettings) -> Thresholds | None:
    """Compute each class's quantiles over one image's CAMs, as stored, if the settings use them."""
    return rank_thresholds(count_levels(cams, tags), settings) if settings.background == "quantile" else None


def write_segments(unit: UnitWriter, image: str, segments: Segments) -> None:
    """Write the segments of one image as a 16-bit grey PNG."""
    buffer = io.BytesIO()
    PillowImage.fromarray(segments.numpy().astype(np.uint16)).save(buffer, format="PNG", compress_level=4)
    unit.write(unit.artefact.path("segments", image, ".png"), buffer.getvalue())


def read_segments(artefact: Artefact, image: str) -> Segments:
    """Read the segments of one image, (H, W) int64."""
    content = artefact.read(artefact.path("segments", image, ".png"))
    return torch.from_numpy(np.array(PillowImage.open(io.BytesIO(content))).astype(np.int64))


def write_weights(unit: UnitWriter, image: str, weights: Float[Tensor, "H W"]) -> None:
    """Write weights in [0, 1] as an 8-bit grey PNG."""
    buffer = io.BytesIO()
    PillowImage.fromarray((weights * 255).round().to(torch.uint8).numpy()).save(buffer, format="PNG", compress_level=4)
    unit.write(unit.artefact.path("weights", image, ".png"), buffer.getvalue())


def read_weights(artefact: Artefact, image: str) -> Float[Tensor, "H W"]:
    """Read weights in [0, 1]."""
    content = artefact.read(artefact.path("weights", image, ".png"))
    return torch.from_numpy(np.array(PillowImage.open(io.BytesIO(content)), dtype=np.float32)) / 255


def read_target(artefact: Artefact, image: str) -> tuple[LabelMap, Tensor | None]:
    """Read the training target of an image: labels, and pixel weights if there are any."""
    labels = artefact.read_labels(image)
    weighted = artefact.path("weights", image, ".png").exists()
    return labels, read_weights(artefact, image) if weighted else None
