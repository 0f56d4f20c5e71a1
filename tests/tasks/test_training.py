import logging
import os
import signal
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.tasks.toys import ToyLoader, ToyTask, identical, toy_task, train, weights
from wsss import ranks
from wsss.errors import SettingsError, StageError
from wsss.ranks import World
from wsss.tasks.base import Metrics
from wsss.tasks.checkpoints import CHECKPOINT
from wsss.tasks.settings import TrainerSettings
from wsss.tasks.training import _synchronised, fit

CPU = TrainerSettings(accelerator="cpu")


class KilledError(Exception):
    pass


def kill_after(epoch: int) -> Any:
    def report(row: Metrics) -> None:
        if row["epoch"] == epoch:
            raise KilledError

    return report


@pytest.mark.parametrize("epoch", [0, 1, 2, 3])
def test_a_run_killed_after_any_epoch_ends_with_the_weights_of_an_undisturbed_one(tmp_path: Path, epoch: int) -> None:
    undisturbed = toy_task(restless=True, gradient_clip=0.5, warmup=0.2)
    rows = train(undisturbed, tmp_path / "undisturbed")
    killed = toy_task(restless=True, gradient_clip=0.5, warmup=0.2)
    with pytest.raises(KilledError):
        train(killed, tmp_path / "killed", on_metrics=kill_after(epoch))
    resumed, loader = toy_task(restless=True, gradient_clip=0.5, warmup=0.2), ToyLoader()
    later = train(resumed, tmp_path / "killed", loader=loader)
    assert identical(weights(resumed), weights(undisturbed))
    assert loader.read == list(range(epoch + 1, 4))
    assert later == rows[epoch + 1 :]
    assert resumed.history == rows == undisturbed.history


def test_a_finished_training_is_not_trained_again(tmp_path: Path) -> None:
    first, again, loader = toy_task(), toy_task(), ToyLoader()
    train(first, tmp_path)
    assert train(again, tmp_path, loader=loader) == []
    assert loader.read == []
    assert identical(weights(again), weights(first))


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    tasks = [toy_task(restless=True) for _ in range(3)]
    for number, (task, seed) in enumerate(zip(tasks, [3, 3, 4], strict=True)):
        torch.rand(number)  # what was drawn before must not matter
        train(task, tmp_path / str(number), seed=seed)
    assert identical(weights(tasks[0]), weights(tasks[1]))
    assert not identical(weights(tasks[0]), weights(tasks[2]))


def test_training_learns(tmp_path: Path) -> None:
    rows = train(toy_task(), tmp_path, loader=ToyLoader(batches=20, size=32))
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    assert [row["step"] for row in rows] == [20, 40, 60, 80]


def test_the_reported_loss_is_the_mean_over_all_that_counts(tmp_path: Path) -> None:
    task = toy_task(learning_rate=1e-12)
    batches = list(ToyLoader())
    values, labels = (torch.cat(part) for part in zip(*batches, strict=True))
    with torch.no_grad():
        expected = torch.nn.functional.cross_entropy(task.network(values), labels, ignore_index=255)
    assert train(task, tmp_path, epochs=1)[0]["loss"] == pytest.approx(float(expected), rel=1e-5)


def test_batches_in_which_nothing_counts_have_loss_0_and_move_no_weight(tmp_path: Path) -> None:
    task = toy_task(weight_decay=0.0)
    before = weights(task)
    rows = train(task, tmp_path, loader=ToyLoader(known=-1.0))
    assert [row["loss"] for row in rows] == [0.0] * 4
    assert identical(weights(task), before)


class Exploding(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return values * float("nan")


def test_a_loss_that_is_no_number_stops_the_training_and_leaves_no_checkpoint(tmp_path: Path) -> None:
    task = toy_task()
    task.network.append(Exploding())  # type: ignore[operator]
    with pytest.raises(StageError, match=r"loss of the toy is nan in epoch 0; lower its learning_rate"):
        train(task, tmp_path, description="the toy")
    assert not (tmp_path / CHECKPOINT).exists()


def test_nothing_to_train_on_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="the toy has nothing to train on"):
        train(toy_task(), tmp_path, loader=ToyLoader(batches=0), description="the toy")


def test_lightning_says_nothing_and_leaves_nothing_behind(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    talk = logging.getLogger("pytorch_lightning")
    level = talk.level
    train(toy_task(), tmp_path / "folder")
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in tmp_path.rglob("*")] == ["elsewhere", "folder", CHECKPOINT]
    assert talk.level == level


def test_each_step_is_reported_also_after_a_resumption(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []

    def count(done: int, total: int) -> None:
        steps.append((done, total))

    with pytest.raises(KilledError):
        train(toy_task(), tmp_path, on_metrics=kill_after(1))
    train(toy_task(), tmp_path, on_step=count)
    assert steps == [(done, 16) for done in range(9, 17)]


def test_ctrl_c_arrives_as_keyboard_interrupt_and_works_again_afterwards(tmp_path: Path) -> None:
    handler = signal.getsignal(signal.SIGINT)

    def interrupt(done: int, total: int) -> None:  # noqa: ARG001
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(toy_task(), tmp_path, on_step=interrupt)
    assert signal.getsignal(signal.SIGINT) is handler
    assert train(toy_task(), tmp_path)[0]["epoch"] == 1


def test_sigterm_does_what_it_did_before(tmp_path: Path) -> None:
    received = []

    def notice(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        received.append(number)

    def terminate(done: int, total: int) -> None:  # noqa: ARG001
        if done == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, notice)
    try:
        rows = train(toy_task(), tmp_path, on_step=terminate)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM]
    assert len(rows) == 4


def test_the_network_comes_back_on_the_cpu_and_in_evaluation_mode(tmp_path: Path) -> None:
    task = toy_task(restless=True)
    train(task, tmp_path)
    assert not any(module.training for module in task.modules())
    assert {parameter.device.type for parameter in task.parameters()} == {"cpu"}


class Strange(ToyTask):
    """Remembers in what arithmetic its network computes."""

    dtypes: set[torch.dtype]

    def losses(self, batch: Any) -> tuple[Tensor, Tensor]:
        self.dtypes = {self.network(batch[0]).dtype}
        return super().losses(batch)


@pytest.mark.parametrize(("precision", "dtype"), [("32-true", torch.float32), ("bf16-mixed", torch.bfloat16)])
def test_the_network_computes_in_the_precision_asked_for(tmp_path: Path, precision: str, dtype: torch.dtype) -> None:
    task = toy_task(kind=Strange)
    fit(task, ToyLoader(), CPU, epochs=1, folder=tmp_path, seed=0, precision=precision)
    assert task.dtypes == {dtype}
    assert {parameter.dtype for parameter in task.parameters()} == {torch.float32}


def test_live_batch_norm_is_refused_for_several_processes_on_cpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranks, "world", lambda: World(0, 2))
    task = toy_task()
    task.network.append(nn.BatchNorm1d(3))  # type: ignore[operator]
    with pytest.raises(SettingsError, match="freeze_batchnorm must be true for 2 processes on CPUs, got false"):
        fit(task, ToyLoader(), CPU, epochs=1, folder=tmp_path, seed=0)


class NormWithActivation(nn.BatchNorm1d):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).relu()


def test_batch_norm_that_computes_more_than_torchs_is_not_replaced_by_torchs() -> None:
    task = toy_task()
    task.network.append(NormWithActivation(3))  # type: ignore[operator]
    message = "freeze_batchnorm must be true for 2 processes and a network with NormWithActivation, got false"
    with pytest.raises(SettingsError, match=message), _synchronised(task, torch.device("cuda"), World(0, 2)):
        pass
