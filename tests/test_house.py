"""The house keeps its own rules: what is promised in one file stands in the others."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import wsss

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "wsss").rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def settings_classes() -> Iterator[tuple[str, ast.ClassDef]]:
    for path in MODULES:
        for node in ast.walk(parsed(path)):
            if not (isinstance(node, ast.ClassDef) and node.name.endswith(("Settings", "Config"))):
                continue
            if node.decorator_list and "Attributes:" not in str(ast.get_docstring(node)):
                yield f"{name_of(path)}:{node.name}", node


def fields_without_help(settings: ast.ClassDef) -> list[str]:
    """Fields that are not followed by a text; the command line shows that text."""
    below = [*settings.body[1:], None]
    return [
        ast.unparse(field.target)
        for field, text in zip(settings.body, below, strict=True)
        if isinstance(field, ast.AnnAssign)
        and not (isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and str(text.value.value).strip())
    ]


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == wsss.__version__


def test_the_changelog_begins_with_what_is_unreleased() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert headings[0] == "Unreleased"


def test_every_module_says_what_it_holds() -> None:
    assert [name_of(path) for path in MODULES if not ast.get_docstring(parsed(path))] == []


def test_every_setting_has_a_help_text() -> None:
    assert {name: bare for name, settings in settings_classes() if (bare := fields_without_help(settings))} == {}


def test_settings_are_found() -> None:
    assert len(list(settings_classes())) > 5
    bare = ast.parse(
        "class A:\n    'about A'\n    one: int = 1\n    'text'\n    two: int = 2\n    three: int = 3"
    ).body[0]
    assert isinstance(bare, ast.ClassDef)
    assert fields_without_help(bare) == ["two", "three"]


def test_every_algorithm_has_its_test() -> None:
    algorithms = {path.stem for path in (ROOT / "wsss/functional").glob("[!_]*.py")}
    tested = {path.stem.removeprefix("test_") for path in (ROOT / "tests/functional").glob("test_*.py")}
    assert algorithms
    assert algorithms - tested == set()


def test_every_experiment_is_in_the_changelog() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    experiments = [path.stem for path in (ROOT / "experiments").glob("*.yaml")]
    assert experiments
    assert [name for name in experiments if f"`{name}`" not in changelog] == []


def test_the_map_shows_every_room_and_no_other() -> None:
    (drawn,) = re.findall(
        r"^    wsss/\n((?:    [├│└].*\n)+)", (ROOT / "docs/ARCHITECTURE.md").read_text(), re.MULTILINE
    )
    shown = re.findall(r"^    [├└]── ([\w./]+)", drawn, re.MULTILINE)
    rooms = {path.relative_to(ROOT / "wsss").parts for path in MODULES}
    assert sorted(shown) == sorted({room[0] + "/" * (len(room) > 1) for room in rooms})


def test_ci_runs_what_the_readme_and_the_makefile_promise() -> None:
    gate, readme = (ROOT / ".ci/run").read_text(), (ROOT / "README.md").read_text()
    assert os.access(ROOT / ".ci/run", os.X_OK)
    for command in ("uv run pytest", "make check"):
        assert re.search(rf"^{command}\b", gate, flags=re.MULTILINE)
    assert "uv run pytest" in readme
    makefile = (ROOT / "Makefile").read_text()
    for target in ("check", "fix", "test", "bench"):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)
    for tool in ("ruff format --check", "ruff check", "mypy", "lint-imports"):
        assert re.search(rf"^\tuv run (--no-sync )?{tool}", makefile, flags=re.MULTILINE)


def test_the_licence_is_the_one_that_is_named() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == "Apache-2.0"
    assert "Apache License\n                           Version 2.0" in (ROOT / "LICENSE").read_text()


def test_importing_the_package_is_quick_and_silent() -> None:
    heavy = ["torch", "numpy", "wandb", "matplotlib", "pytorch_lightning", "hydra"]
    script = f"import sys, wsss; sys.exit(str([name for name in {heavy} if name in sys.modules] or ''))"
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert (done.stdout, done.stderr.strip()) == ("", "")
