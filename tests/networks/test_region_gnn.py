import pytest
import torch
from torch import Tensor

from wsss.networks.region_gnn import RegionGNN, RegionLayer

NODES, EDGES = 9, 20


def network(**changes: int | float) -> RegionGNN:
    torch.manual_seed(0)
    settings = {"hidden": 16, "layers": 2, "heads": 4, "dropout": 0.5} | changes
    return RegionGNN(6, 3, 4, 5, **settings).eval()  # type: ignore[arg-type]


def graph(edges: int = EDGES) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(NODES, 6, generator=generator),
        torch.rand(NODES, 3, generator=generator),
        torch.randint(0, NODES, (2, edges), generator=generator),
        torch.rand(edges, 4, generator=generator),
    )


def test_renaming_the_nodes_renames_the_answers() -> None:
    x, cams, edge_index, edge_attr = graph()
    order = torch.randperm(NODES, generator=torch.Generator().manual_seed(2))
    new_name = order.argsort()
    with torch.no_grad():
        plain = network()(x, cams, edge_index, edge_attr)
        renamed = network()(x[order], cams[order], new_name[edge_index], edge_attr)
    torch.testing.assert_close(renamed, plain[order])


def test_the_order_of_the_edges_does_not_matter() -> None:
    x, cams, edge_index, edge_attr = graph()
    with torch.no_grad():
        plain = network()(x, cams, edge_index, edge_attr)
        reversed_edges = network()(x, cams, edge_index.flip(1), edge_attr.flip(0))
    torch.testing.assert_close(reversed_edges, plain)


def test_without_edges_every_node_is_judged_alone() -> None:
    x, cams, edge_index, edge_attr = graph(edges=0)
    with torch.no_grad():
        together = network()(x, cams, edge_index, edge_attr)
        alone = [network()(x[i : i + 1], cams[i : i + 1], edge_index, edge_attr) for i in range(NODES)]
    torch.testing.assert_close(together, torch.cat(alone))


def test_without_edges_listening_adds_exactly_nothing_whatever_was_learnt() -> None:
    layer = RegionLayer(8, 2, 4, 0.0).eval()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    _, _, edge_index, edge_attr = graph(edges=0)
    assert not layer.attention(torch.randn(NODES, 8), edge_index, edge_attr).any()


def test_a_node_hears_along_edges_as_far_as_there_are_layers() -> None:
    # 0 -> 1 -> 2 -> 3, and 4 alone
    edge_index, edge_attr = torch.tensor([[0, 1, 2], [1, 2, 3]]), torch.ones(3, 4)
    x, cams = torch.randn(5, 6, requires_grad=True), torch.zeros(5, 3)
    for node, heard in ((0, {0}), (2, {0, 1, 2}), (3, {1, 2, 3}), (4, {4})):
        (seen,) = torch.autograd.grad(network(layers=2)(x, cams, edge_index, edge_attr)[node].square().sum(), x)
        assert set(seen.abs().sum(dim=1).nonzero().flatten().tolist()) == heard


def test_the_features_of_an_edge_matter_where_there_is_a_choice() -> None:
    x, cams, edge_index, edge_attr = graph()
    with torch.no_grad():
        plain = network()(x, cams, edge_index, edge_attr)
        changed = network()(x, cams, edge_index, edge_attr.flip(1))
    assert (plain - changed).abs().max() > 1e-4


def test_listening_is_attention_as_in_the_paper() -> None:
    torch.manual_seed(0)
    hidden, heads = 8, 2
    layer = RegionLayer(hidden, heads, 4, 0.0).double().eval()
    nodes, edge_attr = torch.randn(5, hidden).double(), torch.rand(7, 4).double()
    edge_index = torch.tensor([[0, 1, 2, 3, 0, 4, 1], [1, 0, 1, 1, 2, 2, 4]])
    attention = layer.attention
    heard = torch.zeros(5, heads, hidden // heads).double()
    said = attention.lin_l(nodes).view(5, heads, -1)
    asked = attention.lin_r(nodes).view(5, heads, -1)
    between = attention.lin_edge(edge_attr).view(7, heads, -1)
    for node in range(5):
        edges = [e for e in range(7) if edge_index[1, e] == node]
        for head in range(heads):
            sources = [int(edge_index[0, e]) for e in edges]
            sums = [said[s, head] + asked[node, head] + between[e, head] for s, e in zip(sources, edges, strict=True)]
            strengths = [torch.nn.functional.leaky_relu(s, 0.2) @ attention.att[0, head] for s in sums]
            shares = torch.stack(strengths).softmax(dim=0) if strengths else torch.zeros(0)
            for share, source in zip(shares, sources, strict=True):
                heard[node, head] += share.detach() * said[source, head].detach()
    torch.testing.assert_close(attention(nodes, edge_index, edge_attr), heard.flatten(1))


def test_hiding_all_scores_is_a_network_that_can_do_without() -> None:
    x, _, edge_index, edge_attr = graph()
    torch.manual_seed(0)
    blind = RegionGNN(6, 0, 4, 5, hidden=16).eval()
    assert blind(x, torch.zeros(NODES, 0), edge_index, edge_attr).shape == (NODES, 5)


def test_scores_matter_where_they_are_shown() -> None:
    x, cams, edge_index, edge_attr = graph(edges=0)
    changed = cams.clone()
    changed[3] = 0
    with torch.no_grad():
        moved = (network()(x, cams, edge_index, edge_attr) - network()(x, changed, edge_index, edge_attr)).abs()
    assert moved.sum(dim=1).nonzero().flatten().tolist() == [3]


def test_standardised_features_have_forgotten_their_unit() -> None:
    x, cams, edge_index, edge_attr = graph()
    plain, scaled = network(), network()
    plain.standardise_by(x.mean(dim=0), x.std(dim=0))
    other = x * 50 - 7
    scaled.standardise_by(other.mean(dim=0), other.std(dim=0))
    with torch.no_grad():
        torch.testing.assert_close(
            scaled(other, cams, edge_index, edge_attr),
            plain(x, cams, edge_index, edge_attr),
            rtol=1e-4,
            atol=1e-4,
        )


def test_a_constant_feature_is_only_shifted_and_the_statistics_are_saved() -> None:
    x, cams, edge_index, edge_attr = graph()
    x[:, 0] = 4
    first, second = network(), network()
    first.standardise_by(x.mean(dim=0), x.std(dim=0))
    second.load_state_dict(first.state_dict())
    with torch.no_grad():
        answers = first(x, cams, edge_index, edge_attr)
        assert answers.isfinite().all()
        assert torch.equal(second(x, cams, edge_index, edge_attr), answers)


def test_heads_must_share_the_channels_out_evenly() -> None:
    with pytest.raises(ValueError, match=r"hidden must be a multiple of heads \(3\), got 16"):
        RegionGNN(6, 3, 4, 5, hidden=16, heads=3)
