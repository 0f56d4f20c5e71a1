"""Fitting a refiner on the whole training set: the network on region graphs."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from wsss.data.base import Dataset
from wsss.refine.graph import Graph, make_task
from wsss.stages.base import Stage, Workbench
from wsss.stages.build_graphs import GraphStages
from wsss.stages.refine import Material, Trail
from wsss.stages.training import keep_network, steps_of, train
from wsss.store import Artefact

if TYPE_CHECKING:
    from torch_geometric.data import Data


@dataclass(frozen=True)
class DescribedGraphs:
    """The graphs of all training images with the evidence on their nodes, read when asked for.

    Attributes:
        refiner: Puts the evidence onto the nodes.
        material: Where evidence and graphs lie.
        ids: The images.
    """

    refiner: Graph
    material: Material
    ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> "Data":
        image = self.ids[index]
        return self.refiner.describe(self.material.evidence(image), self.material.view(image))


def fit_refiner(
    name: str, refiner: Graph, dataset: Dataset, trail: Trail, graphs: GraphStages, seed: int, precision: str, turn: int
) -> Stage:
    """Plan the fitting of a refiner.

    Args:
        name: What the refiner is called in ``REFINERS``.
        refiner: The refiner and its settings.
        dataset: The images.
        trail: The evidence it learns from.
        graphs: Superpixels and region graphs.
        seed: Where the randomness comes from.
        precision: The resolved precision.
        turn: Round of self-training.
    """

    def work(bench: Workbench, out: Artefact) -> None:
        from wsss.tasks.regions import GraphLoader

        material = replace(trail.open(bench), graphs=graphs.open(bench))
        described = DescribedGraphs(refiner, material, dataset.ids("train"))
        torch.manual_seed(seed)
        task = make_task(refiner.settings, described, len(dataset.classes) + 1)
        loader = GraphLoader(described, refiner.settings.batch_size, seed=seed)
        train(task, loader, bench, out, steps=steps_of(len(described), refiner.settings), description=f"{name} network")
        keep_network(task, out)

    return Stage(
        name=f"{name}_fit",
        version=1,
        work=work,
        settings=refiner.depends(trail.source) | {"seed": seed, "precision": precision},
        reads={"scores": trail.scores, "seeds": trail.seeds, **graphs.reads},
        round=turn,
    )
