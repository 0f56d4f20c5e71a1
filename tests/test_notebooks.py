"""Notebooks do what they say: their cells are executed one after the other, on a run of toy size."""

import ast
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import wsss
from tests.toy_run import DRAWN, TOY, quietly, run_toy
from wsss.runs import Drawing, Run
from wsss.studies.study import Study, study

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.py"))


def cells(notebook: Path) -> list[str]:
    """The code cells of a percent script."""
    parts = re.split(r"^# %%(.*)$", notebook.read_text(), flags=re.MULTILINE)[1:]
    return [code for kind, code in zip(parts[::2], parts[1::2], strict=True) if "markdown" not in kind]


def execute(cell: str, names: dict[str, Any]) -> object:
    """Execute a cell and return what its last line comes to, as a notebook does."""
    body = ast.parse(cell).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names) if isinstance(last, ast.Expr) else None


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs(notebook: Path, toy: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # what the toy run has in common with those of the notebooks is not computed again
    root = Path(shutil.copytree(toy.folder.parent, tmp_path / "runs", symlinks=True))

    def small_run(*overrides: str, **settings: object) -> Run:
        given = [f"{name}={value}".replace("'", "").replace(" ", "") for name, value in settings.items()]
        return run_toy(root, *overrides, *given)

    def small_study(name: str, **settings: Any) -> Study:
        short = ("rounds=1", "refine=[crf]", "classifier.epochs=2")
        with quietly():
            return study(name, *TOY, *DRAWN, *short, f"store.root={root}", **{**settings, "runs": ["points"]})

    monkeypatch.setattr(wsss, "run", small_run, raising=False)
    monkeypatch.setattr(wsss, "study", small_study, raising=False)
    names: dict[str, Any] = {}
    for value in [execute(cell, names) for cell in cells(notebook)]:
        if isinstance(value, Study):
            assert "points" in value._repr_html_()
            assert not value.failed
        if isinstance(value, Run):
            assert "crf" in value._repr_html_()
        if isinstance(value, Drawing):
            assert value._repr_png_().startswith(b"\x89PNG")


def test_a_drawing_is_a_path_that_a_notebook_shows(tmp_path: Path) -> None:
    drawn = Drawing(tmp_path / "one.png")
    drawn.path.write_bytes(b"content")
    assert Path(drawn) == drawn.path
    assert str(drawn).endswith("one.png")
    assert drawn._repr_png_() == b"content"


def test_cells_are_found() -> None:
    assert NOTEBOOKS
    assert all(cells(notebook) for notebook in NOTEBOOKS)
