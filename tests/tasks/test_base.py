import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.tasks.toys import ToyLoader, toy_task, train
from wsss.tasks.base import ImageTask, decayed_groups, make_optimizer, rate_factor
from wsss.tasks.settings import ImageLearningSettings, LearningSettings


def test_poly_falls_as_in_the_paper() -> None:
    settings = LearningSettings(schedule="poly", power=0.9)
    assert rate_factor(0.0, settings) == 1
    assert rate_factor(0.5, settings) == pytest.approx(0.5**0.9)
    assert rate_factor(1.0, settings) == 0


def test_cosine_is_half_way_in_the_middle_and_constant_stays() -> None:
    assert rate_factor(0.5, LearningSettings(schedule="cosine")) == pytest.approx(0.5)
    assert rate_factor(1 / 3, LearningSettings(schedule="cosine")) == pytest.approx((1 + math.cos(math.pi / 3)) / 2)
    assert rate_factor(0.99, LearningSettings(schedule="constant")) == 1


def test_a_warm_up_rises_first_and_leaves_the_rest_to_the_schedule() -> None:
    settings = LearningSettings(schedule="poly", power=1.0, warmup=0.2)
    assert [rate_factor(progress, settings) for progress in (0.0, 0.1, 0.2, 0.6, 1.0)] == pytest.approx(
        [0.0, 0.5, 1.0, 0.5, 0.0]
    )


def test_the_step_width_follows_the_schedule_step_by_step(tmp_path: Path) -> None:
    rows = train(toy_task(schedule="poly", power=1.0, learning_rate=0.08), tmp_path)
    # 16 steps; after 4, 8, 12 and 16 of them
    assert [row["learning_rate"] for row in rows] == pytest.approx([0.06, 0.04, 0.02, 0.0])


def test_norms_and_biases_do_not_decay_and_frozen_weights_are_left_out() -> None:
    network = nn.ModuleDict({"backbone": nn.Linear(3, 2), "norm": nn.LayerNorm(2), "frozen": nn.Linear(2, 2)})
    network["frozen"].requires_grad_(False)
    settings = LearningSettings(learning_rate=0.1, weight_decay=0.3)
    groups = decayed_groups(network.named_parameters(), lambda name: 1.0 if "backbone" in name else 5.0, settings)
    found = [(group["lr"], group["weight_decay"], [tuple(p.shape) for p in group["params"]]) for group in groups]
    assert found == [(0.1, 0.3, [(2, 3)]), (0.1, 0.0, [(2,)]), (0.5, 0.0, [(2,), (2,)])]


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Conv2d(3, 4, 1, bias=False)
        self.head = nn.Conv2d(4, 2, 1, bias=False)


class PairTask(ImageTask):
    def losses(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.head(self.network.backbone(batch)).sum(), batch.sum()  # type: ignore[operator]


def test_the_head_of_an_image_task_takes_wider_steps_and_its_weights_are_channels_last() -> None:
    task = PairTask(Pair(), ImageLearningSettings(learning_rate=0.1, head_multiplier=10.0))
    assert [group["lr"] for group in task.parameter_groups()] == pytest.approx([0.1, 1.0])
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in task.parameters())


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_optimizers_step_as_torch_without_fusion_does(name: str) -> None:
    torch.manual_seed(0)
    start, gradients = torch.randn(5, 4), torch.randn(6, 5, 4)
    settings = LearningSettings(optimizer=name, learning_rate=0.1, weight_decay=0.2, momentum=0.8)
    ours, theirs = (nn.Parameter(start.clone()) for _ in range(2))
    optimizer = make_optimizer(decayed_groups([("w", ours)], lambda _: 1.0, settings), settings)
    oracle: torch.optim.Optimizer = (
        torch.optim.AdamW([theirs], lr=0.1, weight_decay=0.2, foreach=False)
        if name == "adamw"
        else torch.optim.SGD([theirs], lr=0.1, weight_decay=0.2, momentum=0.8, foreach=False)
    )
    for gradient in gradients:
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        optimizer.step()
        oracle.step()
    torch.testing.assert_close(ours, theirs)


def test_long_gradients_are_shortened(tmp_path: Path) -> None:
    task = toy_task(optimizer="sgd", momentum=0.0, weight_decay=0.0, learning_rate=1.0, schedule="constant")
    before = torch.cat([parameter.detach().flatten().clone() for parameter in task.parameters()])
    task.settings = LearningSettings(**{**vars(task.settings), "gradient_clip": 0.01})
    train(task, tmp_path, epochs=1, loader=ToyLoader(batches=1))
    after = torch.cat([parameter.detach().flatten() for parameter in task.parameters()])
    assert float((after - before).norm()) == pytest.approx(0.01, rel=1e-3)
