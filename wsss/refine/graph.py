"""The region graph as a refiner: one graph network for all images changes the scores."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from jaxtyping import Float
from torch import Tensor

from wsss.functional.seeds import restrict_scores
from wsss.refine.base import FittedRefiner, Source, View
from wsss.store import Artefact, resize_scores
from wsss.tasks.settings import OPINIONS, GraphSettings
from wsss.types import IGNORE, Evidence

if TYPE_CHECKING:
    from torch_geometric.data import Data

    from wsss.networks.region_gnn import RegionGNN
    from wsss.tasks.regions import RegionTask

WEIGHTS_FILE = "network.safetensors"

_LEAST = 1e-3
"""Lower bound of probabilities: a factor of zero could not be outweighed by the others."""


@dataclass(frozen=True)
class Graph(FittedRefiner):
    """Reclassifies regions by their features and relations, with one network for all images.

    Three predictions are multiplied: that of the network, trained on all images; that of prototypes from this image;
    and the previous scores.

    Attributes:
        settings: The graph, the network and its training.
        folder: Folder of the fitted network; None before it is fitted.
    """

    settings: GraphSettings
    folder: Path | None = None
    _networks: "dict[tuple[int, int], RegionGNN]" = field(default_factory=dict, init=False, repr=False, compare=False)

    version = 4
    changes = "scores"

    @property
    def learns(self) -> bool:
        """Whether the network is used; prototypes and previous scores do not need it."""
        return self.settings.network_weight > 0

    def depends(self, source: Source) -> dict[str, Any]:  # noqa: ARG002 - the network learns from all scores alike
        """All settings; those of training act through the weights, which the stage reads."""
        return asdict(self.settings)

    def learns_from(self, source: Source) -> dict[str, Any]:
        """All settings but those used for prediction only."""
        late = ("passes", "prototype_temperature", *OPINIONS)
        return {name: value for name, value in self.depends(source).items() if name not in late}

    def load(self, folder: Path) -> Self:
        """Return the refiner with the fitted network in a folder."""
        return replace(self, folder=folder)

    def refine(self, evidence: Evidence, view: View) -> Evidence:
        """Multiply the predictions of network, prototypes and previous scores (Hinton, Neural Comp. 2002).

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
        """Compare the regions with the seeded regions of the same image."""
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
        """Attach the evidence about an image to the nodes of its graph: scores, targets, possible labels."""
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
            # annotated pixels determine a region's label, however many seeds from maps disagree
            marked = majority_labels(view.marks, view.segments, classes=classes).long()
            graph.targets = torch.where(marked == IGNORE, graph.targets, marked)
        graph.possible = possible.expand(len(graph.x), -1)
        return graph

    def task(self, graphs: "Sequence[Data]", classes: int) -> "RegionTask":
        """Create the network, with the feature statistics of the graphs, and its loss."""
        from wsss.tasks.regions import RegionTask, inverse_root_weights, region_network, standardise

        network = region_network(self.settings, node_channels=graphs[0].x.shape[1], classes=classes)
        standardise(network, graphs)
        weights = inverse_root_weights(graphs, classes) if self.settings.class_weights else None
        return RegionTask(network, self.settings, class_weights=weights)

    def network(self, graph: "Data") -> "RegionGNN":
        """Return the fitted network, for graphs like the given one."""
        sizes = graph.x.shape[1], graph.cams.shape[1]
        if sizes not in self._networks:
            self._networks[sizes] = self._read(*sizes)
        return self._networks[sizes]

    def _read(self, node_channels: int, classes: int) -> "RegionGNN":
        from wsss.tasks.regions import region_network

        assert self.folder is not None, "the graph refiner must be fitted first"
        network = region_network(self.settings, node_channels=node_channels, classes=classes)
        network.load_state_dict(Artefact(self.folder).read_tensors(WEIGHTS_FILE))
        return network.eval()
