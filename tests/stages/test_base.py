import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.stages.workshop import DrawnDataset, Quiet, given, workbench
from wsss import ranks
from wsss.errors import StageError
from wsss.ranks import World
from wsss.stages.base import (
    Portion,
    Stage,
    Workbench,
    batches,
    carry_out,
    for_each,
    is_done,
    portions,
    science,
    share_out,
)
from wsss.store import Artefact, Store

IMAGES = DrawnDataset({f"image {number}": torch.ones(8, 8, dtype=torch.uint8) for number in range(5)})


def nothing(bench: Workbench, out: Artefact) -> None:
    """Leave no file."""


BEFORE = Stage(name="before", version=1, work=nothing)
STAGE = Stage(
    name="stage", version=1, work=nothing, settings={"a": 1, "b": (1, 2)}, reads={"it": BEFORE}, data={"train": "abc"}
)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"version": 2},
        {"settings": {"a": 2, "b": (1, 2)}},
        {"settings": {"a": 1}},
        {"reads": {}},
        {"reads": {"it": replace(BEFORE, version=2)}},
        {"reads": {"other part": BEFORE}},
        {"data": {"train": "abd"}},
        {"data": {"val": "abc"}},
    ],
)
def test_the_key_follows_whatever_the_result_depends_on(change: dict[str, Any]) -> None:
    assert replace(STAGE, **change).key != STAGE.key


@pytest.mark.parametrize("change", [{"round": 3}, {"work": print}, {"settings": {"b": [1, 2], "a": 1}}])
def test_the_key_follows_nothing_else(change: dict[str, Any]) -> None:
    assert replace(STAGE, **change).key == STAGE.key


def test_a_key_stays_the_same_from_one_version_of_the_program_to_the_next() -> None:
    # a change of this value means that nothing in anybody's store is found any more
    assert STAGE.key == "9b5b3a0ca09dc2a8"


def test_a_change_far_below_changes_the_key() -> None:
    above = Stage(name="above", version=1, work=nothing, reads={"stage": STAGE})
    other = replace(STAGE, reads={"it": replace(BEFORE, settings={"x": 1})})
    assert replace(above, reads={"stage": other}).key != above.key


def test_the_title_names_stage_and_round() -> None:
    assert replace(STAGE, round=2).title == "stage:2"


@dataclass(frozen=True)
class Settings:
    depth: int = 3
    place: str = "here"


def test_science_leaves_out_what_changes_no_result() -> None:
    assert science(Settings()) == {"depth": 3, "place": "here"}
    assert science(Settings(), "place") == {"depth": 3}


class Work:
    """Writes a file for each image, and fails at the images it is told to."""

    def __init__(self, *failing: str, error: type[Exception] = ValueError) -> None:
        self.failing, self.error, self.did = set(failing), error, list[str]()

    def stage(self) -> Stage:
        return Stage(name="stage", version=1, work=self)

    def __call__(self, bench: Workbench, out: Artefact) -> None:
        def one(portion: Portion) -> None:
            with out.unit(portion.name) as unit:
                for image in portion.ids:
                    if image in self.failing:
                        raise self.error(image)
                    self.did.append(image)
                    unit.write(out.path("drawn", image, ".txt"), image.encode())

        for_each(bench, out, portions(bench.dataset.ids("train"), 2), one, description="drawings")


def files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_work_is_done_once(tmp_path: Path) -> None:
    bench, work = workbench(tmp_path, IMAGES), Work()
    assert not is_done(bench.store, work.stage())
    assert not carry_out(work.stage(), bench).cached
    assert is_done(bench.store, work.stage())
    again = carry_out(work.stage(), bench)
    assert again.cached
    assert again.seconds >= 0
    assert work.did == list(IMAGES.ids("train"))


def test_the_watcher_hears_of_every_image(tmp_path: Path) -> None:
    bench = workbench(tmp_path, IMAGES)
    carry_out(Work().stage(), bench)
    assert isinstance(bench.watcher, Quiet)
    assert (bench.watcher.bars, bench.watcher.done) == ([("drawings", 5)], 5)


def test_work_that_failed_goes_on_where_it_stopped(tmp_path: Path) -> None:
    bench, work = workbench(tmp_path / "failed", IMAGES), Work("image 3")
    with pytest.raises(ValueError, match="image 3"):
        carry_out(work.stage(), bench)
    assert not is_done(bench.store, work.stage())
    work.failing.clear()
    work.did.clear()
    carry_out(work.stage(), bench)
    assert work.did == ["image 2", "image 3", "image 4"]  # the first unit of two is there already
    carry_out(Work().stage(), workbench(tmp_path / "undisturbed", IMAGES))
    assert files(tmp_path / "failed" / "store") == files(tmp_path / "undisturbed" / "store")


def test_a_lost_worker_is_explained(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"stage:0 lost a worker process .* run the same command to go on"):
        carry_out(Work("image 1", error=BrokenProcessPool).stage(), workbench(tmp_path, IMAGES))


def test_portions_hold_every_image_once_in_order() -> None:
    cut = portions([f"{number}" for number in range(10)], 4)
    assert [portion.ids for portion in cut] == [("0", "1", "2", "3"), ("4", "5", "6", "7"), ("8", "9")]
    assert len({portion.name for portion in cut}) == 3
    assert sorted(portion.name for portion in cut) == [portion.name for portion in cut]
    assert portions([]) == []


def test_batches_hold_images_of_like_size() -> None:
    sizes = {"a": (40, 60), "b": (90, 60), "c": (33, 70), "d": (30, 62)}
    data = DrawnDataset({name: torch.ones(size, dtype=torch.uint8) for name, size in sizes.items()})
    assert [(batch.ids, batch.size) for batch in batches(data, data.ids("train"), 2)] == [
        (("a", "c"), (32, 64)),
        (("d",), (32, 64)),
        (("b",), (96, 64)),
    ]


def in_a_world_of(size: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def be(rank: int) -> None:
        monkeypatch.setattr(ranks, "world", lambda: World(rank, size))

    return be


@pytest.mark.parametrize("size", [1, 2, 3])
def test_every_unit_belongs_to_one_process(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    be, planned, out = in_a_world_of(size, monkeypatch), portions([f"{n}" for n in range(35)]), Artefact(tmp_path)
    shares = []
    for rank in range(size):
        be(rank)
        shares.append(share_out(out, planned))
    assert sorted((one for share in shares for one in share), key=lambda one: one.name) == planned
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_units_that_are_done_are_left_out(tmp_path: Path) -> None:
    planned, out = portions([f"{number}" for number in range(20)]), Artefact(tmp_path)
    with out.unit(planned[1].name):
        pass
    assert share_out(out, planned) == [planned[0], planned[2]]


def test_another_run_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = workbench(tmp_path, IMAGES)
    real = Store.locked

    def busy(store: Store, stage: str, key: str, waiting: Callable[[], None]) -> Any:
        waiting()
        time.sleep(0.5)
        # while this run waits, the other finishes
        monkeypatch.setattr(Store, "locked", real)
        carry_out(Work().stage(), workbench(tmp_path, IMAGES))
        return real(store, stage, key, waiting)

    monkeypatch.setattr(Store, "locked", busy)
    work = Work()
    outcome = carry_out(work.stage(), bench)
    assert outcome.cached
    assert outcome.seconds < 0.5
    assert work.did == []
    assert isinstance(bench.watcher, Quiet)
    assert bench.watcher.said == ["stage:0 is being made by another run; waiting for it"]


def test_processes_that_plan_different_things_are_told_apart_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = workbench(tmp_path, DrawnDataset({}))
    stage = given("seeds", lambda _: pytest.fail("it has worked"))
    monkeypatch.setattr(ranks, "world", lambda: World(1, 2))
    monkeypatch.setattr(ranks, "broadcast", lambda _: "the key of the first process")
    with pytest.raises(StageError, match=r"^seeds:0 has another key in this process than in the first one"):
        carry_out(stage, bench)
