"""What annotations settle, and that every stage after it keeps to that."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.drawing import picture
from tests.stages.test_segmenters import plan_of, trained
from tests.stages.workshop import (
    AnnotatedDataset,
    DrawnGraphs,
    enlarged,
    finished,
    given_labels,
    given_scores,
    trail_of,
    workbench,
)
from wsss.annotations import Annotation, Box, Boxes, ImageTags, Mask, Point, Points, Scribbles, Stroke
from wsss.functional.dense_crf import CrfSettings
from wsss.functional.seeds import SeedSettings
from wsss.functional.settled import CERTAINTY
from wsss.functional.spreading import SpreadSettings
from wsss.refine.base import Refiner
from wsss.refine.crf import Crf
from wsss.refine.graph import Graph
from wsss.refine.growing import Growing
from wsss.refine.settings import GrowingSettings
from wsss.stages.base import Stage
from wsss.stages.fit_refiner import DescribedGraphs
from wsss.stages.make_pseudo_labels import make_pseudo_labels
from wsss.stages.make_scores import make_scores
from wsss.stages.make_seeds import make_network_seeds, make_seeds
from wsss.stages.materials import Settled, read_target, reads_of, settled_by
from wsss.stages.refine import refine
from wsss.stages.settings import PseudoLabelSettings, SelfTrainingSettings
from wsss.stages.settle_pixels import settle_pixels
from wsss.types import IGNORE, LabelMap

SHOWN = enlarged(picture("0011", "2200"), 8)
"""16 × 32 pixels: a cat at the top right, a dog at the bottom left."""

BOX = Box(1, 0, 16, 8, 32)
DOG = Box(2, 8, 0, 16, 16)
ANNOTATIONS = {
    "clicked": Annotation(points=Points((Point(1, 4, 20), Point(2, 12, 4), Point(0, 2, 2)), radius=1)),
    "drawn on": Annotation(scribbles=Scribbles((Stroke(1, ((4, 18), (4, 30)), width=3),)), tags_complete=True),
    "boxed": Annotation(boxes=Boxes((BOX, DOG), grabcut=False), tags_complete=True),
    "masked": Annotation(masks=Mask.of(SHOWN), boxes=Boxes((Box(1, 0, 0, 16, 32),)), tags_complete=True),
    "tagged": Annotation(tags=ImageTags((1,)), tags_complete=True),
}
NAMES = [*ANNOTATIONS, "unknown"]
DATA = AnnotatedDataset(dict.fromkeys(NAMES, SHOWN), ANNOTATIONS)
SETTLED = settle_pixels(DATA)
EVEN = given_scores("scores", {name: torch.full((3, 4, 8), 1 / 3) for name in NAMES})
"""Scores that know nothing."""

WRONG = given_labels("seeds", dict.fromkeys(NAMES, torch.full((16, 32), 2, dtype=torch.uint8)))
"""Seeds of one class everywhere."""


def blank() -> LabelMap:
    return torch.full((16, 32), IGNORE, dtype=torch.uint8)


def expected() -> dict[str, LabelMap]:
    """What is settled, painted by hand."""
    clicked, drawn, boxed = blank(), blank(), blank()
    for label, row, column in ((1, 4, 20), (2, 12, 4), (0, 2, 2)):
        for down, right in ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0)):
            clicked[row + down, column + right] = label
    drawn[3:6, 18:31] = 1
    drawn[4, 17], drawn[4, 31] = 1, 1
    boxed[:8, :16], boxed[8:, 16:] = 0, 0
    return {"clicked": clicked, "drawn on": drawn, "boxed": boxed, "masked": SHOWN.to(torch.uint8)}


def assert_kept(name: str, labels: LabelMap) -> None:
    """Settled pixels have their labels, and no other has one that is ruled out."""
    settled = expected().get(name, blank())
    known = settled != IGNORE
    assert torch.equal(labels[known], settled[known])
    allowed = ANNOTATIONS.get(name, Annotation()).allowed((16, 32), 2)
    if allowed is not None:
        there = labels != IGNORE
        assert allowed.gather(0, labels.long().where(there, 0)[None])[0][there].all()


def opened(folder: Path) -> Settled:
    bench = workbench(folder, DATA)
    finished(bench, SETTLED)
    return settled_by(bench, SETTLED)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_settled_is_what_was_drawn(name: str, tmp_path: Path) -> None:
    found = finished(workbench(tmp_path, DATA), SETTLED)
    assert torch.equal(found.read_labels(name), expected().get(name, blank()))


def test_the_key_follows_the_annotations_and_the_images() -> None:
    moved = AnnotatedDataset(dict.fromkeys(NAMES, SHOWN), {"clicked": Annotation(points=Points((Point(1, 4, 21),)))})
    other = AnnotatedDataset(dict.fromkeys(NAMES, SHOWN.flip(0)), ANNOTATIONS)
    assert len({settle_pixels(data).key for data in (DATA, moved, other)}) == 3
    assert settle_pixels(AnnotatedDataset(dict.fromkeys(NAMES, SHOWN), ANNOTATIONS)).key == SETTLED.key


def test_marks_are_what_a_person_drew_pixel_by_pixel(tmp_path: Path) -> None:
    settled = opened(tmp_path)
    for name in ("clicked", "drawn on"):
        marks = settled.marks(name)
        assert marks is not None
        assert torch.equal(marks, expected()[name])
    assert all(settled.marks(name) is None for name in ("boxed", "masked", "tagged", "unknown"))


def test_where_training_sees_tags_alone_nothing_is_settled(tmp_path: Path) -> None:
    nothing = settled_by(workbench(tmp_path, DATA), None)
    scores, labels = torch.rand(3, 4, 8), SHOWN.to(torch.uint8)
    assert nothing.pixels("clicked") is None
    assert nothing.allowed("boxed") is None
    assert nothing.marks("clicked") is None
    assert nothing.scores("clicked", scores) is scores
    assert nothing.keep("clicked", labels) is nothing.mend("boxed", labels) is labels
    assert reads_of(None) == {}
    assert reads_of(SETTLED) == {"annotations": SETTLED}


@pytest.mark.parametrize("spread", [None, SpreadSettings()])
def test_the_first_seeds_and_scores_keep_to_what_is_settled(spread: SpreadSettings | None, tmp_path: Path) -> None:
    # the maps are sure of class 1 everywhere
    maps = torch.stack([torch.zeros(4, 8), torch.ones(4, 8), torch.zeros(4, 8)])
    stage = make_seeds(
        DATA, SeedSettings(), given_scores("cams", dict.fromkeys(NAMES, maps)), annotations=SETTLED, spread=spread
    )
    found = finished(workbench(tmp_path, DATA), stage)
    for name in NAMES:
        assert_kept(name, found.read_labels(name))
        scores = found.read_scores(name, 3)
        torch.testing.assert_close(scores.sum(0), torch.ones(4, 8), atol=2e-3, rtol=0)
    # in its box everything is a cat, but for the border where the map fades; where only background is left it is all
    assert set(found.read_labels("boxed")[:6, 18:].unique().tolist()) == {1}
    boxed = found.read_scores("boxed", 3)
    assert boxed[0, :2, :4].min() > 0.99
    assert boxed[1, 2:].max() == 0
    assert found.read_scores("masked", 3).argmax(0).tolist() == SHOWN[2::4, 2::4].tolist()
    # a stroke as wide as most of a cell fills it as far as its pixels do
    assert found.read_scores("drawn on", 3)[1, 1, 5:7].min() > 0.5 * CERTAINTY
    assert (found.read_labels("unknown") == 1).all()


@pytest.mark.parametrize("pixels", ["training", "image"])
def test_quantiles_are_those_of_the_cams_that_annotations_leave(pixels: str, tmp_path: Path) -> None:
    boxed = Annotation(boxes=Boxes((Box(1, 0, 16, 8, 32),), grabcut=False), tags_complete=True)
    data = AnnotatedDataset({"one": enlarged(picture("0011"), 8)}, {"one": boxed})
    # the maps are surest where the box rules the class out; in it, made anew, they are a half and 1
    row = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.25, 0.25, 0.5, 0.5]).expand(2, 8)
    cams = given_scores("cams", {"one": torch.stack([torch.zeros(2, 8), row, torch.zeros(2, 8)])})
    settings = SeedSettings(
        background="quantile", quantile_pixels=pixels, background_quantile=0.5, foreground_quantile=0.75
    )
    stage = make_seeds(data, settings, cams, annotations=settle_pixels(data))
    seeds = finished(workbench(tmp_path, data), stage).read_labels("one")
    # half of the pixels are 0, so more than that is no background, and three quarters are no more than a half
    assert seeds[:, [2, 14, 18, 21, 26, 30]].tolist() == picture("00..11").repeat(8, 1).tolist()


def test_spreading_changes_scores_and_key_only_where_pixels_are_settled(tmp_path: Path) -> None:
    maps = torch.stack([torch.zeros(4, 8), torch.full((4, 8), 0.4), torch.full((4, 8), 0.4)])
    cams = given_scores("cams", dict.fromkeys(NAMES, maps))
    stages = [
        make_seeds(DATA, SeedSettings(), cams, annotations=SETTLED, spread=spread)
        for spread in (None, SpreadSettings())
    ]
    plain, near = (finished(workbench(tmp_path, DATA), stage) for stage in stages)
    assert not torch.equal(plain.read_scores("clicked", 3), near.read_scores("clicked", 3))
    # a cat was clicked at on the right, a dog on the left
    found = near.read_scores("clicked", 3)
    assert found[1, 1, 6] > found[2, 1, 6]
    assert found[2, 3, 1] > found[1, 3, 1]
    for name in ("tagged", "unknown"):
        assert torch.equal(plain.read_scores(name, 3), near.read_scores(name, 3))
    without = make_seeds(DATA, SeedSettings(), cams)
    assert make_seeds(DATA, SeedSettings(), cams, spread=SpreadSettings()).key == without.key
    assert len({without.key, *(stage.key for stage in stages)}) == 3


@pytest.fixture(name="cut", scope="module")
def cut_data() -> AnnotatedDataset:
    """A disc in a box, of which only the middle is settled."""
    rows, columns = torch.meshgrid(torch.arange(48), torch.arange(64), indexing="ij")
    shown = (torch.hypot(rows - 24.0, columns - 32.0) <= 16).to(torch.uint8)
    boxes = Annotation(boxes=Boxes((Box(1, 8, 16, 41, 49),), core=0.5), tags_complete=True)
    return CutDataset({"disc": shown}, {"disc": boxes})


class CutDataset(AnnotatedDataset):
    """Boxes of which the cut is likely."""

    @property
    def likely_labels(self) -> bool:
        return True


def test_the_core_of_a_cut_is_settled_and_the_rest_of_the_box_likely(cut: AnnotatedDataset, tmp_path: Path) -> None:
    stage = settle_pixels(cut)
    bench = workbench(tmp_path, cut)
    settled = finished(bench, stage).read_labels("disc")
    likely = settled_by(bench, stage).likely("disc")
    assert likely is not None
    assert settled[24, 32] == 1
    assert settled[0, 0] == 0
    assert (settled[12:37, 20:45] == IGNORE).any()
    both = torch.where(settled == IGNORE, likely, settled)
    truth = cut.truth("disc")
    assert truth is not None
    assert torch.eq(both, truth).float().mean() > 0.97
    assert ((settled == IGNORE) != (likely == IGNORE)).all()


def test_what_is_cut_out_is_settled_and_what_is_left_of_the_box_likely_unless_told_otherwise() -> None:
    rows, columns = torch.meshgrid(torch.arange(48), torch.arange(64), indexing="ij")
    disc = (torch.hypot(rows - 24.0, columns - 32.0) <= 16).to(torch.uint8)
    data = AnnotatedDataset({"disc": disc}, {})
    settled, likely = Boxes((Box(1, 8, 16, 41, 49),)).settle(data.image("disc"))
    assert settled is not None
    assert likely is not None
    inside = torch.zeros_like(disc, dtype=torch.bool)
    inside[8:41, 16:49] = True
    assert torch.equal(settled == 1, likely == 1)
    assert (settled[~inside] == 0).all()
    assert (settled[inside & (likely == 0)] == IGNORE).all()


def test_scores_hear_what_is_likely_as_loud_as_told(cut: AnnotatedDataset, tmp_path: Path) -> None:
    annotations = settle_pixels(cut)
    cams = given_scores("cams", {"disc": torch.full((3, 12, 16), 0.4)})
    stages = [
        make_seeds(cut, SeedSettings(), cams, annotations=annotations, spread=SpreadSettings(likely=share))
        for share in (0.5, 0.9)
    ]
    deaf, heard = (finished(workbench(tmp_path, cut), stage).read_scores("disc", 3) for stage in stages)
    # within the disc and outside of its core
    assert heard[1, 6, 5] > deaf[1, 6, 5]
    # in the corner of the box
    assert heard[0, 2, 5] > deaf[0, 2, 5]
    assert stages[0].key != stages[1].key
    quiet = [
        make_seeds(DATA, SeedSettings(), EVEN, annotations=SETTLED, spread=SpreadSettings(likely=share)).key
        for share in (0.5, 0.9)
    ]
    assert quiet[0] == quiet[1]


def test_later_seeds_keep_to_what_is_settled(tmp_path: Path) -> None:
    sure = torch.stack([torch.full((4, 8), share) for share in (0.02, 0.96, 0.02)])
    scores = given_scores("scores", dict.fromkeys(NAMES, sure))
    settings = SelfTrainingSettings(foreground_threshold=0.7, background_threshold=0.9)
    found = finished(workbench(tmp_path, DATA), make_network_seeds(DATA, settings, scores, 1, SETTLED))
    for name in NAMES:
        assert_kept(name, found.read_labels(name))
    assert (found.read_labels("unknown") == 1).all()
    assert set(found.read_labels("boxed")[:8, 16:].unique().tolist()) == {1}


def test_what_a_segmenter_sees_of_training_images_keeps_to_what_is_settled(tmp_path: Path) -> None:
    plan = plan_of(DATA)
    found = finished(workbench(tmp_path, DATA), make_scores(plan, trained(plan), 1, SETTLED))
    plain = finished(workbench(tmp_path, DATA), make_scores(plan, trained(plan), 1))
    assert found.read_scores("masked", 3).argmax(0).tolist() == SHOWN[2::4, 2::4].tolist()
    boxed = found.read_scores("boxed", 3)
    assert boxed[0, :2, :4].min() > 0.98
    assert boxed[1, 2:].max() == 0
    assert boxed[2, :2].max() == 0
    for name in ("tagged", "unknown"):
        assert torch.equal(found.read_scores(name, 3), plain.read_scores(name, 3))


@pytest.mark.parametrize(
    "refiner",
    [
        Crf(CrfSettings(iterations=1)),
        Growing(GrowingSettings(crf=False), CrfSettings()),
    ],
    ids=["crf", "growing"],
)
def test_refined_labels_keep_to_what_is_settled(refiner: Refiner, tmp_path: Path) -> None:
    stage = refine("it", refiner, DATA, trail_of(EVEN, WRONG, annotations=SETTLED), 0)
    assert stage.reads["annotations"] is SETTLED
    found = finished(workbench(tmp_path, DATA), stage)
    for name in NAMES:
        kept = found.read_labels(name)
        if refiner.changes == "seeds":
            assert_kept(name, kept)
    # scores lie on a coarser grid, whose cells a box, a mask or a wide stroke fill
    assert_kept("boxed", found.read_labels("boxed"))
    assert_kept("masked", found.read_labels("masked"))
    assert (found.read_labels("drawn on")[4, 19:30] == 1).all()


def test_a_region_with_a_mark_is_to_be_what_the_mark_says(tmp_path: Path) -> None:
    drawn = DrawnGraphs(DATA)
    material = trail_of(EVEN, WRONG, annotations=SETTLED)
    bench = workbench(tmp_path, DATA)
    for stage in (EVEN, WRONG, SETTLED, *drawn.stages.reads.values()):
        finished(bench, stage)
    graphs = DescribedGraphs(
        Graph(drawn.settings), replace(material.open(bench), graphs=drawn.stages.open(bench)), NAMES
    )
    targets = {name: graphs[place].targets.tolist() for place, name in enumerate(NAMES)}
    # squares of 8 pixels, four in a row, all seeded with class 2
    assert targets["clicked"] == [0, 2, 1, 2, 2, 2, 2, 2]
    assert targets["drawn on"] == [2, 2, 1, 1, 2, 2, 2, 2]
    assert targets["unknown"] == targets["tagged"] == [2] * 8


def test_a_stroke_that_superpixels_cut_stays_whole_behind_the_graph(tmp_path: Path) -> None:
    drawn = DrawnGraphs(DATA)
    # a refiner that leaves the scores as they are, which know nothing
    still = Graph(replace(drawn.settings, network_weight=0.0, prototype_weight=0.0, kept_weight=1.0))
    trail = trail_of(EVEN, WRONG, annotations=SETTLED)
    stage = refine("graph", still, DATA, trail, 0, graphs=drawn.stages)
    found = finished(workbench(tmp_path, DATA), stage)
    # it runs through two squares, and what else is in them is not tied to it
    assert torch.equal(found.read_labels("drawn on") == 1, expected()["drawn on"] == 1)
    assert_kept("clicked", found.read_labels("clicked"))


def labels_of(name: str, annotations: Stage | None, folder: Path, sure: float = 0.5) -> tuple[LabelMap, Tensor]:
    """Pseudo labels of labels that are background everywhere, as sure as told."""
    background = given_labels("crf", dict.fromkeys(NAMES, torch.zeros(16, 32, dtype=torch.uint8)))
    scores = given_scores("scores", dict.fromkeys(NAMES, torch.full((3, 4, 8), sure)))
    trail = trail_of(scores, WRONG, background, annotations=annotations)
    stage = make_pseudo_labels(DATA, PseudoLabelSettings(ignore_below=0.6), trail, 0)
    labels, weights = read_target(finished(workbench(folder, DATA), stage), name)
    assert weights is not None
    return labels, weights


def test_boxes_that_pseudo_labels_have_lost_are_filled_again(tmp_path: Path) -> None:
    labels, _ = labels_of("boxed", SETTLED, tmp_path, sure=0.9)
    assert torch.equal(labels, SHOWN.to(torch.uint8))
    labels, _ = labels_of("boxed", None, tmp_path, sure=0.9)
    assert not labels.any()


def test_a_box_that_is_filled_again_leaves_a_mask_and_clicks_alone(tmp_path: Path) -> None:
    # the box of that image covers all of it
    labels, _ = labels_of("masked", SETTLED, tmp_path, sure=0.9)
    assert torch.equal(labels, SHOWN.to(torch.uint8))


def test_settled_pixels_are_sure_however_unsure_the_scores_are(tmp_path: Path) -> None:
    labels, weights = labels_of("clicked", SETTLED, tmp_path)
    assert torch.equal(labels.where(weights == 1, IGNORE), expected()["clicked"].where(weights == 1, IGNORE))
    known = expected()["clicked"] != IGNORE
    assert torch.equal(weights == 1, known)
    # the rest is less sure than asked
    assert (labels[~known] == IGNORE).all()
