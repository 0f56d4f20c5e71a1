"""Studies whose runs pretend: they write the summary that they are told to, in no time."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.toy_run import DRAWN, TOY
from wsss.config import Config, to_yaml
from wsss.runs import Run
from wsss.studies import carry_out
from wsss.studies.carry_out import Inspector
from wsss.studies.plan import StudyPlan, plan_study

WHOLE = 1200.0
"""What labelling all images takes, in seconds."""

FILE = """
study: Which CRF?
runs:
  - {name: weak, crf.iterations: 1}
  - {name: strong, crf.iterations: 5}
seeds: [0, 1]
"""


COMMON = tuple(setting for setting in TOY if not setting.startswith("crf.iterations"))
"""Settings of all runs."""


def write_study(folder: Path, text: str = FILE) -> Path:
    path = folder / "which_crf.yaml"
    path.write_text(text)
    return path


def planned(path: Path, *settings: str) -> StudyPlan:
    return plan_study(str(path), [*COMMON, *DRAWN, "rounds=1", *settings])


def summary(config: Config, **scores: Any) -> dict[str, Any]:
    """The summary of a run that has been through all of its stages."""
    steps = Inspector().plan(config)
    stages = [{"name": step.stage.name, "round": step.stage.round, "key": step.stage.key} for step in steps]
    found: dict[str, Any] = {
        "config": config.hash,
        "stages": [{"name": "crf", "round": 0, "miou": 1.0}, {"name": "pseudo_labels", "round": 0, "miou": 40.0}],
        "work": stages,
        "rounds": [{"round": 0, "kept": True}],
        "final_round": 0,
        "segmenter": {"round": 0, "miou": 50.0, "interval95": [48.0, 53.0]},
        "full_supervision": {"miou": 62.5, "interval95": [60.0, 64.0]},
        "percent_of_full": 80.0,
        "percent_of_full_interval95": [77.0, 84.0],
        "annotation": {"kinds": ["tags"], "seconds": WHOLE, "per_image_seconds": 20.0},
    }
    return found | scores


class Pretender:
    """Takes the place of ``run``.

    Attributes:
        ran: Configurations that were carried out.
        broken: What happens instead, by the number of CRF iterations.
        scores: Parts of the summary to change, by the number of CRF iterations.
    """

    def __init__(self) -> None:
        self.ran: list[Config] = []
        self.broken: dict[int, Callable[[], BaseException]] = {}
        self.scores: Mapping[int, dict[str, Any]] = {}

    def __call__(self, *, config: Config) -> Run:
        self.ran.append(config)
        kind = config.crf.iterations
        if kind in self.broken:
            raise self.broken[kind]()
        config.folder.mkdir(parents=True, exist_ok=True)
        (config.folder / "run.yaml").write_text(to_yaml(config))
        content = summary(config, **self.scores.get(kind, {}))
        (config.folder / "summary.json").write_text(json.dumps(content))
        return Run(config.folder)


def install(patch: pytest.MonkeyPatch) -> Pretender:
    """Let runs pretend until the end of a test."""
    pretender = Pretender()
    patch.setattr(carry_out, "run", pretender)
    return pretender
