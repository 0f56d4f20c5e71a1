"""What guards a change asks the same everywhere: the Makefile, the hooks before a commit, the workflow, .ci/run."""

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

import wsss

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


def commands_of_make(target: str) -> list[str]:
    (body,) = re.findall(rf"^{target}:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    return [line.strip() for line in body.splitlines()]


def test_a_commit_is_asked_what_make_check_asks() -> None:
    (repo,) = read(".pre-commit-config.yaml")["repos"]
    assert repo["repo"] == "local"
    # the first of make's commands sets the environment up for the others
    asked = [command.replace(" --no-sync", "") for command in commands_of_make("check")]
    assert [hook["entry"] for hook in repo["hooks"]] == asked
    # a tool of another environment could be of another version, and part of the files is not the project
    assert {(hook["language"], hook["pass_filenames"]) for hook in repo["hooks"]} == {("system", False)}


def test_the_workflow_runs_the_gate_on_the_oldest_and_the_newest_python() -> None:
    workflow = read(".github/workflows/check.yml")
    (job,) = workflow["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert job["env"]["UV_PYTHON"] == "${{ matrix.python }}"
    oldest, newest = (tuple(map(int, bound.split("."))) for bound in re.findall(r"[\d.]+", PROJECT["requires-python"]))
    tried = [tuple(map(int, version.split("."))) for version in job["strategy"]["matrix"]["python"]]
    assert tried == [oldest, (newest[0], newest[1] - 1)]
    # yaml takes the word on for true
    assert set(workflow[True]) == {"push", "pull_request"}
    assert workflow["permissions"] == {"contents": "read"}


def test_the_gate_makes_the_checks_and_the_tests() -> None:
    lines = (ROOT / ".ci/run").read_text().splitlines()
    asked = [line.partition(" ||")[0] for line in lines if line.endswith("|| status=1")]
    assert asked == ["make check", *commands_of_make("test")]


def test_the_citation_is_of_this_version_and_licence() -> None:
    citation = read("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "type"} <= set(citation)
    assert citation["version"] == wsss.__version__ == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert citation["keywords"] == PROJECT["keywords"]
