from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.drawing import picture
from tests.stages.workshop import DrawnDataset, enlarged, finished, given_labels, given_scores, trail_of, workbench
from wsss.stages.base import Stage
from wsss.stages.make_pseudo_labels import make_pseudo_labels
from wsss.stages.materials import Trail, read_target
from wsss.stages.settings import PseudoLabelSettings
from wsss.types import LabelMap

SIZE = (8, 16)
DATA = DrawnDataset({"one": enlarged(picture("01"), 8)})
LABELS = enlarged(picture("01"), 8)
SURE = torch.tensor([[0.9, 0.9, 0.4, 0.4], [0.9, 0.9, 0.4, 0.4]])
"""The best score at a quarter of the size: 0.9 on the left, 0.4 on the right."""


def stages(sparse: bool = False) -> Trail:
    scores = given_scores("scores", {"one": torch.stack([SURE, 0.5 * SURE, 0.1 * SURE])})
    labels = given_labels("seeds" if sparse else "crf", {"one": LABELS})
    seeds = given_labels("seeds", {"one": LABELS})
    return trail_of(scores, labels) if sparse else trail_of(scores, seeds, labels)


def made(folder: Path, settings: PseudoLabelSettings, trail: Trail) -> tuple[LabelMap, Tensor | None]:
    stage = make_pseudo_labels(DATA, settings, trail, 0)
    return read_target(finished(workbench(folder, DATA), stage), "one")


def test_unsure_pixels_are_left_out(tmp_path: Path) -> None:
    labels, _ = made(tmp_path, PseudoLabelSettings(ignore_below=0.7), stages())
    # the step from 0.9 to 0.4 lies in the middle; two pixels on its left, 7/8 and 5/8 of the way, are 0.8375 and 0.7125
    assert labels[0].tolist() == picture("00000000" + "........")[0].tolist()
    labels, _ = made(tmp_path, PseudoLabelSettings(ignore_below=0.8), stages())
    assert labels[0].tolist() == picture("0000000." + "........")[0].tolist()


def test_with_no_bound_every_pixel_keeps_its_label(tmp_path: Path) -> None:
    labels, _ = made(tmp_path, PseudoLabelSettings(ignore_below=0.0), stages())
    assert torch.equal(labels, LABELS)


def test_a_pixel_weighs_its_best_score(tmp_path: Path) -> None:
    _, weights = made(tmp_path, PseudoLabelSettings(), stages())
    assert weights is not None
    assert weights.shape == SIZE
    step = [0.9] * 6 + [0.8375, 0.7125, 0.5875, 0.4625] + [0.4] * 6
    torch.testing.assert_close(weights, torch.tensor(step).expand(SIZE), atol=0.003, rtol=0)


def test_where_two_sure_labels_meet_neither_is_sure(tmp_path: Path) -> None:
    left = torch.tensor([[1.0, 1.0, 0.0, 0.0]]).expand(2, 4)
    scores = given_scores("scores", {"one": torch.stack([left, 1 - left, 0 * left])})
    seeds, labels = (given_labels(name, {"one": LABELS}) for name in ("seeds", "crf"))
    _, weights = made(tmp_path, PseudoLabelSettings(), trail_of(scores, seeds, labels))
    assert weights is not None
    # halfway between cells of one label all, towards one of the other 7/8 and 5/8
    torch.testing.assert_close(
        weights[0, 4:12], torch.tensor([1, 1, 0.875, 0.625, 0.625, 0.875, 1, 1]), atol=5e-3, rtol=0
    )


def test_without_confidence_there_are_no_weights(tmp_path: Path) -> None:
    labels, weights = made(tmp_path, PseudoLabelSettings(confidence_weights=False, ignore_below=0.7), stages())
    assert weights is None
    assert (labels == 255).any()


def test_sparse_labels_are_taken_as_sure(tmp_path: Path) -> None:
    labels, weights = made(tmp_path, PseudoLabelSettings(ignore_below=0.99), stages(sparse=True))
    assert torch.equal(labels, LABELS)
    assert weights is not None
    assert (weights == 1).all()


def test_what_was_unknown_stays_unknown(tmp_path: Path) -> None:
    sparse = enlarged(picture(".1"), 8)
    trail = trail_of(given_scores("scores", {}), given_labels("seeds", {"one": sparse}))
    assert torch.equal(made(tmp_path, PseudoLabelSettings(), trail)[0], sparse)


def reads(trail: Trail) -> dict[str, Stage]:
    return dict(make_pseudo_labels(DATA, PseudoLabelSettings(), trail, 0).reads)


def test_scores_are_read_only_where_they_made_the_labels() -> None:
    dense, sparse = stages(), stages(sparse=True)
    assert reads(dense) == {"labels": dense.labels, "scores": dense.scores}
    assert reads(sparse) == {"labels": sparse.seeds}


@pytest.mark.parametrize(
    "changed", [PseudoLabelSettings(ignore_below=0.3), PseudoLabelSettings(confidence_weights=False)]
)
def test_every_setting_changes_the_key(changed: PseudoLabelSettings) -> None:
    trail = stages()
    before = make_pseudo_labels(DATA, PseudoLabelSettings(), trail, 0)
    assert make_pseudo_labels(DATA, changed, trail, 0).key != before.key
    assert make_pseudo_labels(DATA, PseudoLabelSettings(), trail, 3).key == before.key
