from pathlib import Path

import pytest
import torch
from torch.nn.functional import interpolate

from tests.drawing import picture
from tests.stages.workshop import DrawnDataset, enlarged, finished, given, given_weights, workbench
from wsss.functional.region_graph import build_region_graph
from wsss.stages.base import Stage
from wsss.stages.build_graphs import build_graphs
from wsss.stages.materials import GraphStages, write_segments
from wsss.stages.networks import NetworkPlan, build_classifier, weights_of
from wsss.store import UnitWriter
from wsss.tasks.settings import ClassifierSettings, GraphSettings

NETWORK = NetworkPlan("tiny", ClassifierSettings(output_stride=8), "none")
DATA = DrawnDataset(
    {
        "on the grid": enlarged(picture("0011", "0222"), 16),
        "small": enlarged(picture("01", "01"), 12),
        "val": picture("0"),
    }
)
SEGMENTS = {
    "on the grid": enlarged(picture("0123", "4567"), 16).long(),
    "small": enlarged(picture("01", "01"), 12).long(),
}


def superpixels() -> Stage:
    def write(unit: UnitWriter) -> None:
        for name, cut in SEGMENTS.items():
            write_segments(unit, name, cut)

    return given("superpixels", write)


def classifier() -> Stage:
    torch.manual_seed(1)
    return given_weights("classifier", weights_of(build_classifier(NETWORK, 2)))


def stages(neighbours: int = 2, precision: str = "32-true", feature_scale: float = 1.0) -> GraphStages:
    settings = GraphSettings(neighbours=neighbours, feature_scale=feature_scale)
    return build_graphs(DATA, NETWORK, settings, superpixels(), classifier(), precision)


@pytest.mark.parametrize("scale", [1, 2])
def test_a_region_is_described_by_the_features_of_the_classifier(tmp_path: Path, scale: int) -> None:
    bench = workbench(tmp_path, DATA)
    finished(bench, stages(feature_scale=scale).graphs)
    found = stages(feature_scale=scale).open(bench)
    torch.manual_seed(1)
    network = build_classifier(NETWORK, 2)
    image = DATA.image("on the grid")
    with torch.inference_mode():
        shown = interpolate(image[None].float() / 255, scale_factor=scale, mode="bilinear", antialias=True)
        levels = [level[0] for level in network.backbone.levels(shown)[2:]]
    expected = build_region_graph(image, SEGMENTS["on the grid"], levels, neighbours=2)
    graph = found.graph("on the grid")
    # kept as float16
    torch.testing.assert_close(graph.x, expected.x, atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(graph.edge_attr, expected.edge_attr, atol=2e-3, rtol=2e-3)
    assert torch.equal(graph.edge_index, expected.edge_index)
    assert torch.equal(found.segments("small"), SEGMENTS["small"])
    assert len(found.graph("small").x) == 2
    assert not found.graphs.path("graphs", "val", ".safetensors").exists()


def test_look_alikes_are_as_many_as_asked_for(tmp_path: Path) -> None:
    counts = []
    for neighbours in (1, 3):
        bench = workbench(tmp_path, DATA)
        finished(bench, stages(neighbours).graphs)
        counts.append(stages(neighbours).open(bench).graph("on the grid").edge_index.shape[1])
    assert counts[0] < counts[1]


def test_the_key_follows_neighbours_size_and_precision() -> None:
    others = [stages(neighbours=3), stages(precision="bf16-mixed"), stages(feature_scale=2.0)]
    assert len({one.graphs.key for one in (stages(), *others)}) == 4
    assert stages().graphs.reads == {"superpixels": superpixels(), "classifier": classifier()}
