from pathlib import Path
from typing import Literal

import pytest
import torch

from tests.drawing import picture
from tests.stages.workshop import (
    DrawnDataset,
    DrawnGraphs,
    drawn_scores,
    enlarged,
    finished,
    given_labels,
    given_scores,
    trail_of,
    workbench,
)
from wsss.functional.dense_crf import CrfSettings
from wsss.refine.base import Refiner, Source
from wsss.refine.crf import Crf
from wsss.refine.graph import Graph
from wsss.refine.growing import Growing
from wsss.refine.settings import GrowingSettings
from wsss.stages.materials import Material, Trail
from wsss.stages.refine import refine
from wsss.store import Artefact, resize_scores

NAMES = ["one", "two", "three"]
SHOWN = {"one": picture("0011", "0022"), "two": picture("11", "01"), "three": picture("000", "000")}
DATA = DrawnDataset(
    {name: enlarged(drawn, 8) for name, drawn in SHOWN.items()}, tags={"one": [1, 2], "two": None, "three": []}
)
SCORES = given_scores("scores", {name: drawn_scores(enlarged(drawn, 2), 3, 0.7) for name, drawn in SHOWN.items()})
SEEDS = given_labels(
    "seeds",
    {
        "one": enlarged(picture("0.1.", ".2.."), 8),
        "two": enlarged(picture("1.", "0."), 8),
        "three": enlarged(picture("000", "000"), 8),
    },
)
CRF = CrfSettings(iterations=2)


@pytest.mark.parametrize(
    "refiner", [Crf(CRF), Growing(GrowingSettings(crf=False), CRF), Growing(GrowingSettings(), CRF)]
)
def test_every_image_is_refined_as_if_alone(refiner: Refiner, tmp_path: Path) -> None:
    bench, trail = workbench(tmp_path, DATA), trail_of(SCORES, SEEDS)
    found = finished(bench, refine("it", refiner, DATA, trail, 0))
    material = trail.open(bench)
    for name in NAMES:
        view = material.view(name)
        expected = refiner.refine(material.evidence(name), view)
        assert torch.equal(found.read_labels(name), refiner.labels(expected, view))
        if refiner.changes == "scores":
            small = resize_scores(expected.scores, (view.size[0] // 4, view.size[1] // 4))
            torch.testing.assert_close(found.read_scores(name, 3), small, atol=1e-3, rtol=0)


def test_a_refiner_of_seeds_writes_no_scores(tmp_path: Path) -> None:
    stage = refine("growing", Growing(GrowingSettings(crf=False), CRF), DATA, trail_of(SCORES, SEEDS), 0)
    assert {name.split("/")[0] for name in finished(workbench(tmp_path, DATA), stage).files} == {"labels"}


def test_labels_are_kept_at_full_resolution(tmp_path: Path) -> None:
    found = finished(workbench(tmp_path, DATA), refine("crf", Crf(CRF), DATA, trail_of(SCORES, SEEDS), 0))
    assert found.read_labels("one").shape == (16, 32)
    assert found.read_scores("one", 3).shape == (3, 4, 8)
    assert not found.read_labels("three").any()


def test_the_fitted_network_refines_every_image(tmp_path: Path) -> None:
    bench, drawn, trail = workbench(tmp_path, DATA), DrawnGraphs(DATA), trail_of(SCORES, SEEDS)
    refiner = Graph(drawn.settings)
    stage = refine("graph", refiner, DATA, trail, 0, graphs=drawn.stages, fitted=drawn.fitted)
    found = finished(bench, stage)
    opened = trail.open(bench)
    material = Material(DATA, opened.scores, opened.seeds, "cams", opened.settled, drawn.stages.open(bench))
    loaded = refiner.load(bench.read(drawn.fitted).folder)
    for name in NAMES:
        view = material.view(name)
        labels = loaded.labels(loaded.refine(material.evidence(name), view), view)
        assert torch.equal(found.read_labels(name), labels)
    assert not found.read_labels("three").any()


def test_a_stage_reads_what_its_refiner_needs() -> None:
    drawn, trail = DrawnGraphs(DATA), trail_of(SCORES, SEEDS)
    assert set(refine("crf", Crf(CRF), DATA, trail, 0).reads) == {"scores", "seeds"}
    stage = refine("graph", Graph(drawn.settings), DATA, trail, 0, graphs=drawn.stages, fitted=drawn.fitted)
    assert set(stage.reads) == {"scores", "seeds", "superpixels", "graphs", "fitted"}


def keyed(refiner: Refiner | None = None, source: Source = "cams", round: int = 0, *, background: bool = True) -> str:
    data = DrawnDataset({"one": enlarged(SHOWN["one"], 8)}, background=background)
    trail = Trail(scores=SCORES, seeds=SEEDS, labels=SEEDS, source=source)
    return refine("crf", refiner or Crf(CRF), data, trail, round).key


class Newer(Crf):
    version = 99


def test_the_key_follows_settings_version_source_and_background_class() -> None:
    keys = [keyed(), keyed(Crf(CrfSettings(iterations=3))), keyed(Newer(CRF)), keyed(None, "network")]
    keys.append(keyed(background=False))
    assert len(set(keys)) == 5
    assert keyed(round=4) == keyed()


@pytest.mark.parametrize("part", ["scores", "seeds"])
def test_the_key_follows_the_evidence(part: Literal["scores", "seeds"]) -> None:
    other = given_scores("scores", {}, other="yes") if part == "scores" else given_labels("seeds", {}, other="yes")
    trail = trail_of(other, SEEDS) if part == "scores" else trail_of(SCORES, other)
    assert refine("crf", Crf(CRF), DATA, trail, 0).key != refine("crf", Crf(CRF), DATA, trail_of(SCORES, SEEDS), 0).key


def test_nothing_but_the_artefacts_is_read(tmp_path: Path) -> None:
    bench = workbench(tmp_path, DATA)
    first = finished(bench, refine("crf", Crf(CRF), DATA, trail_of(SCORES, SEEDS), 0))
    # the same artefacts, made by another process a day ago
    later = workbench(tmp_path, DATA)
    again = Artefact(tmp_path / "again")
    refine("crf", Crf(CRF), DATA, trail_of(SCORES, SEEDS), 0).work(later, again)
    for name in first.files:
        assert (again.folder / name).read_bytes() == (first.folder / name).read_bytes()
