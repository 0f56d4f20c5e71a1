"""Region classification: one graph network for all images, trained without access to a region's own scores.

Targets are derived from the scores that are also an input, so a network that saw both would learn to copy. In each pass
the scores of a random half of the regions are hidden, and only the hidden half is trained on; for prediction each
region is hidden and visible equally often, and predicted when it is hidden.
"""

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from wsss.data.chance import repeated_order, seed_of
from wsss.functional.losses import entropy_loss, laplacian_loss, node_cross_entropy, possible_softmax
from wsss.functional.region_graph import EDGE_FEATURES
from wsss.networks.region_gnn import RegionGNN
from wsss.tasks.base import SMALLEST, Task
from wsss.tasks.settings import GraphSettings
from wsss.types import IGNORE

with warnings.catch_warnings():
    # importing torch-geometric scripts a class, which torch has begun to warn about
    warnings.simplefilter("ignore", FutureWarning)
    from torch_geometric.data import Batch, Data

LIKENESS = 3
"""Column of the edge features that holds the cosine similarity."""


class Graphs(Protocol):
    """Region graphs by index; they may be read from disk.

    Each has ``x`` (N, D), ``edge_index`` (2, E) and ``edge_attr`` (E, 4) as made by ``build_region_graph``, ``cams``
    (N, K) mean scores, ``possible`` (N, K) bool and, for training, ``targets`` (N,) with ``IGNORE``.
    """

    def __len__(self) -> int:
        """Count the graphs."""

    def __getitem__(self, index: int) -> Data:
        """Read a graph."""


class RegionTask(Task):
    """Cross entropy over the possible labels of the regions that are hidden and have a target.

    The graphs are small: only the first process trains, so that neither the hidden halves nor dropout depend on the
    number of processes.

    Args:
        network: Made by ``region_network`` from the same settings.
        settings: Training settings.
        class_weights: Weight of the targets of each label, see ``inverse_root_weights``; None weights all equally.
    """

    shared = False

    network: RegionGNN
    settings: GraphSettings
    class_weights: Tensor | None

    def __init__(
        self, network: RegionGNN, settings: GraphSettings, *, class_weights: Float[Tensor, " K"] | None = None
    ) -> None:
        super().__init__(network, settings)
        self.register_buffer("class_weights", class_weights, persistent=False)

    def losses(self, batch: Data) -> tuple[Tensor, Tensor]:
        """Compute the loss of the hidden half of a batch of graphs."""
        hidden = torch.rand(len(batch.x), device=batch.x.device) < 0.5
        if not self.settings.cam_input:
            hidden = torch.ones_like(hidden)
        logits = region_logits(self.network, batch, hidden, self.settings)
        targets = batch.targets.where(hidden, IGNORE)
        total, count = node_cross_entropy(logits, targets, batch.possible, self.class_weights)
        return total + count * self._regularisation(logits, batch), count

    def _regularisation(self, logits: Float[Tensor, "N K"], batch: Data) -> Tensor:
        """Compute the weighted entropy and Laplacian penalties."""
        penalty = logits.new_zeros(())
        probabilities = possible_softmax(logits, batch.possible)
        if self.settings.entropy_weight:
            total, count = entropy_loss(probabilities)
            penalty = penalty + self.settings.entropy_weight * total / count
        if self.settings.laplacian_weight:
            edges, features = select_edges(batch, self.settings)
            total, count = laplacian_loss(probabilities, edges, features[:, LIKENESS].clamp(min=0))
            penalty = penalty + self.settings.laplacian_weight * total / count.clamp(min=SMALLEST)
        return penalty


def region_network(settings: GraphSettings, *, node_channels: int, classes: int) -> RegionGNN:
    """Create the network.

    Args:
        settings: Its size, and whether scores are an input.
        node_channels: Columns of ``x``.
        classes: Number K of labels, background included.
    """
    return RegionGNN(
        node_channels,
        # the scores, and a flag whether they are hidden
        classes + 1 if settings.cam_input else 0,
        EDGE_FEATURES,
        classes,
        hidden=settings.hidden,
        layers=settings.layers,
        heads=settings.heads,
        dropout=settings.dropout,
    )


def region_logits(
    network: RegionGNN, graph: Data, hidden: Bool[Tensor, " N"], settings: GraphSettings
) -> Float[Tensor, "N K"]:
    """Run the network with the scores of some regions hidden."""
    scores = graph.x[:, :0]
    if settings.cam_input:
        scores = torch.cat([graph.cams.masked_fill(hidden[:, None], 0), hidden[:, None].to(graph.cams.dtype)], dim=1)
    return network(graph.x, scores, *select_edges(graph, settings))


def select_edges(graph: Data, settings: GraphSettings) -> tuple[Int[Tensor, "2 E"], Float[Tensor, "E 4"]]:
    """Select the edges for message passing: adjacent regions, similar regions, both or none."""
    if settings.adjacency and settings.similarity:
        return graph.edge_index, graph.edge_attr
    neighbours = graph.edge_attr[:, 0] > 0.5
    heard = neighbours & settings.adjacency | ~neighbours & settings.similarity
    return graph.edge_index[:, heard], graph.edge_attr[heard]


@torch.inference_mode()
def predict_regions(network: RegionGNN, graph: Data, settings: GraphSettings, *, seed: int) -> Float[Tensor, "N K"]:
    """Predict each region of an image from the scores of other regions, but not its own.

    Args:
        network: In evaluation mode.
        graph: The image's graph; targets are not needed.
        settings: The settings that the network was made and trained with.
        seed: Seed of the hidden halves.

    Returns:
        Probabilities, 0 for impossible labels; they sum to 1.
    """
    hidden = _halves(len(graph.x), settings, seed).to(graph.x.device)
    copies = Batch.from_data_list([graph] * len(hidden))
    logits = region_logits(network, copies, hidden.flatten(), settings)
    judged = possible_softmax(logits, copies.possible).view(*hidden.shape, -1)
    return (judged * hidden[:, :, None]).sum(dim=0) / hidden.sum(dim=0)[:, None]


def _halves(regions: int, settings: GraphSettings, seed: int) -> Bool[Tensor, "V N"]:
    """Draw which regions are hidden in each view: a half, then the other half, ``passes`` times."""
    if not settings.cam_input:
        return torch.ones(1, regions, dtype=torch.bool)
    generator = torch.Generator().manual_seed(seed)
    first = torch.stack([torch.randperm(regions, generator=generator) < regions / 2 for _ in range(settings.passes)])
    return torch.cat([first, ~first])


class GraphLoader:
    """Batches of graphs, in a random order determined by (seed, epoch).

    Args:
        graphs: The graphs; only one batch of them is held at a time.
        batch_size: Graphs per step; the last batch of an epoch may be smaller.
        seed: Seed of the orders.
        samples: Graphs per epoch, to repeat graphs of a small set; None takes each once.
    """

    def __init__(
        self, graphs: Graphs | Sequence[Data], batch_size: int, *, seed: int, samples: int | None = None
    ) -> None:
        self.graphs = graphs
        self.samples = len(graphs) if samples is None else samples
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the next epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(self.samples / self.batch_size)

    def __iter__(self) -> Iterator[Data]:
        order = repeated_order(len(self.graphs), self.samples, seed_of("graphs", self.seed, self.epoch)).tolist()
        for start in range(0, len(order), self.batch_size):
            yield Batch.from_data_list([self.graphs[index] for index in order[start : start + self.batch_size]])


def standardise(network: RegionGNN, graphs: Iterable[Data]) -> None:
    """Set the network's mean and standard deviation of the node features, in one pass over the graphs."""
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for graph in graphs:
        values = graph.x.double()
        count += len(values)
        total, squares = total + values.sum(dim=0), squares + values.square().sum(dim=0)
    mean = total / count
    network.standardise_by(mean.float(), (squares / count - mean.square()).clamp(min=0).sqrt().float())


def inverse_root_weights(graphs: Iterable[Data], classes: int) -> Float[Tensor, " K"]:
    """Weight labels by the inverse square root of their frequency as targets; the mean over all targets is 1.

    Args:
        graphs: Region graphs with targets.
        classes: Number K of labels, background included.
    """
    counts = torch.zeros(classes)
    for graph in graphs:
        counts += torch.bincount(graph.targets[graph.targets != IGNORE], minlength=classes)
    weights = counts.clamp(min=1).rsqrt()
    return weights * counts.sum() / (weights * counts).sum().clamp(min=SMALLEST)
