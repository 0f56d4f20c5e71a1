from dataclasses import replace
from pathlib import Path

import torch

from tests.drawing import picture
from tests.stages.test_refine import DATA, NAMES, SCORES, SEEDS
from tests.stages.workshop import DrawnGraphs, Quiet, enlarged, finished, given_labels, trail_of, workbench
from wsss.refine.graph import Graph
from wsss.stages.base import Stage
from wsss.stages.fit_refiner import DescribedGraphs, fit_refiner
from wsss.stages.materials import Trail
from wsss.stages.refine import refine
from wsss.tasks.settings import GraphSettings

DRAWN = DrawnGraphs(DATA)
SETTINGS = replace(DRAWN.settings, epochs=2, batch_size=2)


def fit(trail: Trail | None = None, settings: GraphSettings = SETTINGS, seed: int = 0, round: int = 0) -> Stage:
    return fit_refiner(
        "graph", Graph(settings), DATA, trail or trail_of(SCORES, SEEDS), DRAWN.stages, seed, "32-true", round
    )


def test_the_network_is_fitted_on_all_graphs_and_refines(tmp_path: Path) -> None:
    bench = workbench(tmp_path, DATA)
    found = finished(bench, fit())
    assert set(found.files) == {"network.safetensors", "history.json"}
    assert len(found.read_json("history.json")) == 2
    assert isinstance(bench.watcher, Quiet)
    # three graphs are two batches of at most two, twice
    assert bench.watcher.bars[-1] == ("training the graph network", 4)
    refined = refine("graph", Graph(SETTINGS), DATA, trail_of(SCORES, SEEDS), 0, graphs=DRAWN.stages, fitted=fit())
    assert finished(bench, refined).read_labels("one").shape == (16, 32)


def test_the_same_seed_fits_the_same_network(tmp_path: Path) -> None:
    runs = [finished(workbench(tmp_path / name, DATA), fit()) for name in ("a", "b")]
    assert runs[0].files == runs[1].files


def test_without_a_seed_in_any_image_the_network_stays_finite(tmp_path: Path) -> None:
    blank = given_labels("seeds", {name: torch.full(DATA.size(name), 255) for name in NAMES})
    found = finished(workbench(tmp_path, DATA), fit(trail_of(SCORES, blank)))
    assert all(value.isfinite().all() for value in found.read_tensors("network.safetensors").values())


def described(folder: Path) -> DescribedGraphs:
    bench, trail = workbench(folder, DATA), trail_of(SCORES, SEEDS)
    for stage in (SCORES, SEEDS, *DRAWN.stages.reads.values()):
        finished(bench, stage)
    return DescribedGraphs(Graph(SETTINGS), replace(trail.open(bench), graphs=DRAWN.stages.open(bench)), NAMES)


def test_graphs_are_described_with_the_evidence(tmp_path: Path) -> None:
    graphs = described(tmp_path)
    assert len(graphs) == 3
    # the blocks of the segments are the blocks of the seeds
    assert graphs[0].targets.tolist() == picture("0.1.", ".2..").flatten().tolist()
    assert graphs[1].targets.tolist() == picture("1.", "0.").flatten().tolist()
    assert graphs[2].possible.tolist() == [[True, False, False]] * 6


def test_graphs_are_read_once(tmp_path: Path) -> None:
    graphs = described(tmp_path)
    assert graphs[0] is graphs[0]


def test_the_key_follows_evidence_settings_and_seed() -> None:
    other = given_labels("seeds", {"one": enlarged(picture("0000", "0000"), 8)}, other="yes")
    keys = {
        fit().key,
        fit(trail_of(SCORES, other)).key,
        fit(settings=replace(SETTINGS, layers=2)).key,
        fit(settings=replace(SETTINGS, epochs=3)).key,
        fit(seed=1).key,
    }
    assert len(keys) == 5
    assert fit(round=2).key == fit().key
    assert set(fit().reads) == {"scores", "seeds", "superpixels", "graphs"}
