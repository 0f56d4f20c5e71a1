import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from wsss import ranks
from wsss.errors import StageError
from wsss.ranks import LARGEST_CALL, Pool, World, cores

ROOT = Path(__file__).parents[1]
START = subprocess.Popen

OWNER = """
import time
from tests.test_ranks import pid_and_threads
from wsss.ranks import Pool
print("script", flush=True)
pool = Pool(2)
print(*{pid for pid, _ in pool.map(pid_and_threads, range(6))}, flush=True)
list(pool.map(time.sleep, [60] * 4))
"""

OTHER = """
import os, sys
from wsss import ranks
ranks.die_with_parent(int(os.environ[ranks.PARENT]))
ranks.join(60)
print(ranks.world(), sys.argv[1:], ranks.broadcast(None), flush=True)
"""

FIRST = """
import subprocess, sys, time
from pathlib import Path
from tests.test_ranks import start_other
from wsss import ranks
subprocess.Popen = start_other
with ranks.gathered(2, [], Path(sys.argv[1])):
    ranks.broadcast("hello")
    time.sleep(60)
"""


def start_other(command: list[str], **options: Any) -> "subprocess.Popen[bytes]":
    """Start the module ``other`` where ``wsss`` is asked for."""
    assert command[1:3] == ["-m", "wsss"]
    return START([command[0], "-m", "other", *command[3:]], **options)


class Burdened:
    """A function with much bound to it, which knows how often this process has read it."""

    read = 0

    def __init__(self) -> None:
        self.burden = bytes(LARGEST_CALL)

    def __setstate__(self, state: dict[str, bytes]) -> None:
        self.__dict__ |= state
        Burdened.read += 1

    def __call__(self, number: int) -> tuple[int, int]:
        return number + len(self.burden), Burdened.read


def square(number: int) -> int:
    # the first ones take longest, so that they would come last if order were left to chance
    time.sleep(0.05 / (number + 1))
    return number**2


def fail_at_three(number: int) -> int:
    if number == 3:
        raise ValueError(f"{number} is refused")
    return number


def pid_and_threads(_: int) -> tuple[int, int]:
    time.sleep(0.2)
    return os.getpid(), torch.get_num_threads()


def survive_interrupt(number: int) -> int:
    os.kill(os.getpid(), signal.SIGINT)
    return number


def interrupts_blocked(_: int) -> bool:
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def leave_a_mark(path: Path) -> Path:
    path.touch()
    return path


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """Two workers, whose surroundings would have them use two threads each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "2")
        pool = Pool(2)
        yield pool
        pool.close()


def test_results_come_in_the_order_of_the_items(pool: Pool) -> None:
    assert list(pool.map(square, range(12))) == [number**2 for number in range(12)]


def test_an_error_in_a_worker_is_raised_after_the_results_before_it_and_the_pool_lives_on(pool: Pool) -> None:
    results = pool.map(fail_at_three, range(9))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="3 is refused"):
        next(results)
    assert list(pool.map(square, range(3))) == [0, 1, 4]


def test_workers_are_other_processes_of_one_thread_each_that_stay(pool: Pool) -> None:
    first, second = (set(pool.map(pid_and_threads, range(6))) for _ in range(2))
    assert len(first) == 2
    assert first == second
    assert os.getpid() not in {pid for pid, _ in first}
    assert {threads for _, threads in first} == {1}


def test_workers_start_with_interrupts_blocked_and_this_process_keeps_them(pool: Pool) -> None:
    # ignoring them only once a worker's own code runs would leave tracebacks of its imports
    assert all(pool.map(interrupts_blocked, range(4)))
    assert not interrupts_blocked(0)


def test_cores_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3, 5, 9})
    assert cores() == 3
    monkeypatch.delattr("os.sched_getaffinity")
    assert cores() == 64


def test_no_more_than_a_few_items_are_under_way(pool: Pool, tmp_path: Path) -> None:
    results = pool.map(leave_a_mark, [tmp_path / str(number) for number in range(40)])
    next(results)
    time.sleep(1)
    begun = len(list(tmp_path.iterdir()))
    assert 2 <= begun <= 5  # two a worker, and the one whose place the first result has made free
    assert len(list(results)) == 39
    assert len(list(tmp_path.iterdir())) == 40


def test_what_much_is_bound_to_is_read_once_by_each_worker(pool: Pool) -> None:
    for turn in (1, 2):
        results = list(pool.map(Burdened(), range(20)))
        assert [result for result, _ in results] == [number + LARGEST_CALL for number in range(20)]
        assert {read for _, read in results} <= set(range(1, turn + 1))


def test_an_interrupt_from_the_keyboard_is_left_to_the_process_that_leads(pool: Pool) -> None:
    assert list(pool.map(survive_interrupt, range(4))) == [0, 1, 2, 3]


@pytest.mark.parametrize(("workers", "items"), [(1, 5), (2, 1), (2, 0)])
def test_little_work_is_done_without_workers(workers: int, items: int) -> None:
    pool = Pool(workers)
    assert {pid for pid, _ in pool.map(pid_and_threads, range(items))} <= {os.getpid()}
    pool.close()


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until_gone(pids: list[int], seconds: float) -> list[int]:
    end = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    return [pid for pid in pids if alive(pid)]


def test_workers_do_not_run_a_script_again_and_die_with_it_however_it_died(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    script = tmp_path / "script.py"
    script.write_text(OWNER)
    with START([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as owner:
        assert owner.stdout is not None
        try:
            assert owner.stdout.readline() == "script\n"
            workers = [int(word) for word in owner.stdout.readline().split()]
            assert len(workers) == 2
            assert all(map(alive, workers))
        finally:
            owner.kill()
        owner.wait()
        assert wait_until_gone(workers, 20) == []
        assert owner.stdout.read() == ""


def test_a_process_alone_is_a_world_of_one() -> None:
    assert ranks.world() == World(0, 1)
    assert ranks.world().leads
    value = {"key": [1]}
    assert ranks.broadcast(value) is value
    ranks.barrier()
    with ranks.gathered(1, [], Path("unused")):
        assert ranks.world().size == 1
    assert not Path("unused").exists()


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where to write the module that other processes run instead of ``wsss``."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    monkeypatch.setattr(subprocess, "Popen", start_other)
    return tmp_path / "other.py"


def say_hello_and_wait(logs: Path, patience: int = 1) -> None:
    with ranks.gathered(2, [], logs):
        ranks.broadcast("hello")
        _ = 1 / patience
        ranks.barrier()


def test_two_processes_hear_what_the_first_one_says(other: Path, tmp_path: Path) -> None:
    other.write_text(OTHER + "ranks.barrier()\nranks.leave()\n")
    before = dict(os.environ)
    with ranks.gathered(2, ["join", "run.yaml"], tmp_path / "logs"):
        assert ranks.world() == World(0, 2)
        assert ranks.broadcast({"stage": "cams", "done": [True, None]}) == {"stage": "cams", "done": [True, None]}
        ranks.barrier()
    assert dict(os.environ) == before
    assert ranks.world() == World(0, 1)
    said = (tmp_path / "logs" / "rank1.log").read_text()
    assert said == "World(rank=1, size=2) ['join', 'run.yaml'] {'stage': 'cams', 'done': [True, None]}\n"


def test_a_process_that_fails_among_others_stops_the_run_with_its_last_words(other: Path, tmp_path: Path) -> None:
    other.write_text(OTHER + "raise OSError('the disk is full')\n")
    with pytest.raises(StageError, match=r"process 1 failed \(.*OSError: the disk is full\).*rank1\.log'"):
        say_hello_and_wait(tmp_path / "logs")
    assert ranks.world() == World(0, 1)


def test_a_process_that_is_killed_stops_the_run(other: Path, tmp_path: Path) -> None:
    other.write_text(OTHER + "os.kill(os.getpid(), 9)\n")
    with pytest.raises(StageError, match="process 1 failed"):
        say_hello_and_wait(tmp_path / "logs")


def test_a_process_that_fails_before_it_has_met_the_others_stops_the_run(other: Path, tmp_path: Path) -> None:
    other.write_text("raise OSError('no memory')\n")
    with pytest.raises(StageError, match=r"process 1 failed \(OSError: no memory\)"):
        say_hello_and_wait(tmp_path / "logs")


def test_an_error_of_the_first_process_itself_passes_on_and_ends_the_others(other: Path, tmp_path: Path) -> None:
    other.write_text(OTHER + "ranks.barrier()\n")
    with pytest.raises(ZeroDivisionError):
        say_hello_and_wait(tmp_path / "logs", patience=0)
    assert "hello" in (tmp_path / "logs" / "rank1.log").read_text()


def test_other_processes_die_with_the_first(tmp_path: Path, other: Path) -> None:
    other.write_text(OTHER + "print(os.getpid(), flush=True)\nimport time\ntime.sleep(60)\n")
    log = tmp_path / "logs" / "rank1.log"
    with START([sys.executable, "-c", FIRST, str(log.parent)]) as first:
        end = time.monotonic() + 60
        while (not log.exists() or len(log.read_text().splitlines()) < 2) and time.monotonic() < end:
            time.sleep(0.1)
        second = int(log.read_text().splitlines()[1])
        assert alive(second)
        first.kill()
        first.wait()
        assert wait_until_gone([second], 20) == []
