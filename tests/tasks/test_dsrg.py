from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from tests.drawing import picture
from tests.tasks.scenes import SEGMENTER, Cues, dsrg_task
from tests.tasks.toys import identical, train, weights
from wsss.errors import StageError
from wsss.functional.dense_crf import CrfSettings
from wsss.functional.dsrg import DsrgSettings, grow_online
from wsss.functional.losses import balanced_seed_loss, constrain_loss, floored_softmax
from wsss.functional.settled import coarse_labels
from wsss.tasks.base import Metrics
from wsss.tasks.dsrg import DsrgTask
from wsss.tasks.segmentation import predict_scores
from wsss.types import IGNORE


def test_a_segmenter_learns_whole_things_from_seeds_in_a_tenth_of_the_cells(tmp_path: Path) -> None:
    task = dsrg_task()
    rows = train(task, tmp_path, loader=Cues(batches=12), epochs=5)
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    batch = next(iter(Cues(given=1.0)))
    with torch.no_grad():
        scores = predict_scores(task.network, batch["image"])
    found = interpolate(scores, (32, 32), mode="bilinear").argmax(dim=1)
    for label in range(3):
        assert (found == batch["labels"])[batch["labels"] == label].float().mean() > 0.65


def test_the_loss_is_that_of_the_grown_seeds_and_the_pull_image_by_image() -> None:
    dsrg = DsrgSettings(stride=4, foreground_threshold=0.4, background_threshold=0.4, constrain_weight=0.3)
    task, batch = dsrg_task(dsrg=dsrg), next(iter(Cues()))
    batch["labels"][2] = IGNORE
    total, count = task.losses(batch)
    logits = interpolate(task.network(batch["image"]), (8, 8), mode="bilinear", align_corners=False)
    coarse = coarse_labels(batch["labels"], (8, 8), classes=3)
    expected, grew = torch.zeros(()), 0
    for place in (0, 1, 3):
        shares = floored_softmax(logits[place : place + 1])
        seeds = coarse[place : place + 1]
        possible = torch.cat([torch.tensor([True]), batch["tags"][place]])[None]
        refined, grown = grow_online(shares.detach(), seeds, batch["image"][place : place + 1], possible, dsrg)
        grew += int((grown != seeds).sum())
        expected += balanced_seed_loss(shares, grown)[0]
        expected += 0.3 * constrain_loss(shares, refined, torch.ones(1, 8, 8) > 0)[0]
    assert grew
    # the image without a seed does not count
    assert count == 3
    torch.testing.assert_close(total, expected)


class Drawn(nn.Module):
    """Logits are the image's channels, ten times as large."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, images: Tensor) -> Tensor:
        return self.scale * images


SURE = DsrgSettings(stride=1, crf=CrfSettings(gaussian_compat=0.0, bilateral_compat=0.0))


def shown(*rows: str) -> dict[str, Tensor]:
    """An image whose channels are the labels drawn, with tags for all of them and no seeds."""
    drawn = picture(*rows)
    image = torch.nn.functional.one_hot(drawn.long(), 3).permute(2, 0, 1)[None].float()
    return {
        "image": image,
        "labels": torch.full((1, *drawn.shape), IGNORE),
        "weights": torch.ones(1, *drawn.shape),
        "tags": torch.ones(1, 2, dtype=torch.bool),
        "known": torch.ones(1, 2, dtype=torch.bool),
    }


def seed_loss(batch: dict[str, Tensor]) -> float:
    dsrg = DsrgSettings(stride=1, constrain_weight=0.0, crf=SURE.crf)
    total, _ = DsrgTask(Drawn(), SEGMENTER, dsrg).losses(batch)
    return float(total.detach())


def test_a_seed_that_grows_over_what_it_knows_already_costs_nothing_more() -> None:
    batch = shown("0011", "0011")
    batch["labels"][0, 0, 3] = 1
    right = seed_loss(batch)
    assert right < 1e-3
    # the background says 1 here: a wrong seed stays what it is, and costs
    batch["labels"][0, 1, 0] = 1
    assert seed_loss(batch) > 1


def test_nothing_beside_the_image_counts() -> None:
    batch = shown("0011", "0011")
    batch["labels"][0, 0, 2] = 1
    batch["weights"][0, :, 3] = 0
    task = DsrgTask(Drawn(), SEGMENTER, SURE)
    before = [float(value.detach()) for value in task.losses(batch)]
    batch["image"][0, :, :, 3] = torch.tensor([0.0, 0.0, 1.0])[:, None]
    assert [float(value.detach()) for value in task.losses(batch)] == pytest.approx(before)
    batch["weights"][0, :, 3] = 1
    assert float(task.losses(batch)[0].detach()) != pytest.approx(before[0])


def test_unknown_tags_rule_nothing_out_and_known_ones_do(monkeypatch: pytest.MonkeyPatch) -> None:
    batch, told = shown("0011", "0022"), []

    def noted(*given: Tensor, **others: Any) -> tuple[Tensor, Tensor]:
        told.append(given[3].tolist())
        return grow_online(*given, **others)  # type: ignore[arg-type]

    monkeypatch.setattr("wsss.tasks.dsrg.grow_online", noted)
    batch["tags"] = torch.tensor([[True, False]])
    task = DsrgTask(Drawn(), SEGMENTER, SURE)
    task.losses(batch)
    batch["known"][:] = False
    task.losses(batch)
    assert told == [[[True, True, False]], [[True, True, True]]]


def test_a_batch_without_seeds_has_loss_0_and_moves_no_weight(tmp_path: Path) -> None:
    task = dsrg_task()
    before = weights(task)
    rows = train(task, tmp_path, loader=Cues(batches=2, given=0.0), epochs=1)
    assert [row["loss"] for row in rows] == [0.0]
    assert identical(weights(task), before)


def test_without_a_background_class_its_channel_does_not_learn(tmp_path: Path) -> None:
    task = dsrg_task(background=False)
    before = task.network.head.weight[0].detach().clone()  # type: ignore[union-attr, index]
    rows = train(task, tmp_path, loader=Cues(background=False, batches=2), epochs=1)
    assert rows[0]["loss"] > 0
    assert torch.equal(task.network.head.weight[0], before)  # type: ignore[union-attr, index]


def test_a_training_that_was_killed_goes_on_to_the_very_same_weights(tmp_path: Path) -> None:
    undisturbed, resumed = dsrg_task(), dsrg_task()
    train(undisturbed, tmp_path / "undisturbed", loader=Cues(batches=2), epochs=2)

    def kill(row: Metrics) -> None:  # noqa: ARG001
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(dsrg_task(), tmp_path / "killed", loader=Cues(batches=2), epochs=2, on_metrics=kill)
    train(resumed, tmp_path / "killed", loader=Cues(batches=2), epochs=2)
    assert [row["epoch"] for row in resumed.history] == [0, 1]
    assert identical(weights(resumed), weights(undisturbed))


def test_a_network_that_loses_its_numbers_is_told_by_its_loss(tmp_path: Path) -> None:
    task = dsrg_task()
    nn.init.constant_(task.network.head.bias, torch.inf)  # type: ignore[arg-type, union-attr]
    with pytest.raises(StageError, match="lower its learning_rate or set its gradient_clip"):
        train(task, tmp_path, loader=Cues(batches=1), epochs=1)
