"""Every benchmark still runs, at toy size; what it measures is nobody's concern here."""

import importlib.util
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

FOLDER = Path(__file__).parents[1] / "benchmarks"


def measure_losses(benchmark: Any, _: Path) -> dict[str, Any]:
    case = benchmark.draw_case(2, 8, torch.device("cpu"))
    return {name: benchmark.measure(loss, case.logits, 2) for name, loss in benchmark.losses_of(case).items()}


def measure_cams(benchmark: Any, _: Path) -> dict[str, Any]:
    # processes would take longer to start than all the rest
    benchmark.process = lambda *_: ThreadPoolExecutor(1)
    return benchmark.measure("tiny", (32, 32), 2, 2, "32-true")


def measure_loading(benchmark: Any, folder: Path) -> dict[str, Any]:
    photographs = benchmark.draw_photographs(folder, 10, (40, 48))
    return benchmark.measure(photographs, "tiny", 32, 2, 0, 1, "32-true")


CASES: dict[str, Callable[[Any, Path], dict[str, Any]]] = {
    "cams": measure_cams,
    "crf_pool": lambda benchmark, folder: benchmark.measure(32, 2, 1, 2, folder),
    "growing": lambda benchmark, _: benchmark.measure(2, 3, 9, 0.5, 2),
    "loading": measure_loading,
    "region_graph": lambda benchmark, _: benchmark.measure(24, 32, 20, 2),
    "sparse_losses": measure_losses,
    "training_step": lambda benchmark, _: benchmark.measure("tiny", 32, 2, 6, 1, "32-true"),
    "tree_filter": lambda benchmark, _: benchmark.measure(1, 16, 2),
}


def loaded(name: str) -> ModuleType:
    described = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    assert described is not None
    assert described.loader is not None
    module = importlib.util.module_from_spec(described)
    described.loader.exec_module(module)
    return module


def numbers(found: Any) -> Iterator[float]:
    for value in found.values():
        if isinstance(value, dict):
            yield from numbers(value)
        elif isinstance(value, float):
            yield value


@pytest.mark.parametrize("name", CASES)
def test_a_benchmark_measures_something(name: str, tmp_path: Path) -> None:
    found = list(numbers(CASES[name](loaded(name), tmp_path)))
    assert found
    assert max(found) > 0


def test_no_benchmark_is_left_out() -> None:
    assert sorted(CASES) == sorted(path.stem for path in FOLDER.glob("*.py"))
