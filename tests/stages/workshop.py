"""Drawn data sets, a quiet bench, and stages that write what a test gives them."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from wsss.annotations import Annotation
from wsss.data.base import Dataset
from wsss.functional.region_graph import build_region_graph
from wsss.ranks import Pool
from wsss.stages.base import Stage, Workbench, carry_out
from wsss.stages.materials import GraphStages, Trail, write_segments
from wsss.store import STRIDE, Artefact, Store, UnitWriter
from wsss.tasks.regions import region_network
from wsss.tasks.settings import GraphSettings, TrainerSettings
from wsss.types import IGNORE, Image, LabelMap, ScoreMap, Tags

COLOURS = torch.tensor([[70, 110, 60], [200, 60, 50], [50, 70, 200], [220, 200, 60]])
"""What the labels look like; ``IGNORE`` is grey."""


class DrawnDataset(Dataset):
    """Images painted from label maps.

    Args:
        pictures: Label map of each image; images whose name begins with ``val`` are for validation.
        tags: Tags that differ from what the image shows, as labels; None where nobody said.
        truth: True labels that differ from what the image shows; None where there are none.
        images: Images that are not painted from the label maps.
        classes: Names of the classes.
        background: Whether there is a background class.
    """

    def __init__(
        self,
        pictures: Mapping[str, LabelMap],
        *,
        tags: Mapping[str, Sequence[int] | None] | None = None,
        truth: Mapping[str, LabelMap | None] | None = None,
        images: Mapping[str, Image] | None = None,
        classes: tuple[str, ...] = ("cat", "dog"),
        background: bool = True,
    ) -> None:
        ids = {
            "train": tuple(name for name in pictures if not name.startswith("val")),
            "val": tuple(name for name in pictures if name.startswith("val")),
        }
        super().__init__("drawn", classes, background=background, ids=ids)
        self._pictures = pictures
        self._tags = tags or {}
        self._truth = truth or {}
        self._images = images or {}

    def size(self, id: str) -> tuple[int, int]:
        height, width = self._pictures[id].shape
        return height, width

    def image(self, id: str) -> Image:
        return self._images[id] if id in self._images else painted(self._pictures[id])

    def tags(self, id: str) -> Tags | None:
        shown = [label for label in torch.unique(self._pictures[id]).tolist() if 0 < label < IGNORE]
        return tags_of(self._tags.get(id, shown), len(self.classes))

    def truth(self, id: str) -> LabelMap | None:
        return self._truth.get(id, self._pictures[id])


class AnnotatedDataset(DrawnDataset):
    """Painted images of which training sees annotations.

    Args:
        pictures: As for any drawn data set.
        annotations: What training sees; of an image that is left out it sees nothing.
        background: Whether there is a background class.
    """

    def __init__(
        self, pictures: Mapping[str, LabelMap], annotations: Mapping[str, Annotation], *, background: bool = True
    ) -> None:
        super().__init__(pictures, background=background)
        self._annotations = annotations

    @property
    def settles_pixels(self) -> bool:
        return True

    def annotation(self, id: str) -> Annotation:
        return self._annotations.get(id, Annotation())

    def presence(self, id: str) -> tuple[Tags, Tags]:
        return self.annotation(id).presence(len(self.classes))

    def tags(self, id: str) -> Tags | None:
        present, known = self.presence(id)
        return present if known.all() else None


def tags_of(labels: Sequence[int] | None, classes: int) -> Tags | None:
    return None if labels is None else torch.tensor([label in labels for label in range(1, classes + 1)])


def painted(labels: LabelMap, noise: int = 12) -> Image:
    """Paint a noisy image; the same labels are always painted alike."""
    colours = torch.cat([COLOURS, torch.full((1, 3), 128)])[labels.long().clamp(max=len(COLOURS))]
    drawn = torch.randint(-noise, noise + 1, colours.shape, generator=torch.Generator().manual_seed(0))
    return (colours + drawn).clamp(0, 255).to(torch.uint8).permute(2, 0, 1).contiguous()


def enlarged(labels: LabelMap, times: int = 8) -> LabelMap:
    return labels.repeat_interleave(times, 0).repeat_interleave(times, 1)


class Quiet:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.bars: list[tuple[str, int]] = []
        self.done = 0
        self.rows: list[dict[str, Any]] = []
        self.said: list[str] = []

    def progress(self, description: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        self.bars.append((description, total))
        return contextlib.nullcontext(self._advance)

    def _advance(self, count: int) -> None:
        self.done += count

    def metrics(self, row: Mapping[str, Any]) -> None:
        self.rows.append(dict(row))

    def say(self, text: str) -> None:
        self.said.append(text)


def workbench(root: Path, dataset: Dataset) -> Workbench:
    return Workbench(
        store=Store(root),
        dataset=dataset,
        pool=Pool(1),
        trainer=TrainerSettings(accelerator="cpu"),
        precision="32-true",
        seed=0,
        watcher=Quiet(),
    )


def given(name: str, write: Callable[[UnitWriter], None], **about: str) -> Stage:
    """A stage that writes what the test says."""

    def work(_: Workbench, out: Artefact) -> None:
        with out.unit("all") as unit:
            write(unit)

    return Stage(name=name, version=1, work=work, settings=about)


def given_labels(name: str, labels: Mapping[str, LabelMap], **about: str) -> Stage:
    """A stage that has labelled images, sparsely or densely."""

    def write(unit: UnitWriter) -> None:
        for image, drawn in labels.items():
            unit.write_labels(image, drawn)

    return given(name, write, **about)


def given_scores(name: str, scores: Mapping[str, ScoreMap], **about: str) -> Stage:
    """A stage that has scored images; the scores are drawn at a quarter of the images' size."""

    def write(unit: UnitWriter) -> None:
        for image, small in scores.items():
            size = STRIDE * small.shape[1], STRIDE * small.shape[2]
            unit.write_scores(image, small, list(range(len(small))), size)

    return given(name, write, **about)


def given_weights(name: str, weights: Mapping[str, Tensor], file: str = "network.safetensors") -> Stage:
    """A stage that has trained a network."""
    return given(name, lambda unit: unit.write_tensors(file, weights))


def trail_of(scores: Stage, seeds: Stage, labels: Stage | None = None, *, annotations: Stage | None = None) -> Trail:
    """The evidence of a first round."""
    return Trail(scores=scores, seeds=seeds, labels=labels or seeds, source="cams", annotations=annotations)


def finished(bench: Workbench, stage: Stage) -> Artefact:
    """Carry out a stage and all that it reads."""
    for before in stage.reads.values():
        finished(bench, before)
    carry_out(stage, bench)
    return bench.read(stage)


def drawn_scores(labels: LabelMap, classes: int, sure: float = 0.8) -> ScoreMap:
    """Scores that are this sure of each label, the rest shared out evenly."""
    scores = torch.full((classes, *labels.shape), (1 - sure) / (classes - 1))
    return scores.scatter_(0, labels.long()[None], sure)


def squares(size: tuple[int, int], side: int) -> Tensor:
    """Cut an image into squares, numbered row by row."""
    rows, columns = size[0] // side, size[1] // side
    return enlarged(torch.arange(rows * columns).view(rows, columns), side)


class DrawnGraphs:
    """Squares for superpixels, their graphs, and a network as chance made it.

    Args:
        dataset: The images.
        side: Side of the squares in pixels.
    """

    def __init__(self, dataset: Dataset, side: int = 8) -> None:
        self.dataset = dataset
        self.side = side
        self.settings = GraphSettings(hidden=8, heads=2, layers=1, passes=1)
        self.stages = GraphStages(given("superpixels", self._write_segments), given("graphs", self._write_graphs))
        torch.manual_seed(0)
        network = region_network(self.settings, node_channels=4 + 11, classes=len(dataset.classes) + 1)
        self.fitted = given_weights("graph_fit", dict(network.state_dict()))

    def _write_segments(self, unit: UnitWriter) -> None:
        for image in self.dataset.ids("train"):
            write_segments(unit, image, squares(self.dataset.size(image), self.side))

    def _write_graphs(self, unit: UnitWriter) -> None:
        features = torch.rand(4, 2, 2, generator=torch.Generator().manual_seed(0))
        for image in self.dataset.ids("train"):
            graph = build_region_graph(
                self.dataset.image(image), squares(self.dataset.size(image), self.side), [features]
            )
            tensors = {key: graph[key].contiguous() for key in ("x", "edge_index", "edge_attr")}
            unit.write(unit.artefact.path("graphs", image, ".safetensors"), save(tensors))
