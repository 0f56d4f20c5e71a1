"""The region graph as a refiner: one network for all images changes the scores."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

from wsss.functional.seeds import restrict_scores
from wsss.refine.base import FittedRefiner, Source, View
from wsss.store import resize_scores
from wsss.tasks.settings import OPINIONS, GraphSettings
from wsss.types import IGNORE, Evidence

if TYPE_CHECKING:
    from torch_geometric.data import Data

    from wsss.networks.region_gnn import RegionGNN
    from wsss.tasks.regions import RegionTask

WEIGHTS_FILE = "network.safetensors"

_LEAST = 1e-3
"""A probability of zero would be a veto that no other opinion can overrule."""


@dataclass(frozen=True)
class Graph(FittedRefiner):
    """Lets regions be judged by their looks and by their relations, with one network for all images.

    Three opinions are multiplied: the network's, which knows all images; that of the prototypes, which know this one;
    and the scores so far.

    Attributes:
        settings: The graph, the network and how it learns.
        folder: Where the fitted network lies; None before it is fitted.
    """

    settings: GraphSettings
    folder: Path | None = None

    version = 4
    changes = "scores"

    @property
    def learns(self) -> bool:
        """Prototypes and the scores so far need no network."""
        return self.settings.network_weight > 0

    def depends(self, source: Source) -> dict[str, Any]:  # noqa: ARG002 - the network learns from all scores alike
        """All settings; what only training needs steers the weights, which the stage reads."""
        return asdict(self.settings)

    def learns_from(self, source: Source) -> dict[str, Any]:
        """All settings but those of predicting."""
        late = ("passes", "prototype_temperature", *OPINIONS)
        return {name: value for name, value in self.depends(source).items() if name not in late}

    def load(self, folder: Path) -> Self:
        """Read back the fitted network."""
        return replace(self, folder=folder)

    def refine(self, evidence: Evidence, view: View) -> Evidence:
        """Multiply what the network finds, what prototypes find and what was known (Hinton, Neural Comp. 2002).

        The seeds pass through unchanged.
        """
        from wsss.tasks.regions import predict_regions

        assert view.segments is not None, "the graph refiner needs segments"
        graph, settings = self.describe(evidence, view), self.settings
        regions = torch.ones(len(graph.x), len(evidence.scores))
        if settings.network_weight:
            found = predict_regions(self.network(graph), graph, settings, seed=0)
            regions *= found.clamp(min=_LEAST) ** settings.network_weight
        if settings.prototype_weight:
            regions *= self.prototypes(graph, view).clamp(min=_LEAST) ** settings.prototype_weight
        kept = resize_scores(evidence.scores, view.size).clamp(min=_LEAST) ** settings.kept_weight
        scores = kept * regions.T[:, view.segments]
        return Evidence(restrict_scores(scores, view.tags, background=view.background), evidence.seeds)

    def prototypes(self, graph: "Data", view: View) -> Float[Tensor, "N K"]:
        """Compare the regions with those of their image that carry a seed."""
        from wsss.functional.prototypes import prototype_scores
        from wsss.functional.region_graph import REGION_FEATURES

        classes = graph.cams.shape[1]
        return prototype_scores(
            graph.x[:, :-REGION_FEATURES],
            graph.targets,
            graph.x[:, -1],
            labels=view.possible(classes - 1),
            classes=classes,
            temperature=self.settings.prototype_temperature,
        )

    def describe(self, evidence: Evidence, view: View) -> "Data":
        """Put the evidence about an image onto the nodes of its graph: scores, targets, possible labels."""
        from wsss.functional.region_graph import majority_labels, pool_regions

        assert view.graph is not None, "the graph refiner needs the region graph"
        assert view.segments is not None, "the graph refiner needs segments"
        classes = len(evidence.scores)
        graph = view.graph.clone()
        possible = torch.zeros(classes, dtype=torch.bool)
        possible[view.possible(classes - 1)] = True
        graph.cams = pool_regions(evidence.scores, view.segments).float()
        graph.targets = majority_labels(evidence.seeds, view.segments, classes=classes).long()
        if view.marks is not None:
            # a region that a mark lies in is what the mark says, whatever the many seeds from maps say
            marked = majority_labels(view.marks, view.segments, classes=classes).long()
            graph.targets = torch.where(marked == IGNORE, graph.targets, marked)
        graph.possible = possible.expand(len(graph.x), -1)
        return graph

    def task(self, graphs: "Sequence[Data]", classes: int) -> "RegionTask":
        """Make the network, with the statistics of the graphs it is fitted on, and its loss."""
        from wsss.tasks.regions import RegionTask, inverse_root_weights, region_network, standardise

        network = region_network(self.settings, node_channels=graphs[0].x.shape[1], classes=classes)
        standardise(network, graphs)
        weights = inverse_root_weights(graphs, classes) if self.settings.class_weights else None
        return RegionTask(network, self.settings, class_weights=weights)

    def network(self, graph: "Data") -> "RegionGNN":
        """The fitted network, for graphs like the given one."""
        return self._load(graph.x.shape[1], graph.cams.shape[1])

    @cached_property
    def _load(self) -> "Callable[[int, int], RegionGNN]":
        """Loads the network at the first call and keeps it."""
        return cache(self._read)

    def _read(self, node_channels: int, classes: int) -> "RegionGNN":
        from wsss.tasks.regions import region_network

        assert self.folder is not None, "the graph refiner must be fitted first"
        network = region_network(self.settings, node_channels=node_channels, classes=classes)
        network.load_state_dict(load_file(self.folder / WEIGHTS_FILE))
        return network.eval()
