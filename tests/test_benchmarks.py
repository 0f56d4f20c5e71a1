"""Benchmarks still run, at toy size; what they measure is nobody's concern here."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"

CASES: dict[str, tuple[Any, ...]] = {
    "growing": (2, 3, 9, 0.5, 2),
    "region_graph": (24, 32, 20, 2),
    "training_step": ("tiny", 32, 2, 6, 1, "32-true"),
    "tree_filter": (1, 16, 2),
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
def test_a_benchmark_measures_something(name: str) -> None:
    found = list(numbers(loaded(name).measure(*CASES[name])))
    assert found
    assert max(found) > 0
