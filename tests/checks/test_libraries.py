import tomllib
from pathlib import Path

import pytest

from wsss.checks.libraries import FIRST, Line, check_library, check_python, requirements, satisfies


@pytest.mark.parametrize(
    ("version", "rule", "kept"),
    [
        ("2.11", ">=2.11", True),
        ("2.11.0", ">=2.11", True),
        ("2.9.1", ">=2.11", False),
        ("2.15.0+cu126", ">=2.11", True),
        ("3.0.0rc1", "<3,>=2.6.6", False),
        ("2.6.10", "<3,>=2.6.6", True),
        ("1.5", "!=1.5", False),
        ("1.5", "==1.5.0", True),
        ("1.5", ">1.5", False),
        ("1.5", "<=1.5", True),
        ("7", "", True),
    ],
)
def test_a_version_keeps_a_rule_number_by_number(version: str, rule: str, kept: bool) -> None:
    assert satisfies(version, rule) is kept


def test_the_libraries_are_those_that_the_project_names() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    listed = dict(requirements())
    assert set(listed) <= {text.partition(">=")[0] for text in project["dependencies"]}
    assert tuple(listed)[: len(FIRST)] == FIRST
    assert listed["torch"].startswith(">=")
    assert check_python().state == "ok"


def test_a_library_is_missing_too_old_unloadable_or_well() -> None:
    loaded: list[str] = []
    assert check_library("rich", ">=13", loaded.append).state == "ok"
    assert check_library("pillow", "", loaded.append).state == "ok"
    assert loaded == ["rich", "PIL"]

    missing = check_library("no-such-library", ">=1")
    assert (missing.found, missing.state) == ("missing", "broken")
    assert "pip install --force-reinstall no-such-library" in str(missing.cure)
    assert str(check_library("rich", "<1").cure).startswith("must be <1; run `uv sync`")

    def fail(_: str) -> None:
        raise RuntimeError("operator torchvision::nms\ndoes not exist")

    assert str(check_library("rich", "", fail).cure).startswith("can't be imported (operator torchvision::nms does not")


def test_what_a_run_can_do_without_is_advice() -> None:
    assert [Line("a", "b").state, Line("a", "b", "c").state, Line("a", "b", "c", required=False).state] == [
        "ok",
        "broken",
        "advice",
    ]
