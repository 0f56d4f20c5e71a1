from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data

from tests.tasks.toys import identical, train, weights
from wsss.tasks.regions import (
    GraphLoader,
    RegionTask,
    inverse_root_weights,
    predict_regions,
    region_logits,
    region_network,
    select_edges,
    standardise,
)
from wsss.tasks.settings import GraphSettings
from wsss.types import IGNORE

LABELS = 3
SETTINGS = GraphSettings(hidden=16, heads=2, layers=1, dropout=0.0, passes=3, learning_rate=1e-2, batch_size=4)


def draw_graph(seed: int, *, regions: int = 12, labelled: float = 0.7) -> Data:
    """Draw regions whose label shows in one of their features, in a ring of neighbours and with random look-alikes."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, LABELS, (regions,), generator=generator)
    x = torch.randn(regions, 6, generator=generator)
    x[:, 5] += 3 * truth
    ring = torch.arange(regions)
    alike = torch.randint(0, regions, (2, regions), generator=generator)
    edges = torch.cat([torch.stack([ring, ring.roll(-1)]), torch.stack([ring.roll(-1), ring]), alike], dim=1)
    features = torch.rand(edges.shape[1], 4, generator=generator)
    features[:, 0] = (torch.arange(edges.shape[1]) < 2 * regions).float()
    known = torch.rand(regions, generator=generator) < labelled
    return Data(
        x=x,
        edge_index=edges,
        edge_attr=features,
        cams=torch.rand(regions, LABELS, generator=generator).softmax(dim=1),
        targets=truth.where(known, IGNORE),
        possible=torch.ones(regions, LABELS, dtype=torch.bool),
        truth=truth,
    )


def make_task(settings: GraphSettings = SETTINGS, weights: Tensor | None = None) -> RegionTask:
    torch.manual_seed(0)
    return RegionTask(region_network(settings, node_channels=6, classes=LABELS), settings, class_weights=weights)


def test_the_network_learns_to_name_regions_of_graphs_it_never_saw(tmp_path: Path) -> None:
    graphs = [draw_graph(seed) for seed in range(40)]
    task = make_task()
    standardise(task.network, graphs)
    rows = train(task, tmp_path, loader=GraphLoader(graphs, 8, seed=0), epochs=20)
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    fresh = [draw_graph(seed) for seed in range(100, 110)]
    right = [predict_regions(task.network, g, SETTINGS, seed=0).argmax(dim=1) == g.truth for g in fresh]
    assert torch.cat(right).float().mean() > 0.75


class Copycat(nn.Module):
    """Says what it sees of a region's own scores, and that it is hidden."""

    def forward(self, x: Tensor, cams: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:  # noqa: ARG002
        return 50 * cams[:, :LABELS]


def test_copying_ones_own_scores_predicts_nothing() -> None:
    graph = draw_graph(0)
    graph.cams = torch.eye(LABELS)[graph.truth]
    found = predict_regions(Copycat(), graph, SETTINGS, seed=0)  # type: ignore[arg-type]
    torch.testing.assert_close(found, torch.full((12, LABELS), 1 / LABELS))


def test_only_hidden_regions_are_learnt_from() -> None:
    graph, task = draw_graph(1, regions=400), make_task()
    shown: list[Tensor] = []
    task.network.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[1]))
    _, count = task.losses(graph)
    hidden = shown[0][:, LABELS] == 1
    assert (shown[0][hidden, :LABELS] == 0).all()
    torch.testing.assert_close(shown[0][~hidden, :LABELS], graph.cams[~hidden])
    assert int(count) == int((hidden & (graph.targets != IGNORE)).sum())
    assert 0.35 < hidden.float().mean() < 0.65


def test_another_half_is_hidden_in_each_pass() -> None:
    graph, task = draw_graph(1, regions=60), make_task()
    shown: list[Tensor] = []
    task.network.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[1][:, LABELS]))
    task.losses(graph)
    task.losses(graph)
    assert not torch.equal(shown[0], shown[1])


def test_impossible_labels_get_nothing_and_the_rest_sums_to_1() -> None:
    graph, task = draw_graph(2), make_task()
    graph.possible[:, 1] = False
    found = predict_regions(task.eval().network, graph, SETTINGS, seed=0)
    assert (found[:, 1] == 0).all()
    torch.testing.assert_close(found.sum(dim=1), torch.ones(12))


@pytest.mark.parametrize("regions", [1, 2, 3])
def test_the_smallest_graphs_are_predicted(regions: int) -> None:
    graph = draw_graph(3, regions=regions)
    graph.edge_index, graph.edge_attr = graph.edge_index[:, :0], graph.edge_attr[:0]
    found = predict_regions(make_task().eval().network, graph, SETTINGS, seed=0)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(regions))


def test_a_prediction_depends_on_nothing_but_graph_and_seed() -> None:
    graph, network = draw_graph(4), make_task().eval().network
    first = predict_regions(network, graph, SETTINGS, seed=5)
    torch.rand(3)
    assert torch.equal(first, predict_regions(network, graph, SETTINGS, seed=5))


@pytest.mark.parametrize(
    ("adjacency", "similarity", "kinds"),
    [(True, True, [1] * 24 + [0] * 12), (True, False, [1] * 24), (False, True, [0] * 12), (False, False, [])],
)
def test_edges_can_be_left_out_by_kind(adjacency: bool, similarity: bool, kinds: list[int]) -> None:
    edges, features = select_edges(draw_graph(5), GraphSettings(adjacency=adjacency, similarity=similarity))
    assert features[:, 0].tolist() == kinds
    assert edges.shape == (2, len(kinds))


def test_without_edges_a_region_knows_nothing_of_the_others() -> None:
    settings = GraphSettings(**{**vars(SETTINGS), "adjacency": False, "similarity": False})
    graph, network = draw_graph(6), make_task(settings).eval().network
    before = predict_regions(network, graph, settings, seed=0)
    graph.x[1:] = 9.0
    after = predict_regions(network, graph, settings, seed=0)
    torch.testing.assert_close(after[0], before[0])
    assert not torch.allclose(after[1:], before[1:])


def test_without_cam_input_scores_change_nothing_and_all_targets_are_learnt_from() -> None:
    settings = GraphSettings(**{**vars(SETTINGS), "cam_input": False})
    graph, task = draw_graph(7), make_task(settings)
    total, count = task.eval().losses(graph)
    assert int(count) == int((graph.targets != IGNORE).sum())
    before = predict_regions(task.network, graph, settings, seed=0)
    graph.cams = graph.cams.flip(1)
    assert torch.equal(predict_regions(task.network, graph, settings, seed=1), before)
    torch.testing.assert_close(task.losses(graph)[0], total)


def test_a_batch_of_graphs_is_judged_as_its_graphs_one_by_one() -> None:
    graphs, task = [draw_graph(seed, regions=5 + seed) for seed in range(3)], make_task().eval()
    batch = Batch.from_data_list(graphs)
    hidden = torch.rand(len(batch.x)) < 0.5
    together = region_logits(task.network, batch, hidden, SETTINGS)
    alone = [
        region_logits(task.network, graph, part, SETTINGS)
        for graph, part in zip(graphs, torch.split(hidden, [5, 6, 7]), strict=True)
    ]
    torch.testing.assert_close(together, torch.cat(alone))


def test_graphs_without_any_target_have_loss_0_and_move_no_weight(tmp_path: Path) -> None:
    graphs = [draw_graph(seed, labelled=-1.0) for seed in range(4)]
    settings = GraphSettings(**{**vars(SETTINGS), "weight_decay": 0.0})
    task = make_task(settings)
    before = weights(task)
    rows = train(task, tmp_path, loader=GraphLoader(graphs, 2, seed=0), epochs=1)
    assert rows[0]["loss"] == 0.0
    assert identical(weights(task), before)


@torch.no_grad()
def test_entropy_and_laplacian_terms_add_their_means() -> None:
    graph = draw_graph(8)
    terms = {"entropy_weight": 0.5, "laplacian_weight": 2.0}
    plain, regular = make_task().eval(), make_task(GraphSettings(**{**vars(SETTINGS), **terms})).eval()
    torch.manual_seed(1)
    total, count = plain.losses(graph)
    torch.manual_seed(1)
    more, _ = regular.losses(graph)
    torch.manual_seed(1)
    hidden = torch.rand(12) < 0.5
    found = region_logits(plain.network, graph, hidden, SETTINGS).softmax(dim=1)
    entropy = -(found * found.log()).sum(dim=1).mean()
    gaps = sum(
        float(likeness * (found[left] - found[right]).square().sum())
        for (left, right), likeness in zip(graph.edge_index.T.tolist(), graph.edge_attr[:, 3], strict=True)
    )
    expected = 0.5 * entropy + 2.0 * gaps / graph.edge_attr[:, 3].sum()
    assert float((more - total) / count) == pytest.approx(float(expected), rel=1e-4)


def test_rare_labels_count_by_the_inverse_root_of_their_frequency() -> None:
    graph = Data(targets=torch.tensor([0] * 16 + [1] * 4 + [IGNORE] * 7))
    found = inverse_root_weights([graph], LABELS)
    assert float(found[1] / found[0]) == pytest.approx(2.0)
    # over the twenty targets the weights average to 1
    assert float(16 * found[0] + 4 * found[1]) == pytest.approx(20.0)


def test_statistics_are_those_of_all_nodes_together() -> None:
    graphs, network = [draw_graph(seed, regions=4 + seed) for seed in range(5)], make_task().network
    standardise(network, graphs)
    nodes = torch.cat([graph.x for graph in graphs])
    torch.testing.assert_close(network.node_mean, nodes.mean(dim=0))
    torch.testing.assert_close(network.node_deviation, nodes.std(dim=0, correction=0))


def test_each_epoch_goes_once_through_all_graphs_in_an_order_of_its_own() -> None:
    loader = GraphLoader([Data(x=torch.tensor([[float(index)]])) for index in range(7)], 3, seed=0)
    orders = []
    for epoch in (0, 1, 0):
        loader.set_epoch(epoch)
        batches = list(loader)
        assert [len(batch.x) for batch in batches] == [3, 3, 1]
        orders.append(torch.cat([batch.x for batch in batches]).flatten().tolist())
    assert len(loader) == 3
    assert sorted(orders[0]) == list(range(7))
    assert orders[0] == orders[2] != orders[1]


def test_few_graphs_come_again_until_an_epoch_is_as_long_as_asked() -> None:
    graphs = [Data(x=torch.tensor([[float(index)]])) for index in range(3)]
    loader = GraphLoader(graphs, 4, seed=0, samples=10)
    order = [int(value) for batch in loader for value in batch.x]
    assert len(loader) == 3
    assert [sorted(order[start : start + 3]) for start in (0, 3, 6)] == [[0, 1, 2]] * 3
    assert len(order) == 10
