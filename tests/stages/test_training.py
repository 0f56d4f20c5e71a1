from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.drawing import picture
from tests.stages.workshop import DrawnDataset, Quiet, enlarged, workbench
from wsss import ranks
from wsss.ranks import World
from wsss.stages.networks import WEIGHTS_FILE
from wsss.stages.training import keep_network, loading, steps_of, train
from wsss.store import Artefact
from wsss.tasks.base import Task
from wsss.tasks.settings import ImageLearningSettings, LearningSettings

DATA = DrawnDataset({"one": enlarged(picture("01"), 8)})


class Line(Task):
    """Learns that the answer is 1."""

    def losses(self, batch: Any) -> tuple[Tensor, Tensor]:
        return (self.network(batch) - 1).square().sum(), torch.tensor(float(len(batch)))


def line(epochs: int = 3) -> Line:
    torch.manual_seed(0)
    return Line(nn.Linear(2, 1), LearningSettings(epochs=epochs, learning_rate=0.1))


class Batches:
    """Two batches an epoch."""

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Any:
        return iter(torch.rand(2, 4, 2, generator=torch.Generator().manual_seed(self.epoch)))


def test_the_bar_is_as_long_as_the_schedule(tmp_path: Path) -> None:
    bench, out = workbench(tmp_path, DATA), Artefact(tmp_path / "out")
    train(line(), Batches(), bench, out, steps=6, description="line")
    assert isinstance(bench.watcher, Quiet)
    assert bench.watcher.bars == [("training the line", 6)]
    assert bench.watcher.done == 6
    assert [row["epoch"] for row in bench.watcher.rows] == [0, 1, 2]


def test_what_is_kept_are_the_final_weights_and_a_row_an_epoch(tmp_path: Path) -> None:
    bench, out, task = workbench(tmp_path, DATA), Artefact(tmp_path / "out"), line()
    train(task, Batches(), bench, out, steps=6, description="line")
    keep_network(task, out)
    assert out.progress.exists()
    out.finish("line", "key", 1)
    assert not out.progress.exists()
    kept = out.read_tensors(WEIGHTS_FILE)
    assert torch.equal(kept["weight"], task.network.state_dict()["weight"])
    assert not torch.equal(kept["weight"], line().network.state_dict()["weight"])
    assert len(out.read_json("history.json")) == 3


def test_a_training_that_was_cut_short_goes_on(tmp_path: Path) -> None:
    bench, out = workbench(tmp_path, DATA), Artefact(tmp_path / "out")
    whole, half = line(), line()

    class Stopped(Batches):
        def set_epoch(self, epoch: int) -> None:
            if epoch == 2:
                raise KeyboardInterrupt
            super().set_epoch(epoch)

    with pytest.raises(KeyboardInterrupt):
        train(half, Stopped(), bench, out, steps=6, description="line")
    rest = line()
    train(rest, Batches(), bench, out, steps=6, description="line")
    train(whole, Batches(), bench, Artefact(tmp_path / "other"), steps=6, description="line")
    assert torch.equal(rest.network.state_dict()["weight"], whole.network.state_dict()["weight"])
    assert rest.history == whole.history
    assert isinstance(bench.watcher, Quiet)
    # 4 before it was cut short; the bar of the second attempt begins where the first ended
    assert bench.watcher.done == 4 + 6 + 6


def test_only_the_first_process_writes_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "world", lambda: World(1, 2))
    out = Artefact(tmp_path / "out")
    keep_network(line(), out)
    assert not out.folder.exists()


@pytest.mark.parametrize(("images", "steps"), [(1, 3), (16, 3), (17, 6), (32, 6)])
def test_an_epoch_is_filled_up_to_whole_batches(images: int, steps: int) -> None:
    assert steps_of(images, LearningSettings(epochs=3, batch_size=16)) == steps


def test_a_loader_is_told_of_settings_and_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "world", lambda: World(1, 4))
    settings = ImageLearningSettings(crop=48, scale=(0.7, 1.1), flip=False, jitter=0.3, batch_size=12)
    told = loading(workbench(tmp_path, DATA), settings)
    assert (told["batch_size"], told["seed"], told["rank"], told["world_size"]) == (12, 0, 1, 4)
    transform = told["transform"]
    assert (transform.crop, transform.scale, transform.flip, transform.jitter) == (48, (0.7, 1.1), False, 0.3)
