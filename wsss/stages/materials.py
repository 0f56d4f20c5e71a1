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
from wsss.functional.settled import confine_cams, keep_labels, keep_scores
from wsss.refine.base import Refiner, Source, View
from wsss.stages.base import Stage, Workbench
from wsss.store import Artefact, UnitWriter
from wsss.types import IGNORE, CamMap, Evidence, LabelMap, ScoreMap, Segments, Tags

if TYPE_CHECKING:
    from torch_geometric.data import Data

KEPT_BYTES = 1 << 30
"""What trainings read again in each epoch is kept in memory up to this size; what is beyond it is read anew."""

LIKELY = "likely"
"""What annotations make likely lies under this name beside what they settle."""

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
class Settled:
    """What annotations settle and rule out, image by image; nothing where training sees tags alone.

    Attributes:
        dataset: The images and their annotations.
        labels: Artefact of the settled pixels; None where annotations settle none.
    """

    dataset: Dataset
    labels: Artefact | None

    def pixels(self, image: str) -> LabelMap | None:
        """Labels of the settled pixels of an image, (H, W); None where nothing is settled."""
        return None if self.labels is None else self.labels.read_labels(image)

    def likely(self, image: str) -> LabelMap | None:
        """Labels that annotations make likely without settling them, (H, W); None where there are none."""
        if self.labels is None or not self.labels.path(LIKELY, image, ".png").exists():
            return None
        return self.labels.read_labels(image, LIKELY)

    def allowed(self, image: str) -> Tensor | None:
        """Labels that annotations leave possible at each pixel, (K, H, W) bool; None where they rule nothing out."""
        if self.labels is None:
            return None
        return self.dataset.annotation(image).allowed(self.dataset.size(image), len(self.dataset.classes))

    def cams(self, image: str, cams: CamMap) -> CamMap:
        """Keep CAMs of any resolution to where their class is possible."""
        return confine_cams(cams, self.allowed(image))

    def marks(self, image: str) -> LabelMap | None:
        """Labels of the pixels that a person marked one by one, (H, W); None where there are none."""
        if self.labels is None:
            return None
        ties = self.dataset.annotation(image).ties(self.dataset.size(image))
        return None if ties is None else torch.where(ties > 0, self.labels.read_labels(image), IGNORE)

    def scores(self, image: str, scores: ScoreMap) -> ScoreMap:
        """Keep scores of any resolution to what is settled and possible."""
        return scores if self.labels is None else keep_scores(scores, self.pixels(image), self.allowed(image))

    def keep(self, image: str, labels: LabelMap) -> LabelMap:
        """Keep labels to what is settled and possible."""
        return labels if self.labels is None else keep_labels(labels, self.pixels(image), self.allowed(image))

    def mend(self, image: str, labels: LabelMap) -> LabelMap:
        """Take back what labels have lost of the annotation, as far as nothing else is settled."""
        return labels if self.labels is None else self.keep(image, self.dataset.annotation(image).mend(labels))

    def confidence(self, image: str, confidence: Float[Tensor, "H W"]) -> Float[Tensor, "H W"]:
        """Raise the confidence in settled pixels to 1."""
        settled = self.pixels(image)
        return confidence if settled is None else torch.where(settled == IGNORE, confidence, 1.0)


def settled_by(bench: Workbench, annotations: Stage | None) -> Settled:
    """Open what annotations settle."""
    return Settled(bench.dataset, bench.read(annotations) if annotations else None)


def reads_of(annotations: Stage | None) -> dict[str, Stage]:
    """What a stage reads that keeps to annotations."""
    return {"annotations": annotations} if annotations else {}


@dataclass(frozen=True)
class Trail:
    """Where the evidence of a round lies after some refiners.

    Attributes:
        scores: Stage that wrote the scores last.
        seeds: Stage that wrote the seeds last.
        labels: Stage whose labels are the last word.
        source: Where the scores of the round came from.
        annotations: Stage that wrote what annotations settle; None where training sees tags alone.
    """

    scores: Stage
    seeds: Stage
    labels: Stage
    source: Source
    annotations: Stage | None = None

    def after(self, refiner: Refiner, stage: Stage) -> "Trail":
        """The trail with one more refiner behind it."""
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
        scores: Artefact that holds the scores.
        seeds: Artefact that holds the seeds.
        source: Where the scores came from.
        settled: What annotations settle.
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
        """Keep evidence to what annotations settle and leave possible."""
        if self.settled.labels is None:
            return evidence
        return Evidence(self.settled.scores(image, evidence.scores), self.settled.keep(image, evidence.seeds))

    def view(self, image: str) -> View:
        """Read what a refiner may look at besides."""
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
    """Take each class's quantiles over the CAMs of all training images with the class, where the settings ask for it.

    Of images whose classes are not all known those count that are named. Where no image shows a class, those of which
    nothing is known stand in.

    They belong to the maps that they were taken over: to CAMs kept to what annotations leave possible if ``settled`` is
    given, else to CAMs as they are stored. Every process counts for itself: reading the CAMs takes less than what is
    done with them afterwards.
    """
    if settings.background != "quantile" or settings.quantile_pixels != "training":
        return None
    dataset, classes = bench.dataset, len(bench.dataset.classes)
    images = dataset.ids("train")
    # images with the class, and those of which nothing is known
    counts = torch.zeros(2, classes, LEVELS, dtype=torch.int64)
    with bench.watcher.progress("levels of cams", len(images)) as advance:
        for image in images:
            maps, named = cams.read_scores(image, classes + 1)[1:], dataset.named(image)
            counts[int(named is None)] += count_levels(settled.cams(image, maps) if settled else maps, named)
            advance(1)
    shown = counts[0].any(dim=1, keepdim=True)
    return rank_thresholds(torch.where(shown, counts[0], counts[1]), settings)


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
