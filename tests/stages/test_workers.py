"""What the workers of the pool write is what this process would have written.

Starting workers takes longer than all other tests of this folder, so that work is only sent through the same pickling.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import pytest

from tests.drawing import picture
from tests.stages.workshop import (
    DrawnDataset,
    DrawnGraphs,
    drawn_scores,
    enlarged,
    finished,
    given,
    given_labels,
    given_scores,
    trail_of,
    workbench,
)
from wsss.functional.dense_crf import CrfSettings
from wsss.functional.seeds import SeedSettings
from wsss.functional.superpixels import SuperpixelSettings
from wsss.ranks import Item, Pool, Result
from wsss.refine.crf import Crf
from wsss.refine.graph import Graph
from wsss.refine.growing import Growing
from wsss.refine.settings import GrowingSettings
from wsss.stages import evaluate as measuring
from wsss.stages.base import Stage
from wsss.stages.evaluate import evaluate, evaluate_cams
from wsss.stages.make_pseudo_labels import make_pseudo_labels
from wsss.stages.make_seeds import make_network_seeds, make_seeds
from wsss.stages.make_superpixels import make_superpixels
from wsss.stages.refine import refine
from wsss.stages.settings import PseudoLabelSettings, SelfTrainingSettings
from wsss.store import Artefact, UnitWriter


def write_cues(unit: UnitWriter) -> None:
    for name, drawn in SHOWN.items():
        unit.write_labels(name, drawn[:2, :2], "cues")


SHOWN = {f"image {number}": picture("0011", "0221").roll(number, 1) for number in range(18)}
DATA = DrawnDataset({name: enlarged(drawn, 4) for name, drawn in SHOWN.items()})
SCORES = given_scores("scores", {name: drawn_scores(drawn, 3, 0.7) for name, drawn in SHOWN.items()})
SEEDS = given_labels("drawn_seeds", {name: enlarged(drawn, 4) for name, drawn in SHOWN.items()})
CUES = given("cues", write_cues)
CRF = CrfSettings(iterations=1)
TRAIL = trail_of(SCORES, SEEDS)

STAGES = [
    make_seeds(DATA, SeedSettings(), SCORES),
    make_seeds(DATA, SeedSettings(rule="irn"), SCORES, crf=CRF),
    make_seeds(DATA, SeedSettings(background="quantile"), SCORES),
    make_seeds(DATA, SeedSettings(), SCORES, cues=CUES),
    make_network_seeds(DATA, SelfTrainingSettings(), SCORES, 1),
    make_superpixels(DATA, SuperpixelSettings(count=4)),
    refine("growing", Growing(GrowingSettings(), CRF), DATA, TRAIL, 0),
    refine("crf", Crf(CRF), DATA, TRAIL, 0),
    make_pseudo_labels(DATA, PseudoLabelSettings(), trail_of(SCORES, SEEDS, SEEDS), 0),
    evaluate(DATA, SEEDS, "train", boundary=True),
    evaluate_cams(DATA, SeedSettings(), SCORES),
]


class Sending(Pool):
    """Does the work in this process, on copies of all that would be sent to a worker."""

    def __init__(self) -> None:
        super().__init__(workers=2)
        self.sent = 0

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        for item in items:
            self.sent += 1
            copied, one = ForkingPickler.loads(ForkingPickler.dumps((function, item)))
            yield copied(one)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.title)
def test_workers_write_the_same_files(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "CHUNK", 8)
    assert by_workers(tmp_path / "workers", stage).files == finished(workbench(tmp_path / "alone", DATA), stage).files


def by_workers(folder: Path, stage: Stage) -> Artefact:
    pool = Sending()
    found = finished(replace(workbench(folder, DATA), pool=pool), stage)
    assert pool.sent == 3  # units of at most 8 of the 18 images
    return found


GRAPHS = DrawnGraphs(DATA)


def test_the_network_of_the_graphs_reaches_the_workers(tmp_path: Path) -> None:
    stage = refine("graph", Graph(GRAPHS.settings), DATA, TRAIL, 0, graphs=GRAPHS.stages, fitted=GRAPHS.fitted)
    assert by_workers(tmp_path / "workers", stage).files == finished(workbench(tmp_path / "alone", DATA), stage).files
