import fcntl
import os
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from wsss.runs import Run

# before torch is loaded: as many threads as cores in each of as many workers as cores would only wait for each other
os.environ["OMP_NUM_THREADS"] = "1"

# the first example of a process may have to load a library; how long a test takes is nobody's promise
hypothesis.settings.register_profile("wsss", deadline=None)
hypothesis.settings.load_profile("wsss")


LONG = ("test_readme", "test_runs", "test_processes", "test_strategy", "test_notebooks", "test_resume", "test_ranks")
"""Modules that take longest; they begin first, or one process would be left alone with the last of them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> "Run":
    """A finished run at toy size; its store is to be read, or copied, never written: all workers share it."""
    # late, so that the shapes of what it loads are checked
    from tests.toy_run import run_toy
    from wsss.runs import Run

    own = tmp_path_factory.getbasetemp()
    # the folders of the workers of one session lie side by side
    root = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "toy"
    root.mkdir(exist_ok=True)
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = list(root.glob("runs/*/figures/curves.png"))
        return Run(done[0].parents[1]) if done else run_toy(root / "runs", figures=True)
