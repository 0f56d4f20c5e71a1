"""Several gloo processes, started once for the whole module; each leaves what it found in a file."""

import contextlib
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import start_processes

from tests.tasks.scenes import (
    Cues,
    Halves,
    HeldOut,
    Squares,
    classification_task,
    dsrg_task,
    segmentation_task,
    sparse_task,
)
from tests.tasks.toys import LonelyTask, ToyLoader, identical, toy_task, train, weights
from wsss.tasks.base import Task
from wsss.tasks.settings import ClassifierSettings, SegmenterSettings
from wsss.tasks.strategy import copy_from_first, sum_gradients

Found = dict[str, Any]


class KilledError(Exception):
    pass


def plain(rank: int, world: int, folder: Path) -> Found:
    task = toy_task(gradient_clip=1.0)
    rows = train(task, folder / "plain", loader=ToyLoader(rank=rank, world=world))
    return {"rows": rows, "history": task.history, "weights": weights(task)}


def hardly_known(rank: int, world: int, folder: Path) -> Found:
    """So few labels count that a process often has none in its part of the batch."""
    task = toy_task()
    train(task, folder / "hardly", loader=ToyLoader(rank=rank, world=world, known=0.15))
    return {"history": task.history, "weights": weights(task)}


def resumed(rank: int, world: int, folder: Path) -> Found:
    """Go on from a checkpoint of the same processes, two of whose four epochs are done."""
    task = toy_task(gradient_clip=1.0)
    path = folder / "plain" / "last.ckpt"
    undisturbed = weights(_trained(path, task))
    killed = toy_task(gradient_clip=1.0)
    loader = ToyLoader(rank=rank, world=world)
    halfway = folder / "resumed"
    with contextlib.suppress(KilledError):
        train(killed, halfway, loader=loader, on_step=_stop_at(9))
    if world > 1:
        distributed.barrier()
    task = toy_task(gradient_clip=1.0)
    train(task, halfway, loader=loader)
    return {"same": identical(weights(task), undisturbed), "read": loader.read}


def _trained(path: Path, task: Task) -> Task:
    task.load_state_dict(torch.load(path, weights_only=True)["state_dict"])
    return task


def _stop_at(step: int) -> Callable[[int, int], None]:
    def stop(done: int, total: int) -> None:  # noqa: ARG001
        if done == step:
            raise KilledError

    return stop


def restless(rank: int, world: int, folder: Path) -> Found:
    """Every process draws noise of its own."""
    task = toy_task(restless=True)
    train(task, folder / "restless", loader=ToyLoader(rank=rank, world=world))
    return {"noise": torch.rand(1), "weights": weights(task)}


def lonely(rank: int, world: int, folder: Path) -> Found:
    task = toy_task(restless=True, kind=LonelyTask)
    loader = ToyLoader()
    train(task, folder / "lonely", loader=loader)
    return {"weights": weights(task), "read": loader.read, "rank": rank, "world": world}


class Shared:
    """Deals the samples of each global batch out to the processes."""

    def __init__(self, whole: Any, rank: int, world: int) -> None:
        self.whole, self.rank, self.world = whole, rank, world

    def set_epoch(self, epoch: int) -> None:
        self.whole.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.whole)

    def __iter__(self) -> Any:
        for batch in self.whole:
            yield {name: value.tensor_split(self.world)[self.rank] for name, value in batch.items()}


def classifier(rank: int, world: int, folder: Path) -> Found:
    """With SGD: AdamW makes a visible step of a gradient that is hardly more than rounding."""
    task = classification_task(ClassifierSettings(optimizer="sgd", learning_rate=0.01))
    loader = Shared(Squares(batches=3, known=0.6), rank, world)
    rows = train(task, folder / "classifier", loader=loader, epochs=2)
    held_out = [{name: value[:1] for name, value in batch.items()} for batch in Squares(batches=3)]
    measured = classification_task()
    # three images on two or three processes, none of them twice
    data = HeldOut(held_out[rank::world])
    train(measured, folder / "measured", loader=data, epochs=1)
    return {"rows": rows, "weights": weights(task), "map": measured.history[0]["held_out_map"]}


def segmenter(rank: int, world: int, folder: Path) -> Found:
    task = segmentation_task(SegmenterSettings(optimizer="sgd", learning_rate=0.01))
    train(task, folder / "segmenter", loader=Shared(Halves(batches=3), rank, world), epochs=2)
    return {"weights": weights(task), "history": task.history}


def dsrg(rank: int, world: int, folder: Path) -> Found:
    """So few seeds that many a view has none."""
    task = dsrg_task(SegmenterSettings(optimizer="sgd", learning_rate=0.01))
    train(task, folder / "dsrg", loader=Shared(Cues(batches=3, given=0.01), rank, world), epochs=2)
    return {"weights": weights(task), "history": task.history}


def sparse(rank: int, world: int, folder: Path) -> Found:
    """Losses of single pixels, of all others and of whole images, each counted apart; some views have no label."""
    weights_of = {"partial_cross_entropy": 1.0, "tree_energy": 0.4, "gated_crf": 0.1, "size": 0.3}
    task = sparse_task(weights_of, SegmenterSettings(optimizer="sgd", learning_rate=0.01))
    train(task, folder / "sparse", loader=Shared(Cues(batches=3, given=0.01), rank, world), epochs=2)
    return {"weights": weights(task), "history": task.history}


def gradients(rank: int, world: int, folder: Path) -> Found:  # noqa: ARG001
    """One parameter is used by all, one by the last process only, one by nobody, one is frozen."""
    parameters = [nn.Parameter(torch.zeros(2, 3)) for _ in range(4)]
    parameters[0].grad = torch.full((2, 3), rank + 1.0)
    parameters[1].grad = torch.full((2, 3), 5.0) if rank == world - 1 else None
    parameters[3].requires_grad_(False)
    if world > 1:
        sum_gradients(parameters)
        sum_gradients([])
    layer = nn.Conv2d(2, 3, 1).to(memory_format=torch.channels_last)
    nn.init.constant_(layer.weight, rank + 7.0)
    if world > 1:
        copy_from_first(layer)
    return {"gradients": [parameter.grad for parameter in parameters], "copied": layer.weight.detach()}


JOBS = (plain, hardly_known, resumed, restless, lonely, classifier, segmenter, dsrg, sparse, gradients)


def work(rank: int, folders: dict[int, Path]) -> None:
    """Find everything in a world of three processes, then let two of them do so again."""
    torch.set_num_threads(1)
    for world, folder in folders.items():
        if rank < world:
            distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
            find(rank, world, folder)
            distributed.destroy_process_group()


def find(rank: int, world: int, folder: Path) -> None:
    torch.save({job.__name__: job(rank, world, folder) for job in JOBS}, folder / f"found{rank}.pt")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[dict[str, Found]]]:
    """What each process of worlds of 1, 2 and 3 found."""
    folders = {world: tmp_path_factory.mktemp(f"world{world}") for world in (1, 3, 2)}
    # one server imports everything once and forks before anything has run in it
    multiprocessing.get_context("forkserver").set_forkserver_preload([__name__])
    others = {world: folder for world, folder in folders.items() if world > 1}
    processes = start_processes(work, (others,), 3, join=False, start_method="forkserver")  # type: ignore[no-untyped-call]
    find(0, 1, folders[1])
    while not processes.join():
        pass
    return {
        world: [torch.load(folder / f"found{rank}.pt", weights_only=True) for rank in range(world)]
        for world, folder in folders.items()
    }


def assert_close(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    # sums that round differently may leave a unit on either side of its ReLU, which moves single weights so far
    for name, value in left.items():
        torch.testing.assert_close(value, right[name], rtol=1e-4, atol=5e-5)


def losses(found: Found) -> list[float]:
    return [row["loss"] for row in found["history"]]


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("job", ["plain", "hardly_known"])
def test_any_number_of_processes_trains_the_same_network(
    found: dict[int, list[dict[str, Found]]], job: str, world: int
) -> None:
    alone = found[1][0][job]
    for here in found[world]:
        assert_close(alone["weights"], here[job]["weights"])
        assert identical(here[job]["weights"], found[world][0][job]["weights"])
        assert [row["loss"] for row in here[job]["history"]] == pytest.approx(
            [r["loss"] for r in alone["history"]], rel=1e-5
        )


@pytest.mark.parametrize("world", [1, 2, 3])
def test_rows_are_reported_once_and_remembered_everywhere(found: dict[int, list[dict[str, Found]]], world: int) -> None:
    reported = [len(here["plain"]["rows"]) for here in found[world]]
    assert reported == [4] + [0] * (world - 1)
    assert all(here["plain"]["history"] == found[world][0]["plain"]["rows"] for here in found[world])


@pytest.mark.parametrize("world", [1, 2, 3])
def test_processes_that_were_killed_go_on_to_the_very_same_weights(
    found: dict[int, list[dict[str, Found]]], world: int
) -> None:
    for here in found[world]:
        assert here["resumed"]["same"]
        assert here["resumed"]["read"] == [0, 1, 2, 2, 3]


def test_each_process_draws_noise_of_its_own_but_all_hold_the_same_weights(
    found: dict[int, list[dict[str, Found]]],
) -> None:
    noise = [float(here["restless"]["noise"]) for here in found[3]]
    assert len(set(noise)) == 3
    assert all(identical(here["restless"]["weights"], found[3][0]["restless"]["weights"]) for here in found[3])


@pytest.mark.parametrize("world", [2, 3])
def test_what_the_first_process_learns_alone_is_handed_to_all_bit_for_bit(
    found: dict[int, list[dict[str, Found]]], world: int
) -> None:
    alone = found[1][0]["lonely"]
    for rank, here in enumerate(found[world]):
        assert identical(here["lonely"]["weights"], found[world][0]["lonely"]["weights"])
        assert_close(here["lonely"]["weights"], alone["weights"])
        assert here["lonely"]["read"] == (alone["read"] if rank == 0 else [])


def test_two_processes_train_the_classifier_that_one_trains(found: dict[int, list[dict[str, Found]]]) -> None:
    alone = found[1][0]["classifier"]
    for here in found[2]:
        assert_close(alone["weights"], here["classifier"]["weights"])


@pytest.mark.parametrize("world", [2, 3])
def test_held_out_images_are_measured_once_each_whatever_the_number_of_processes(
    found: dict[int, list[dict[str, Found]]], world: int
) -> None:
    assert [here["classifier"]["map"] for here in found[world]] == [found[1][0]["classifier"]["map"]] * world


@pytest.mark.parametrize("job", ["segmenter", "dsrg", "sparse"])
def test_two_processes_train_the_segmenter_that_one_trains(found: dict[int, list[dict[str, Found]]], job: str) -> None:
    alone = found[1][0][job]
    for here in found[2]:
        assert_close(alone["weights"], here[job]["weights"])
        assert [r["loss"] for r in here[job]["history"]] == pytest.approx(
            [r["loss"] for r in alone["history"]], rel=1e-4
        )


@pytest.mark.parametrize("world", [2, 3])
def test_gradients_add_up_and_what_nobody_used_gets_none(found: dict[int, list[dict[str, Found]]], world: int) -> None:
    for here in found[world]:
        first, last_only, unused, frozen = here["gradients"]["gradients"]
        assert torch.equal(first, torch.full((2, 3), {2: 3.0, 3: 6.0}[world]))
        assert torch.equal(last_only, torch.full((2, 3), 5.0))
        assert unused is None
        assert frozen is None
        assert torch.equal(here["gradients"]["copied"], torch.full((3, 2, 1, 1), 7.0))
