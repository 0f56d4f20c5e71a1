"""Plans of small data sets, and their keys."""

from dataclasses import replace
from typing import Any

from tests.drawing import picture
from tests.stages.workshop import DrawnDataset, enlarged
from wsss.config import Config
from wsss.data.base import Dataset
from wsss.data.labelled import with_labels
from wsss.pipeline import Plan, Step, plan
from wsss.stages.base import Stage

PICTURES = {f"image {number}": enlarged(picture("0011", "2201"), 2) for number in range(6)}
PICTURES |= {"val 1": enlarged(picture("01"), 4)}
DATA = DrawnDataset(PICTURES)
CONFIG = Config(ceiling=True, rounds=2)


def planned(config: Config = CONFIG, dataset: Dataset = DATA, precision: str = "32-true") -> Plan:
    return plan(config, with_labels(dataset, config.labels), precision)


def steps(found: Plan) -> dict[str, Step]:
    """All steps by name and round."""
    return {step.stage.title: step for step in found}


def stages(found: Plan) -> dict[str, Stage]:
    """All stages by name and round, and those that measure them."""
    named = {title: step.stage for title, step in steps(found).items()}
    return named | {f"scores of {title}": step.scored for title, step in steps(found).items() if step.scored}


def keys(found: Plan) -> dict[str, str]:
    return {title: stage.key for title, stage in stages(found).items()}


def changed(config: Config, dataset: Dataset = DATA, precision: str = "32-true", *, plain: Config = CONFIG) -> set[str]:
    """Names of the stages whose key differs from that of the plain configuration."""
    before, after = keys(planned(plain)), keys(planned(config, dataset, precision))
    return {title for title in before.keys() | after.keys() if before.get(title) != after.get(title)}


def with_setting(config: Config, key: str, value: Any) -> Config:
    """The configuration with one setting changed, as ``key=value`` does it."""
    return _replaced(config, key.split("."), value)


def _replaced(settings: Any, path: list[str], value: Any) -> Any:
    name, *below = path
    return replace(settings, **{name: _replaced(getattr(settings, name), below, value) if below else value})
