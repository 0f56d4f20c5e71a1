"""The processes of a run: start, ranks and communication."""

import contextlib
import functools
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import get_context, resource_tracker
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import distributed

from wsss.errors import StageError
from wsss.memory import keep_freed_memory

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

Item = TypeVar("Item")
Result = TypeVar("Result")

PARENT = "WSSS_PARENT"
"""Environment variable with the process id of the parent."""

LARGEST_CALL = 1 << 15
"""Maximum size in bytes of a function that is sent to a worker with each item."""

PATIENCE = 86_400
"""Timeout in seconds for waiting on other processes: long enough for the longest part that one of them does alone."""


@dataclass(frozen=True)
class World:
    """Rank of this process.

    Attributes:
        rank: 0 for the leading process.
        size: Number of processes that share the work.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files that exist once."""
        return self.rank == 0


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def world() -> World:
    """Return this process's rank among those that work together now."""
    if distributed.is_available() and distributed.is_initialized():
        return World(distributed.get_rank(), distributed.get_world_size())
    return World()


def barrier() -> None:
    """Wait until all processes reach this point."""
    broadcast(None)


def broadcast(value: Item) -> Item:
    """Broadcast the value of rank 0 to all processes."""
    if world().size == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def started_outside() -> bool:
    """Whether a launcher such as torchrun, or this package itself, started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


def join(seconds: float = PATIENCE, store: "Store | None" = None, *, cuda: bool | None = None) -> None:
    """Connect to the other processes given by the environment, over gloo and, with CUDA, NCCL.

    Args:
        seconds: Timeout for waiting on the other processes.
        store: Store for the rendezvous; by default taken from the environment.
        cuda: Whether each process has its own GPU; None: if CUDA is available.
    """
    if distributed.is_initialized():
        return
    backend = "gloo"
    if torch.cuda.is_available() if cuda is None else cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        backend = "cpu:gloo,cuda:nccl"
    timeout = timedelta(seconds=seconds)
    if PARENT in os.environ:
        address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = distributed.TCPStore(*address, timeout=timeout)  # type: ignore[attr-defined]
        store.set(_here(int(os.environ["RANK"])), "")
    if store is None:
        distributed.init_process_group(backend, timeout=timeout)
        return
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)


def leave() -> None:
    """Disconnect from the other processes."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


@contextlib.contextmanager
def gathered(size: int, arguments: Sequence[str], logs: Path, *, cuda: bool | None = None) -> Iterator[None]:
    """Act as rank 0 of several processes; the others run ``python -m wsss`` with the given arguments.

    Args:
        size: Number of processes, including this one.
        arguments: Arguments of the others.
        logs: Folder for the output of the others.
        cuda: Whether each process has its own GPU; None: if CUDA is available.

    Raises:
        StageError: If another process fails.
    """
    if size == 1 or started_outside():
        if started_outside():
            join(cuda=cuda)
        try:
            yield
        finally:
            leave()
        return
    logs.mkdir(parents=True, exist_ok=True)
    patience = timedelta(seconds=PATIENCE)
    store = distributed.TCPStore("127.0.0.1", 0, is_master=True, timeout=patience)  # type: ignore[attr-defined]
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "WORLD_SIZE": str(size)}
    others = [_start(rank, arguments, address, logs) for rank in range(1, size)]
    before = dict(os.environ)
    os.environ.update(address | {"RANK": "0", "LOCAL_RANK": "0"})
    try:
        with _watched(others, logs):
            _await(others, store)
            join(store=store, cuda=cuda)
            yield
    finally:
        leave()
        os.environ.clear()
        os.environ.update(before)
        _end(others)


def _start(rank: int, arguments: Sequence[str], address: dict[str, str], logs: Path) -> "subprocess.Popen[bytes]":
    own = {"RANK": str(rank), "LOCAL_RANK": str(rank), PARENT: str(os.getpid())}
    with (logs / f"rank{rank}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "wsss", *arguments],
            env={**os.environ, **address, **own},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _end(others: "Sequence[subprocess.Popen[bytes]]") -> None:
    for other in others:
        try:
            other.wait(timeout=20)
        except subprocess.TimeoutExpired:
            other.kill()
            other.wait()


def _here(rank: int) -> str:
    """Key that a process sets in the store when it is about to join."""
    return f"wsss/here/{rank}"


def _await(others: "Sequence[subprocess.Popen[bytes]]", store: "Store") -> None:
    """Wait until all others are about to join; torch would also wait for terminated ones."""
    while not store.check([_here(rank) for rank in range(1, len(others) + 1)]):
        if any(other.poll() is not None for other in others):
            raise RuntimeError("a process has ended before it joined the others")
        time.sleep(0.05)


@contextlib.contextmanager
def _watched(others: "Sequence[subprocess.Popen[bytes]]", logs: Path) -> Iterator[None]:
    """Convert errors that follow the failure of another process into that process's failure."""
    try:
        yield
    except RuntimeError as error:
        failed = _failed(others)
        if not failed:
            raise
        log = logs / f"rank{failed[0]}.log"
        raise StageError(f"process {failed[0]} failed ({_last_words(log)}); its output is in '{log}'") from error


def _last_words(log: Path) -> str:
    """The last line of a process's output, ignoring what the C++ runtime prints when threads are aborted."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    said = [line for line in lines if line and not line.startswith("terminate called")]
    return said[-1] if said else "no output"


def _failed(others: "Sequence[subprocess.Popen[bytes]]", seconds: float = 10) -> list[int]:
    """Ranks that have failed; a process that closed its connection takes a moment to end."""
    end = time.monotonic() + seconds
    while True:
        failed = [rank for rank, other in enumerate(others, start=1) if other.poll() not in (None, 0)]
        if failed or time.monotonic() > end:
            return failed
        time.sleep(0.1)


def die_with_parent(parent: int) -> None:
    """End this process soon after its parent has ended, for whatever reason."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="die-with-parent").start()


class Pool:
    """Worker processes that are started on first use and kept for the whole run.

    They are spawned, so they inherit no locks and no threads, and they end with this process.

    Args:
        workers: Number of workers; with one, the work is done in this process.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._executor: ProcessPoolExecutor | None = None

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Apply a function to each item and yield the results in order.

        Only a few items per worker are in progress at once, so memory does not grow with their number.
        """
        if self.workers == 1 or len(items) <= 1:
            yield from map(function, items)
            return
        executor = self._started()
        ahead = 2 * self.workers
        with _handed_over(function) as called:
            with _spawning():
                waiting = [executor.submit(called, item) for item in items[:ahead]]
            for item in items[ahead:]:
                yield waiting.pop(0).result()
                with _spawning():
                    waiting.append(executor.submit(called, item))
            for future in waiting:
                yield future.result()

    def _started(self) -> ProcessPoolExecutor:
        if self._executor is None:
            self._executor = ProcessPoolExecutor(
                self.workers, mp_context=get_context("spawn"), initializer=_start_worker, initargs=(os.getpid(),)
            )
        return self._executor

    def close(self) -> None:
        """Stop the workers."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None


@contextlib.contextmanager
def _handed_over(function: Callable[[Item], Result]) -> Iterator[Callable[[Item], Result]]:
    """Send a function with each item if it is small; else store it in a file, which each worker reads once.

    A function may be bound to large data, such as the labels of ten thousand images.
    """
    content = bytes(ForkingPickler.dumps(function))
    if len(content) <= LARGEST_CALL:
        yield function
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "function"
        path.write_bytes(content)
        yield _Filed(path)


@dataclass(frozen=True)
class _Filed:
    """A function stored in a file of the leading process."""

    path: Path

    def __call__(self, item: Any) -> Any:  # noqa: ANN401 - whatever the function takes and gives
        return _load(self.path)(item)


@functools.lru_cache(maxsize=1)
def _load(path: Path) -> Callable[[Any], Any]:
    loaded: Callable[[Any], Any] = ForkingPickler.loads(path.read_bytes())
    return loaded


def _start_worker(parent: int) -> None:
    die_with_parent(parent)
    keep_freed_memory()
    torch.set_num_threads(1)


@contextlib.contextmanager
def _spawning() -> Iterator[None]:
    """Start workers that neither import the user's main script nor end with a traceback at Ctrl-C.

    Ctrl-C reaches all processes of the terminal, from their first moment on, and only the leading one reports it:
    workers inherit that the signal is blocked, while this process receives it at the end of the block.
    """
    # it would start within the block, and unblock the signal
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with _without_main():
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Keep spawned workers from importing the user's main script, which they do not need."""
    main: Any = sys.modules["__main__"]
    hidden = {name: getattr(main, name) for name in ("__file__", "__spec__") if hasattr(main, name)}
    for name in hidden:
        setattr(main, name, None)
    try:
        yield
    finally:
        for name, value in hidden.items():
            setattr(main, name, value)
