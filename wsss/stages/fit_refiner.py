"""Fitting of a refiner on the whole training set: the network on region graphs."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from wsss.data.base import Dataset
from wsss.refine.base import FittedRefiner
from wsss.stages.base import Stage, Workbench, repeats
from wsss.stages.materials import GraphStages, Material, Remembered, Trail, reads_of
from wsss.stages.training import keep_network, steps_of, train
from wsss.store import Artefact

if TYPE_CHECKING:
    from torch_geometric.data import Data


class DescribedGraphs(Sequence["Data"]):
    """The graphs of all training images with the evidence on their nodes, read on first access.

    Args:
        refiner: Attaches the evidence to the nodes.
        material: Evidence and graphs.
        ids: The images.
    """

    def __init__(self, refiner: FittedRefiner, material: Material, ids: Sequence[str]) -> None:
        self.refiner, self.material, self.ids = refiner, material, ids
        self._graph = Remembered(self._read, lambda graph: graph.to_dict().values())

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> "Data":  # type: ignore[override]
        return self._graph(self.ids[index])

    def _read(self, image: str) -> "Data":
        return self.refiner.describe(self.material.evidence(image), self.material.view(image))


def fit_refiner(
    name: str,
    refiner: FittedRefiner,
    dataset: Dataset,
    trail: Trail,
    graphs: GraphStages,
    seed: int,
    precision: str,
    round: int,
) -> Stage:
    """Plan the fitting of a refiner.

    Args:
        name: Name of the refiner in ``REFINERS``.
        refiner: The refiner and its settings.
        dataset: The images.
        trail: The evidence to fit on.
        graphs: Superpixels and region graphs.
        seed: Seed of the fit.
        precision: The resolved precision.
        round: Round of self-training.
    """

    def work(bench: Workbench, out: Artefact) -> None:
        from wsss.tasks.regions import GraphLoader

        material = replace(trail.open(bench), graphs=graphs.open(bench))
        described = DescribedGraphs(refiner, material, dataset.ids("train"))
        torch.manual_seed(seed)
        task = refiner.task(described, len(dataset.classes) + 1)
        samples = dataset.samples(len(described))
        loader = GraphLoader(described, task.settings.batch_size, seed=seed, samples=samples)
        train(task, loader, bench, out, steps=steps_of(samples, task.settings), description=f"{name} network")
        keep_network(task, out)

    return Stage(
        name=f"{name}_fit",
        version=2,
        work=work,
        settings=refiner.learns_from(trail.source) | repeats(dataset) | {"seed": seed, "precision": precision},
        reads={"scores": trail.scores, "seeds": trail.seeds, **graphs.reads, **reads_of(trail.annotations)},
        round=round,
    )
