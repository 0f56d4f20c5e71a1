import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from tests.drawing import picture
from tests.stages.workshop import DrawnDataset, enlarged, finished, given, given_labels, given_scores, workbench
from wsss.functional.dense_crf import CrfSettings
from wsss.refine.crf import Crf
from wsss.refine.growing import Growing
from wsss.refine.settings import GrowingSettings
from wsss.stages import materials as module
from wsss.stages.materials import (
    Graphs,
    GraphStages,
    Remembered,
    Trail,
    read_segments,
    read_target,
    read_weights,
    write_segments,
    write_weights,
)
from wsss.store import Artefact, UnitWriter

NAMES = ["plain", "with blank", "folder/ünïcode", "dots.in.it", "100%"]


def written(folder: Path, name: str, values: Tensor, write: object) -> Artefact:
    out = Artefact(folder)
    with out.unit("u") as unit:
        write(unit, name, values)  # type: ignore[operator]
    out.finish("stage", "key", 1)
    return out


@pytest.mark.parametrize("name", NAMES)
def test_segments_come_back_as_they_were(name: str, tmp_path: Path) -> None:
    segments = torch.tensor([[0, 1, 255], [256, 257, 65_535]])
    found = read_segments(written(tmp_path, name, segments, write_segments), name)
    assert torch.equal(found, segments)
    assert found.dtype == torch.int64


@pytest.mark.parametrize("name", NAMES)
def test_weights_come_back_to_half_a_step(name: str, tmp_path: Path) -> None:
    weights = torch.rand(7, 9, generator=torch.Generator().manual_seed(0))
    weights[0, :3] = torch.tensor([0.0, 0.5, 1.0])
    found = read_weights(written(tmp_path, name, weights, write_weights), name)
    torch.testing.assert_close(found, weights, atol=0.5 / 255 + 1e-6, rtol=0)
    assert found[0, [0, 2]].tolist() == [0, 1]


def test_a_target_has_weights_where_some_were_written(tmp_path: Path) -> None:
    out, labels = Artefact(tmp_path), picture("01", ".1")
    with out.unit("u") as unit:
        for name in ("weighed", "plain"):
            unit.write_labels(name, labels)
        write_weights(unit, "weighed", torch.tensor([[0.2, 0.4], [0.6, 0.8]]))
    out.finish("stage", "key", 1)
    found, weights = read_target(out, "weighed")
    assert torch.equal(found, labels)
    assert weights is not None
    torch.testing.assert_close(weights, torch.tensor([[0.2, 0.4], [0.6, 0.8]]))
    assert read_target(out, "plain")[1] is None


SCORES, SEEDS, LATER = given_scores("scores", {}), given_labels("seeds", {}), given_labels("later", {})


def test_a_refiner_that_grows_seeds_leaves_the_scores_behind_it() -> None:
    trail = Trail(scores=SCORES, seeds=SEEDS, labels=SEEDS, source="network")
    after = trail.after(Growing(GrowingSettings(), CrfSettings()), LATER)
    assert (after.scores, after.seeds, after.labels, after.source) == (SCORES, LATER, LATER, "network")


def test_a_refiner_of_scores_leaves_the_seeds_behind_it() -> None:
    after = Trail(scores=SCORES, seeds=SEEDS, labels=SEEDS, source="cams").after(Crf(CrfSettings()), LATER)
    assert (after.scores, after.seeds, after.labels) == (LATER, SEEDS, LATER)


DATA = DrawnDataset({"one": enlarged(picture("01", "22"), 8)}, tags={"one": None}, background=False)


def test_material_holds_what_the_stages_wrote(tmp_path: Path) -> None:
    bench = workbench(tmp_path, DATA)
    drawn = torch.rand(3, 4, 4)
    scores, seeds = given_scores("scores", {"one": drawn}), given_labels("seeds", {"one": DATA.image("one")[0]})
    finished(bench, scores), finished(bench, seeds)
    material = Trail(scores=scores, seeds=seeds, labels=seeds, source="network").open(bench)
    evidence, view = material.evidence("one"), material.view("one")
    torch.testing.assert_close(evidence.scores, drawn, atol=1e-3, rtol=0)
    assert torch.equal(evidence.seeds, DATA.image("one")[0])
    assert torch.equal(view.image, DATA.image("one"))
    assert (view.tags, view.background, view.source) == (None, False, "network")
    assert view.segments is None
    assert view.graph is None


def test_graphs_come_back_in_the_types_that_networks_want(tmp_path: Path) -> None:
    bench, segments = workbench(tmp_path, DATA), torch.tensor([[0, 0], [1, 1]])
    drawn = {
        "x": torch.tensor([[0.5, 0.25], [1.0, 2.0]]).half(),
        "edge_index": torch.tensor([[0, 1], [1, 0]], dtype=torch.int32),
        "edge_attr": torch.tensor([[1.0, 0.5, 0.25, 0.0]] * 2).half(),
    }

    def write_graph(unit: UnitWriter) -> None:
        unit.write_tensors("graphs/one.safetensors", drawn)

    stages = GraphStages(
        given("superpixels", lambda unit: write_segments(unit, "one", segments)), given("graphs", write_graph)
    )
    assert set(stages.reads) == {"superpixels", "graphs"}
    for stage in stages.reads.values():
        finished(bench, stage)
    graphs = stages.open(bench)
    assert isinstance(graphs, Graphs)
    assert torch.equal(graphs.segments("one"), segments)
    graph = graphs.graph("one")
    assert isinstance(graph, Data)
    assert (graph.x.dtype, graph.edge_index.dtype, graph.edge_attr.dtype) == (torch.float32, torch.int64, torch.float32)
    assert graph.x.tolist() == [[0.5, 0.25], [1.0, 2.0]]
    assert graph.edge_index.tolist() == [[0, 1], [1, 0]]


def test_what_is_remembered_is_read_once_while_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def reader(image: str) -> tuple[Tensor, None]:
        read.append(image)
        return torch.full((100,), len(read)), None

    remembered = Remembered(reader, tuple)
    monkeypatch.setattr(module, "KEPT_BYTES", 1000)
    first = remembered("one")
    assert remembered("one") is first
    # another 800 bytes have no room
    assert remembered("two")[0][0] == 2
    assert remembered("two")[0][0] == 3
    assert read == ["one", "two", "two"]


def test_another_process_remembers_nothing() -> None:
    read: list[str] = []

    def reader(image: str) -> tuple[Tensor]:
        read.append(image)
        return (torch.ones(1),)

    remembered = Remembered(reader, tuple)
    remembered("one")
    # copies travel the way that pickles do
    copy.copy(remembered)("one")
    assert read == ["one", "one"]
