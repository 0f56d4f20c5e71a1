"""A stage whose result changes must raise its version, or stores would go on handing out the old result.

The digests are of what the files say, not of their bytes, and scores count in twentieths: neither another release of an
image library nor the last bit of a processor is a change of the method.
"""

import io
import json
import pickle  # noqa: TID251 - what is written here is what others publish
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from safetensors.torch import load
from torch import Tensor

from tests.drawing import picture
from tests.stages.test_measure_signal import plan_of, watch_everything
from tests.stages.workshop import (
    AnnotatedDataset,
    DrawnDataset,
    enlarged,
    finished,
    given,
    given_labels,
    given_scores,
    trail_of,
    workbench,
)
from wsss.annotations import Annotation, Box, Boxes, ImageTags, Mask, Point, Points, Scribbles, Stroke
from wsss.annotations.cost import CostSettings
from wsss.functional.dense_crf import CrfSettings
from wsss.functional.seeds import SeedSettings
from wsss.functional.spreading import SpreadSettings
from wsss.functional.superpixels import SuperpixelSettings
from wsss.refine.crf import Crf
from wsss.refine.growing import Growing
from wsss.refine.settings import GrowingSettings
from wsss.stages.base import Stage
from wsss.stages.evaluate import evaluate, evaluate_cams
from wsss.stages.import_cues import import_cues
from wsss.stages.make_pseudo_labels import make_pseudo_labels
from wsss.stages.make_seeds import make_network_seeds, make_seeds
from wsss.stages.make_superpixels import make_superpixels
from wsss.stages.measure_signal import measure_signal
from wsss.stages.price_annotations import price_annotations
from wsss.stages.refine import refine
from wsss.stages.settings import PseudoLabelSettings, SelfTrainingSettings
from wsss.stages.settle_pixels import settle_pixels
from wsss.store import Artefact, digest

DATA = DrawnDataset(
    {"one": enlarged(picture("0011", "0221", "0220"), 8), "two": enlarged(picture("110", "110"), 8)},
    tags={"two": None},
)
# all settings that count are written out: a new default changes the key, and needs no new version
SEEDING = SeedSettings(background="constant", background_threshold=0.45, foreground_threshold=0.7)
SEEDING_BY_QUANTILE = SeedSettings(
    background="quantile",
    quantile_pixels="training",
    background_quantile=0.4,
    foreground_quantile=0.7,
    foreground_threshold=0.7,
)
SEEDING_BY_AGREEMENT = replace(SEEDING, rule="irn", irn_foreground_threshold=0.7, irn_background_threshold=0.3)
LATER_SEEDING = SelfTrainingSettings(foreground_threshold=0.5, background_threshold=0.6)
CUTTING = SuperpixelSettings(count=12, compactness=20.0, smoothing=0.5, iterations=5)
CRF = CrfSettings(
    iterations=3,
    unary="scores",
    label_confidence=0.7,
    gaussian_sxy=3.0,
    gaussian_compat=3.0,
    bilateral_sxy=50.0,
    bilateral_srgb=20.0,
    bilateral_compat=5.0,
    reference_side=100,
)
GROWING = GrowingSettings(foreground_quantile=0.5, background_quantile=0.3, crf=True)
SPREADING = SpreadSettings(reach=0.2, contrast=3.0, kept=0.25, likely=0.9, sure=0.7)
COST = CostSettings(class_decision=1.0, first_click=2.4, further_click=0.9, stroke=10.9, box=7.0, outline=79.0)
WATCHING = SelfTrainingSettings(least_area=0.2, watched=0.5)
LABELLING = PseudoLabelSettings(ignore_below=0.6, confidence_weights=True)


def drawn(shape: tuple[int, ...], seed: int) -> Tensor:
    """Numbers in [0, 1] that are the same on any machine, and smooth enough to be resized without a care."""
    places = torch.cartesian_prod(*(torch.arange(side, dtype=torch.float64) for side in shape))
    waves = (places * torch.tensor([2.1, 0.61, 0.37], dtype=torch.float64) + seed).sum(1).sin()
    return ((waves + 1) / 2).view(shape).float()


def shared_out(scores: Tensor) -> Tensor:
    return scores / scores.sum(0)


CAMS = given_scores("cams", {"one": drawn((3, 6, 8), 0), "two": drawn((3, 4, 6), 1)})
SCORES = given_scores("scores", {"one": shared_out(drawn((3, 6, 8), 2)), "two": shared_out(drawn((3, 4, 6), 3))})
GUESSES = given_labels(
    "guesses", {"one": enlarged(picture("001.", "0211", "0220"), 8), "two": enlarged(picture("1.0", "210"), 8)}
)
SEEDS = make_seeds(DATA, SEEDING, CAMS)
PSEUDO_LABELS = make_pseudo_labels(DATA, LABELLING, trail_of(SCORES, SEEDS, GUESSES), 0)

PICTURE = enlarged(picture("0011", "0221", "0220"), 8)
"""24 × 32 pixels: a cat at the right, a dog below."""

ANNOTATIONS = {
    "clicked": Annotation(points=Points((Point(1, 4, 25), Point(2, 15, 12), Point(0, 3, 2)), radius=2)),
    "drawn on": Annotation(scribbles=Scribbles((Stroke(1, ((2, 18), (9, 29)), 3),)), tags_complete=True),
    "boxed": Annotation(boxes=Boxes((Box(1, 0, 16, 16, 32), Box(2, 8, 8, 24, 24)), grabcut=False), tags_complete=True),
    "masked": Annotation(masks=Mask.of(PICTURE), tags_complete=True),
    "tagged": Annotation(tags=ImageTags((1,)), tags_complete=True),
}
ANNOTATED = AnnotatedDataset(dict.fromkeys([*ANNOTATIONS, "unknown"], PICTURE), ANNOTATIONS)
SETTLED = settle_pixels(ANNOTATED)
MAPS = given_scores("cams", {name: drawn((3, 6, 8), seed) for seed, name in enumerate(ANNOTATED.ids("train"))})
BELIEFS = given_scores(
    "scores", {name: shared_out(drawn((3, 6, 8), seed)) for seed, name in enumerate(ANNOTATED.ids("train"))}
)
ANNOTATED_SEEDS = make_seeds(ANNOTATED, SEEDING, MAPS, annotations=SETTLED, spread=SPREADING)
ANNOTATED_LABELS = make_pseudo_labels(ANNOTATED, LABELLING, trail_of(BELIEFS, ANNOTATED_SEEDS, annotations=SETTLED), 0)

WATCHED = DrawnDataset(
    {"one": PICTURE, "two": enlarged(picture("1100", "1200", "0000"), 8)}, tags={"one": [1, 2], "two": [1]}
)
WATCHED_SEEDS = given_labels(
    "seeds", {"one": enlarged(picture("0.1.", ".2..", "00.."), 8), "two": enlarged(picture("11..", ".200", "...."), 8)}
)


def imported_cues(folder: Path, _: pytest.MonkeyPatch) -> Stage:
    """Cues of a file that is written here, as they are published."""
    cues = {"0_cues": np.array([[0, 1, 2], [0, 1, 2], [0, 2, 1]]), "1_cues": np.array([[0, 1], [1, 2], [1, 0]])}
    (folder / "cues.pickle").write_bytes(pickle.dumps(cues, protocol=2))
    (folder / "ids.txt").write_text("one\ntwo")
    given_files = SeedSettings(cues=str(folder / "cues.pickle"), cue_ids=str(folder / "ids.txt"), cue_grid=3)
    return import_cues(DATA, given_files)


def signal_of_drawn_labels(_: Path, patch: pytest.MonkeyPatch) -> Stage:
    """What is counted of labels that no network had to find."""
    one, two = picture("0011", "0221", "0220"), picture("1100", "1100", "0000")
    watch_everything(patch, {"one": (one, one.flip(0), one.clamp(max=1)), "two": (two, two, 2 * two)})
    return measure_signal(plan_of(WATCHED, WATCHING), given("segmenter", lambda _: None), WATCHED_SEEDS)


class Golden(NamedTuple):
    """A stage or what plans it, the version it had when its result was recorded, and the digest of that result."""

    stage: Stage | Callable[[Path, pytest.MonkeyPatch], Stage]
    version: int
    digest: str
    data: DrawnDataset = DATA


GOLDEN = {
    "seeds": Golden(SEEDS, 7, "ca17377276e898bf"),
    "seeds by quantile": Golden(make_seeds(DATA, SEEDING_BY_QUANTILE, CAMS), 7, "fb87e9405382cd1e"),
    "seeds by agreement": Golden(make_seeds(DATA, SEEDING_BY_AGREEMENT, CAMS, crf=CRF), 7, "312fb580be9558ce"),
    "later seeds": Golden(make_network_seeds(DATA, LATER_SEEDING, SCORES, 1), 1, "fb838d66321dad0c"),
    "superpixels": Golden(make_superpixels(DATA, CUTTING), 1, "e2e02c7bc8211ef4"),
    "growing": Golden(refine("growing", Growing(GROWING, CRF), DATA, trail_of(SEEDS, SEEDS), 0), 1, "cdb05863878526fe"),
    "crf": Golden(refine("crf", Crf(CRF), DATA, trail_of(SCORES, SEEDS), 0), 1, "548aa9c1510ab23d"),
    "pseudo labels": Golden(PSEUDO_LABELS, 3, "d8fed36952873eb6"),
    "annotations": Golden(SETTLED, 5, "02574d9e70a95a52", ANNOTATED),
    "annotated seeds": Golden(ANNOTATED_SEEDS, 8, "a1acef341a001612", ANNOTATED),
    "annotated later seeds": Golden(
        make_network_seeds(ANNOTATED, LATER_SEEDING, BELIEFS, 1, SETTLED), 1, "788f2043993166e3", ANNOTATED
    ),
    "annotated pseudo labels": Golden(ANNOTATED_LABELS, 3, "01866230baf0fca5", ANNOTATED),
    "cues": Golden(imported_cues, 1, "930315381fb61052"),
    "price": Golden(price_annotations(ANNOTATED, COST), 2, "ec24c075fc3d3db8", ANNOTATED),
    "signal": Golden(signal_of_drawn_labels, 1, "6a4da458d6f7194f", WATCHED),
    "evaluate": Golden(evaluate(DATA, GUESSES, "train", boundary=True), 1, "9509d6dbf67d1b9a"),
    "evaluate cams": Golden(evaluate_cams(DATA, SEEDING, CAMS), 4, "12d5dc97eb1cdd77"),
}


def twentieths(values: Tensor) -> Tensor:
    # shifted, so that round numbers don't lie on the border between two steps
    return (values.double() * 20 + 0.37).floor().to(torch.int64)


def content_of(name: str, content: bytes) -> dict[str, Tensor]:
    """What a file says, in whole numbers."""
    if name.endswith(".png"):
        pixels = torch.from_numpy(np.array(PillowImage.open(io.BytesIO(content))).astype(np.int64))
        return {"pixels": twentieths(pixels / 255) if name.startswith("weights/") else pixels}
    if name.endswith(".json"):
        return {key: twentieths(torch.tensor(value)) for key, value in json.loads(content).items()}
    return {
        key: twentieths(value) if value.is_floating_point() else value.long() for key, value in load(content).items()
    }


def digest_of_content(artefact: Artefact) -> str:
    parts: list[str] = []
    for name in sorted(artefact.files):
        parts.append(name)
        for key, values in sorted(content_of(name, (artefact.folder / name).read_bytes()).items()):
            parts.append(f"{key} {tuple(values.shape)} {digest(values.numpy().astype('<i8').tobytes())}")
    return digest("\n".join(parts).encode())[:16]


@pytest.mark.parametrize("name", GOLDEN)
def test_a_result_changes_only_with_its_version(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    golden = GOLDEN[name]
    stage = golden.stage if isinstance(golden.stage, Stage) else golden.stage(tmp_path, monkeypatch)
    found = digest_of_content(finished(workbench(tmp_path, golden.data), stage))
    if stage.version == golden.version:
        assert found == golden.digest, (
            f"the result of '{stage.name}' has changed and its version has not: raise the version of the stage (of a "
            f"refiner: the version of its class) from {stage.version}, and record the new one here with {found!r}"
        )
    else:
        pytest.fail(f"'{stage.name}' has version {stage.version} now; record it here with {found!r}")


def test_a_digest_notices_a_single_pixel(tmp_path: Path) -> None:
    shown = picture("0011", "0221")
    other = shown.clone()
    other[1, 2] = 0
    digests = [
        digest_of_content(finished(workbench(tmp_path / str(number), DATA), given_labels("drawn", {"one": labels})))
        for number, labels in enumerate((shown, shown.clone(), other))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_the_last_bit_of_a_score_does_not_count(tmp_path: Path) -> None:
    scores = drawn((3, 6, 8), 5)
    digests = [
        digest_of_content(finished(workbench(tmp_path / str(number), DATA), given_scores("drawn", {"one": values})))
        for number, values in enumerate((scores, scores + 1e-6, scores + 0.05))
    ]
    assert digests[0] == digests[1] != digests[2]
