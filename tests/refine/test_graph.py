from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch_geometric.data import Data

from tests.drawing import picture
from tests.stages.workshop import enlarged, painted
from wsss.errors import StoreError
from wsss.functional.region_graph import build_region_graph
from wsss.refine.base import View
from wsss.refine.graph import WEIGHTS_FILE, Graph
from wsss.store import Artefact
from wsss.tasks.regions import inverse_root_weights, predict_regions, region_logits, region_network
from wsss.tasks.settings import GraphSettings
from wsss.types import IGNORE, Evidence, Tags

SETTINGS = GraphSettings(
    hidden=16, heads=2, layers=2, passes=2, network_weight=1.0, prototype_weight=0.0, kept_weight=0.0
)
SEGMENTS = enlarged(picture("0011", "2234"), 4).long()
"""Five regions of an image of 8 x 16 pixels."""


def seen(tags: Tags | None, *, background: bool = True) -> View:
    image = painted(enlarged(picture("0011", "2201"), 4))
    features = torch.rand(6, 2, 4, generator=torch.Generator().manual_seed(0))
    return View(
        image=image,
        tags=tags,
        background=background,
        source="cams",
        segments=SEGMENTS,
        graph=build_region_graph(image, SEGMENTS, [features], neighbours=2),
    )


def evidence() -> Evidence:
    """Scores of three labels at full resolution, and sparse seeds."""
    share = torch.rand(3, 8, 16, generator=torch.Generator().manual_seed(1)) + 0.05
    seeds = torch.full((8, 16), IGNORE, dtype=torch.uint8)
    seeds[0, :3], seeds[1, :2] = 1, 0  # region 0: three against two
    seeds[0, 8], seeds[7, 0] = 2, 0  # regions 1 and 2: one pixel each
    return Evidence(share / share.sum(0), seeds)


def fitted(folder: Path, settings: GraphSettings = SETTINGS) -> Graph:
    """A refiner whose network is as chance made it."""
    view, given = seen(None), evidence()
    torch.manual_seed(0)
    graph = Graph(settings).describe(given, view)
    task = Graph(settings).task([graph], 3)
    save_file(task.network.state_dict(), folder / WEIGHTS_FILE)
    return Graph(settings).load(folder)


BOTH = torch.tensor([True, True])


def within(region: int) -> Tensor:
    return SEGMENTS.eq(region)


def test_a_node_carries_the_mean_scores_of_its_pixels() -> None:
    given = evidence()
    graph = Graph(SETTINGS).describe(given, seen(BOTH))
    for region in range(5):
        torch.testing.assert_close(graph.cams[region], given.scores[:, within(region)].mean(dim=1))


def test_scores_at_a_quarter_of_the_size_are_pooled_too() -> None:
    first = torch.tensor([[1.0, 0.5, 0.25, 0.0], [0.8, 0.6, 0.4, 0.2]])
    small = torch.stack([first, 1 - first, torch.zeros(2, 4)])
    graph = Graph(SETTINGS).describe(Evidence(small, evidence().seeds), seen(BOTH))
    # regions 0, 1 and 2 cover two cells each, 3 and 4 one
    torch.testing.assert_close(graph.cams[:, 0], torch.tensor([0.75, 0.125, 0.7, 0.4, 0.2]))


def test_a_target_is_the_majority_of_the_seed_pixels() -> None:
    graph = Graph(SETTINGS).describe(evidence(), seen(BOTH))
    assert graph.targets.tolist() == [1, 2, 0, IGNORE, IGNORE]


@pytest.mark.parametrize(
    ("tags", "background", "possible"),
    [
        (None, True, [True, True, True]),
        ([False, True], True, [True, False, True]),
        ([False, True], False, [False, False, True]),
        ([False, False], True, [True, False, False]),
        ([False, False], False, [False, False, False]),
    ],
)
def test_possible_labels_follow_the_tags(tags: list[bool] | None, background: bool, possible: list[bool]) -> None:
    view = seen(None if tags is None else torch.tensor(tags), background=background)
    assert Graph(SETTINGS).describe(evidence(), view).possible.tolist() == [possible] * 5


def test_describing_leaves_the_graph_of_the_view_alone() -> None:
    view = seen(BOTH)
    assert view.graph is not None
    before = view.graph.clone()
    described = Graph(SETTINGS).describe(evidence(), view)
    assert set(view.graph.keys()) == set(before.keys()) == {"x", "edge_index", "edge_attr"}
    assert torch.equal(described.x, before.x)
    assert torch.equal(described.edge_index, before.edge_index)


def test_every_pixel_gets_what_the_network_says_of_its_region(tmp_path: Path) -> None:
    refiner, view, given = fitted(tmp_path), seen(BOTH), evidence()
    refined = refiner.refine(given, view)
    graph = refiner.describe(given, view)
    judged = predict_regions(refiner.network(graph), graph, SETTINGS, seed=0)
    for region in range(5):
        inside = refined.scores[:, within(region)]
        torch.testing.assert_close(inside, judged[region][:, None].expand_as(inside))
    assert refined.seeds is given.seeds


@pytest.mark.parametrize(
    ("tags", "background", "impossible"),
    [([True, False], True, [2]), ([False, True], False, [0, 1]), ([False, False], True, [1, 2])],
)
def test_only_possible_labels_get_a_share(
    tmp_path: Path, tags: list[bool], background: bool, impossible: list[int]
) -> None:
    view = seen(torch.tensor(tags), background=background)
    refined = fitted(tmp_path).refine(evidence(), view).scores
    assert not refined[impossible].any()
    torch.testing.assert_close(refined.sum(0), torch.ones(8, 16))


def test_without_a_possible_label_nothing_is_known(tmp_path: Path) -> None:
    refiner, view = fitted(tmp_path), seen(torch.tensor([False, False]), background=False)
    refined = refiner.refine(evidence(), view)
    assert not refined.scores.any()
    assert (refiner.labels(refined, view) == IGNORE).all()


def test_the_opinions_are_multiplied_each_to_its_power(tmp_path: Path) -> None:
    view, given = seen(torch.tensor([True, False])), evidence()
    network = fitted(tmp_path).refine(given, view).scores
    settings = replace(SETTINGS, network_weight=0.25, prototype_weight=0.5, kept_weight=2.0)
    refiner = Graph(settings).load(tmp_path)
    # given.seeds name region 0 as 1, region 2 as 0 and region 1 as 2, which is impossible here
    prototypes = refiner.prototypes(refiner.describe(given, view), view).T[:, SEGMENTS]
    expected = network**0.25 * prototypes**0.5 * given.scores**2
    expected[2] = 0
    torch.testing.assert_close(refiner.refine(given, view).scores, expected / expected.sum(0))


def test_prototypes_are_the_seeded_regions_of_the_image() -> None:
    view, given = seen(BOTH), evidence()
    settings = replace(SETTINGS, network_weight=0.0, prototype_weight=1.0, prototype_temperature=0.01)
    refined = Graph(settings).refine(given, view)
    # at so low a temperature every seeded region is like nothing but itself
    for region, label in enumerate([1, 2, 0]):
        assert (refined.scores[label, within(region)] > 0.99).all()
    assert refined.seeds is given.seeds


def test_without_the_networks_voice_none_is_needed() -> None:
    settings = replace(SETTINGS, network_weight=0.0, kept_weight=1.0)
    given = evidence()
    torch.testing.assert_close(Graph(settings).refine(given, seen(BOTH)).scores, given.scores)


def changed_in(given: Evidence, region: int) -> Evidence:
    """The same evidence with other scores in one region."""
    other = torch.where(within(region), given.scores.roll(1, dims=0), given.scores)
    return Evidence(other, given.seeds)


def test_a_region_is_judged_without_its_own_scores(tmp_path: Path) -> None:
    refiner, view, given = fitted(tmp_path), seen(BOTH), evidence()
    before = refiner.refine(given, view).scores
    for region in range(5):
        after = refiner.refine(changed_in(given, region), view).scores
        moved = (after - before).abs().amax(0)
        assert (moved[within(region)] < 1e-6).all()
        assert moved[~within(region)].max() > 1e-6


def test_a_hidden_region_can_not_be_told_by_its_own_scores(tmp_path: Path) -> None:
    refiner, view, given = fitted(tmp_path), seen(BOTH), evidence()
    graph, other = refiner.describe(given, view), refiner.describe(changed_in(given, 1), view)
    hidden = torch.tensor([True, True, False, False, True])
    logits = [region_says(refiner, one, hidden) for one in (graph, other)]
    assert torch.equal(*logits)
    shown = [region_says(refiner, one, ~hidden) for one in (graph, other)]
    assert not torch.equal(*shown)


def region_says(refiner: Graph, graph: Data, hidden: Tensor) -> Tensor:
    with torch.inference_mode():
        return region_logits(refiner.network(graph), graph, hidden, refiner.settings)


def test_the_seeds_do_not_steer_what_a_fitted_network_says(tmp_path: Path) -> None:
    refiner, view, given = fitted(tmp_path), seen(BOTH), evidence()
    blank = Evidence(given.scores, torch.full_like(given.seeds, IGNORE))
    assert torch.equal(refiner.refine(given, view).scores, refiner.refine(blank, view).scores)


def test_what_is_loaded_is_what_was_saved(tmp_path: Path) -> None:
    refiner, view, given = fitted(tmp_path), seen(BOTH), evidence()
    first, again = refiner.refine(given, view).scores, Graph(SETTINGS).load(tmp_path).refine(given, view).scores
    assert torch.equal(first, again)
    silent = region_network(SETTINGS, node_channels=17, classes=3)
    assert isinstance(silent.leave[1], nn.Linear)
    nn.init.zeros_(silent.leave[1].weight)
    nn.init.zeros_(silent.leave[1].bias)
    save_file(silent.state_dict(), tmp_path / WEIGHTS_FILE)
    undecided = Graph(SETTINGS).load(tmp_path).refine(given, view).scores
    torch.testing.assert_close(undecided, torch.full((3, 8, 16), 1 / 3))


def test_a_network_that_was_changed_since_it_was_fitted_is_refused(tmp_path: Path) -> None:
    refiner, artefact = fitted(tmp_path), Artefact(tmp_path)
    path = tmp_path / WEIGHTS_FILE
    content = path.read_bytes()
    with artefact.unit("network") as unit:
        unit.write(path, content)
    artefact.finish("fit_graph", "key", version=1)
    assert refiner.refine(evidence(), seen(BOTH)).scores.isfinite().all()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(StoreError, match=r"has changed since its stage wrote it \(its digest differs"):
        refiner.load(tmp_path).refine(evidence(), seen(BOTH))


def test_the_task_knows_the_statistics_of_the_graphs() -> None:
    graphs = [Graph(SETTINGS).describe(evidence(), seen(BOTH)) for _ in range(2)]
    network = Graph(SETTINGS).task(graphs, 3).network
    torch.testing.assert_close(network.node_mean, graphs[0].x.mean(0))


def test_labels_are_weighed_only_when_asked_for() -> None:
    graphs = [Graph(SETTINGS).describe(evidence(), seen(BOTH))]
    assert Graph(SETTINGS).task(graphs, 3).class_weights is None
    weighed = Graph(replace(SETTINGS, class_weights=True)).task(graphs, 3).class_weights
    assert weighed is not None
    assert torch.equal(weighed, inverse_root_weights(graphs, 3))


def test_all_its_settings_count_whatever_the_source() -> None:
    assert Graph(SETTINGS).depends("cams") == Graph(SETTINGS).depends("network")
    assert Graph(SETTINGS).depends("cams") != Graph(replace(SETTINGS, adjacency=False)).depends("cams")
    assert Graph(SETTINGS).depends("cams") == Graph(SETTINGS, Path("elsewhere")).depends("cams")
