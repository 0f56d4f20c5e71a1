import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from tests.drawing import picture
from tests.stages.workshop import enlarged
from tests.tasks.scenes import SEGMENTER, Cues, sparse_task
from tests.tasks.toys import identical, train, weights
from wsss.errors import SettingsError
from wsss.functional.dsrg import DsrgSettings
from wsss.functional.settled import coarse_labels
from wsss.tasks.segmentation import predict_scores
from wsss.tasks.sparse import LOSSES, SparseTask
from wsss.tasks.sparse_settings import USUAL_WEIGHTS, SparseSettings
from wsss.types import IGNORE

EVERY = dict(USUAL_WEIGHTS)
UNTAUGHT = {"partial_cross_entropy", "balanced_seed", "box_tightness"}
"""Losses that have nothing to say where nothing is labelled."""


def batch_of(*, given: float = 0.1) -> dict[str, Tensor]:
    """Four views, each with a box around its thing."""
    batch = next(iter(Cues(given=given)))
    whole = next(iter(Cues(given=1.0)))["labels"]
    batch["boxes"] = torch.full((4, 3, 5), IGNORE)
    for number, shown in enumerate(whole):
        rows, columns = (shown > 0).nonzero().T
        corners = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
        batch["boxes"][number, 0] = torch.tensor([int(shown.max()), *(int(corner) for corner in corners)])
    return batch


def slopes(task: SparseTask, batch: dict[str, Tensor]) -> list[Tensor]:
    """Gradients of the mean losses."""
    total, count = task.losses(batch)
    task.zero_grad()
    (total / count.clamp(min=1e-12)).sum().backward()  # type: ignore[no-untyped-call]
    return [parameter.grad for parameter in task.parameters() if parameter.grad is not None]


def test_there_is_a_weight_for_every_loss_and_no_other() -> None:
    assert LOSSES.keys() == USUAL_WEIGHTS.keys()


@pytest.mark.parametrize("name", LOSSES)
def test_each_loss_is_a_number_that_pulls(name: str) -> None:
    task, batch = sparse_task({name: 1.0}), batch_of()
    total, count = task.losses(batch)
    assert total.shape == count.shape == (1,)
    assert total.isfinite()
    assert total > 0
    assert count > 0
    found = slopes(task, batch)
    assert all(slope.isfinite().all() for slope in found)
    assert any(slope.any() for slope in found)


@pytest.mark.parametrize("name", LOSSES)
def test_beside_the_image_no_loss_counts(name: str) -> None:
    task, batch = sparse_task({name: 1.0}), batch_of()
    batch["labels"][:], batch["weights"][:], batch["boxes"][:] = IGNORE, 0, IGNORE
    assert [part.item() for part in task.losses(batch)] == [0, 0]
    assert not any(slope.any() for slope in slopes(task, batch))


@pytest.mark.parametrize("name", LOSSES)
def test_of_views_without_labels_only_losses_of_the_others_speak(name: str) -> None:
    task, batch = sparse_task({name: 1.0}), batch_of(given=0.0)
    batch["boxes"][:] = IGNORE
    assert bool(task.losses(batch)[1] > 0) == (name not in UNTAUGHT)


def test_losses_add_up_by_their_weights_each_over_its_own_count() -> None:
    batch = batch_of()
    total, count = sparse_task(EVERY).losses(batch)
    alone = {name: sparse_task({name: 1.0}).losses(batch) for name in EVERY}
    expected = sum(EVERY[name] * float(part.detach() / number) for name, (part, number) in alone.items())
    assert float((total / count).sum().detach()) == pytest.approx(expected, rel=1e-5)
    counts = {name: float(number) for name, (_, number) in alone.items()}
    # pixels, images, cells of the grid without a label, boxes
    labelled = (batch["labels"] != IGNORE).sum()
    assert counts["partial_cross_entropy"] == labelled
    assert counts["dense_crf"] == counts["size"] == counts["box_tightness"] == 4
    coarse = coarse_labels(batch["labels"], (8, 8), classes=3)
    assert counts["tree_energy"] == counts["gated_crf"] == counts["entropy"] == (coarse == IGNORE).sum()


def test_the_loss_of_labelled_pixels_is_their_mean_cross_entropy() -> None:
    task, batch = sparse_task({"partial_cross_entropy": 0.5}), batch_of()
    total, count = task.losses(batch)
    logits = interpolate(task.network(batch["image"]), (32, 32), mode="bilinear", align_corners=False)
    torch.testing.assert_close((total / count)[0], 0.5 * cross_entropy(logits, batch["labels"], ignore_index=IGNORE))


class Rigid(nn.Module):
    """Logits are the image's channels at stride 4, ten times as large; so are the features."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(10.0))

    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.scale * interpolate(images, scale_factor=0.25, mode="area")
        return logits, logits


def rigid_task(name: str) -> SparseTask:
    network: nn.Module = Rigid()
    return SparseTask(network, SEGMENTER, SparseSettings(), {name: 1.0}, dsrg=DsrgSettings(stride=4))  # type: ignore[arg-type]


def drawn(*rows: str) -> dict[str, Tensor]:
    """A view whose channels are the labels drawn, one letter for each cell of the network."""
    shown = enlarged(picture(*rows), 4)
    return {
        "image": nn.functional.one_hot(shown.long(), 3).permute(2, 0, 1)[None].float(),
        "labels": torch.full((1, *shown.shape), IGNORE),
        "weights": torch.ones(1, *shown.shape),
        "tags": torch.tensor([[True, True]]),
        "known": torch.ones(1, 2, dtype=torch.bool),
        "boxes": torch.tensor([[[1, 4, 4, 12, 12], [IGNORE] * 5]]),
    }


def loss_of(name: str, batch: dict[str, Tensor]) -> float:
    total, count = rigid_task(name).losses(batch)
    return float((total / count).sum().detach())


def test_a_box_that_its_class_fills_costs_nothing_and_one_that_it_only_crosses_costs() -> None:
    assert loss_of("box_tightness", drawn("0000", "0110", "0110", "0000")) < 1e-3
    # the left column of the box meets nothing: one of four lines, at -log of the softmax and its floor
    nothing = -math.log(math.exp(-10) + 1e-4)
    assert loss_of("box_tightness", drawn("0000", "0010", "0010", "0000")) == pytest.approx(nothing / 4, rel=1e-3)
    assert loss_of("box_tightness", drawn("0000", "0000", "0000", "0000")) == pytest.approx(nothing, rel=1e-3)


def test_a_box_belongs_to_its_own_view() -> None:
    full, empty = drawn("0000", "0110", "0110", "0000"), drawn("0000", "0000", "0000", "0000")
    joined = {name: torch.cat([full[name], empty[name]]) for name in full}
    joined["boxes"][1] = IGNORE
    assert loss_of("box_tightness", joined) < 1e-3
    assert loss_of("box_tightness", {name: value.flip(0) for name, value in joined.items()}) < 1e-3


def test_classes_that_are_known_to_be_absent_cost_by_their_size_and_unknown_ones_nothing() -> None:
    batch = drawn("0000", "0110", "0110", "0000")
    assert loss_of("size", batch) < 1e-6
    batch["tags"] = torch.tensor([[False, True]])
    assert loss_of("size", batch) == pytest.approx(0.25**2, rel=1e-2)
    batch["known"] = torch.tensor([[False, True]])
    assert loss_of("size", batch) < 1e-6


def test_a_segmenter_learns_whole_things_from_labels_of_a_fiftieth_of_the_pixels(tmp_path: Path) -> None:
    eager = replace(SEGMENTER, learning_rate=5e-3)
    task = sparse_task({"partial_cross_entropy": 1.0, "tree_energy": 0.4}, eager)
    rows = train(task, tmp_path, loader=Cues(batches=12, given=0.02), epochs=3)
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    batch = next(iter(Cues(given=1.0)))
    with torch.no_grad():
        scores = predict_scores(task.network, batch["image"])
    found = interpolate(scores, (32, 32), mode="bilinear").argmax(dim=1)
    for label in range(3):
        assert (found == batch["labels"])[batch["labels"] == label].float().mean() > 0.7


@pytest.mark.parametrize("name", ["balanced_seed", "box_tightness"])
def test_a_class_that_has_sunk_far_is_pulled_up(name: str) -> None:
    task, batch = rigid_task(name), drawn("0000", "0000", "0000", "0000")
    batch["labels"][:] = 1
    scale = next(task.network.parameters())
    scale.data.fill_(20.0)
    total, count = task.losses(batch)
    (total / count).sum().backward()
    assert scale.grad is not None
    # how far the background leads is the whole loss, so less of it is as much less loss
    assert scale.grad.item() == pytest.approx(1, abs=1e-4)


def test_a_training_without_labels_has_loss_0_and_moves_no_weight(tmp_path: Path) -> None:
    task = sparse_task(dict.fromkeys(("partial_cross_entropy", "balanced_seed"), 1.0))
    before = weights(task)
    rows = train(task, tmp_path, loader=Cues(batches=2, given=0.0), epochs=1)
    assert [row["loss"] for row in rows] == [0.0]
    assert identical(weights(task), before)


def test_without_a_background_class_its_channel_does_not_learn(tmp_path: Path) -> None:
    every = {name: weight for name, weight in EVERY.items() if name != "box_tightness"}
    task = sparse_task(every, background=False)
    before = task.network.head.weight[0].detach().clone()
    rows = train(task, tmp_path, loader=Cues(background=False, batches=2), epochs=1)
    assert rows[0]["loss"] > 0
    assert torch.equal(task.network.head.weight[0], before)


def test_the_published_losses_are_those_that_the_labels_ask_for() -> None:
    assert SparseSettings().weights(["tree_energy", "partial_cross_entropy"]) == {
        "partial_cross_entropy": 1.0,
        "tree_energy": 0.4,
    }
    assert SparseSettings().weights([]) == {}


def test_a_weight_that_is_given_counts_whatever_the_labels_ask_for_and_0_leaves_out() -> None:
    settings = SparseSettings(tree_energy=0.0, entropy=0.5, partial_cross_entropy=2.0)
    assert settings.weights(["tree_energy", "partial_cross_entropy"]) == {"partial_cross_entropy": 2.0, "entropy": 0.5}
    assert settings.weights([]) == {"partial_cross_entropy": 2.0, "entropy": 0.5}


@pytest.mark.parametrize("name", USUAL_WEIGHTS)
def test_a_negative_weight_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name} must not be negative, or be null, got -0.1$"):
        SparseSettings(**{name: -0.1})  # type: ignore[arg-type]
