"""``kill -9`` at any moment, then the same command: nothing is done twice, and the same bytes lie there in the end."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import pytest

from tests.toy_run import DRAWN, TOY, files_below, run_toy
from wsss.runs import Run
from wsss.tracking import read_metrics

PATIENCE = 200.0
"""Seconds until a process has surely come to the moment that is waited for."""

LOADED = ("wsss.data.datamodule", "wsss.tasks.training", "torch_geometric", "skimage.segmentation", "matplotlib.pyplot")
"""What a run loads late and slowly."""

Moment = Callable[[Path], bool]


@pytest.fixture(scope="module")
def forks() -> ForkServerContext:
    """Starts processes that have all modules loaded, so that each of many kills costs no start-up."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["tests.test_resume", *LOADED])
    return context


def work(root: Path) -> None:
    """Run in a process of its own, which gets no chance to end well."""
    run_toy(root)


def kill_at(context: ForkServerContext, root: Path, moment: Moment) -> None:
    """Start the run in another process and kill it as soon as the moment has come."""
    process: ForkServerProcess = context.Process(target=work, args=(root,))
    process.start()
    assert process.pid is not None
    end = time.monotonic() + PATIENCE
    while not moment(root):
        assert process.is_alive(), "the run has ended before the moment came"
        assert time.monotonic() < end
        time.sleep(0.0005)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL


def trained(stage: str, epochs: int) -> Moment:
    """The stage is being trained, and so many checkpoints have been written since we look."""
    seen: set[int] = set()

    def moment(root: Path) -> bool:
        for path in (root / "store" / stage).glob("*/.progress/last.ckpt"):
            try:
                seen.add(path.stat().st_mtime_ns)
            except OSError:  # it has just been swept away
                continue
        return len(seen) >= epochs

    return moment


def units_done(stage: str, count: int) -> Moment:
    """So many units of an unfinished stage are done."""
    return lambda root: len(list((root / "store" / stage).glob("*/.units/*.json"))) >= count


def complete(stage: str) -> Moment:
    """The stage has its manifest, and perhaps not been swept yet."""
    return lambda root: any((root / "store" / stage).glob("*/manifest.json"))


def completed_files(root: Path) -> Iterator[Path]:
    """The files of all complete stages, and those of the complete units of stages that are not."""
    for manifest in (root / "store").glob("*/*/manifest.json"):
        yield manifest
        yield from (manifest.parent / name for name in json.loads(manifest.read_bytes())["files"])
    for note in (root / "store").glob("*/*/.units/*.json"):
        yield from (note.parents[1] / name for name in json.loads(note.read_bytes()))


def modified(paths: Iterator[Path]) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in paths}


def assert_kept(before: dict[Path, int]) -> None:
    assert {path: path.stat().st_mtime_ns for path in before} == before


def assert_same_store(root: Path, undisturbed: Run) -> None:
    found, expected = files_below(root / "store"), files_below(undisturbed.folder.parent / "store")
    assert list(found) == list(expected)
    assert [name for name in expected if found[name] != expected[name]] == []


def test_a_run_killed_again_and_again_computes_nothing_twice_and_ends_with_the_same_bytes(
    toy: Run, tmp_path: Path, forks: ForkServerContext
) -> None:
    moments = [trained("classifier", 3), units_done("cams", 2), units_done("graph", 1), complete("signal")]
    kept: dict[Path, int] = {}
    for moment in moments:
        kill_at(forks, tmp_path, moment)
        assert_kept(kept)
        kept = modified(completed_files(tmp_path))
    assert not list(tmp_path.glob("*/summary.json"))
    run = run_toy(tmp_path)
    assert_kept(kept)
    assert_same_store(tmp_path, toy)
    cached = {(row["name"], row["round"]) for row in run.summary["work"] if row["cached"]}
    assert {("classifier", 0), ("cams", 0), ("graph", 0), ("segmenter", 0)} <= cached
    assert ("ceiling", 0) not in cached
    # the row of an epoch is written after its checkpoint, so the kill may have cost one row, but no epoch comes twice
    rows = [row for row in read_metrics(run.folder) if row["stage"] == "classifier:0"]
    epochs = [row["epoch"] for row in rows if "epoch" in row]
    assert epochs == sorted(set(epochs))
    assert 11 <= len(epochs) <= 12
    assert {row["miou"] for row in run.summary["stages"]} == {row["miou"] for row in toy.summary["stages"]}


MOMENTS = {
    "in a unit of the CAMs": units_done("cams", 1),
    "after the CAMs": complete("cams"),
    "in the seeds": units_done("seeds", 1),
    "after a measurement": complete("evaluate"),
    "in the superpixels": units_done("superpixels", 1),
    "in the graphs": units_done("graphs", 3),
    "in the graph's training": trained("graph_fit", 1),
    "in the CRF": units_done("crf", 1),
    "in the pseudo labels": units_done("pseudo_labels", 1),
    "in the segmenter's training": trained("segmenter", 1),
    "after the segmenter's training": complete("segmenter"),
    "in the predictions": units_done("predictions", 1),
    "in the next round's scores": units_done("scores", 1),
    "in the ceiling's training": trained("ceiling", 1),
    "after everything": complete("ceiling_predictions"),
}


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)
def test_a_run_killed_at_any_stage_goes_on_from_there(
    toy: Run, tmp_path: Path, forks: ForkServerContext, moment: Moment
) -> None:
    kill_at(forks, tmp_path, moment)
    kept = modified(completed_files(tmp_path))
    run_toy(tmp_path)
    assert_kept(kept)
    assert_same_store(tmp_path, toy)


@pytest.mark.slow
def test_a_run_killed_at_random_goes_on_until_it_is_done(toy: Run, tmp_path: Path, forks: ForkServerContext) -> None:
    chance = random.Random(0)
    kept: dict[Path, int] = {}
    for _ in range(12):
        begun, pause = time.monotonic(), chance.uniform(0.2, 1.5)
        process = forks.Process(target=work, args=(tmp_path,))
        process.start()
        while process.is_alive() and time.monotonic() - begun < pause:
            time.sleep(0.01)
        process.kill()
        process.join()
        assert_kept(kept)
        kept = modified(completed_files(tmp_path))
    run_toy(tmp_path)
    assert_kept(kept)
    assert_same_store(tmp_path, toy)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("moment", [units_done("growing", 1), units_done("crf", 1)], ids=["growing", "crf"])
def test_the_command_itself_killed_with_its_workers_goes_on(toy: Run, tmp_path: Path, moment: Moment) -> None:
    command = [sys.executable, "-m", "wsss", "run", *TOY, *DRAWN, f"store.root={tmp_path}"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        end = time.monotonic() + PATIENCE
        while not moment(tmp_path) and time.monotonic() < end:
            assert process.poll() is None
            time.sleep(0.001)
        process.kill()
    kept = modified(completed_files(tmp_path))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "segmenter of round 1" in done.stdout
    assert_kept(kept)
    assert_same_store(tmp_path, toy)
