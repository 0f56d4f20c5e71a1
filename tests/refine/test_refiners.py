import pytest

from tests.plans import keys, planned
from wsss.config import Config
from wsss.functional.dense_crf import CrfSettings
from wsss.refine import REFINERS
from wsss.refine.base import FittedRefiner
from wsss.refine.crf import Crf
from wsss.refine.graph import Graph
from wsss.refine.growing import Growing
from wsss.refine.settings import GrowingSettings
from wsss.tasks.settings import GraphSettings

CONFIG = Config(
    growing=GrowingSettings(foreground_quantile=0.4), graph=GraphSettings(layers=1), crf=CrfSettings(iterations=2)
)


def test_refiners_are_made_from_their_sections() -> None:
    assert REFINERS["growing"](CONFIG) == Growing(CONFIG.growing, CONFIG.crf)
    assert REFINERS["graph"](CONFIG) == Graph(CONFIG.graph)
    assert REFINERS["crf"](CONFIG) == Crf(CONFIG.crf)


@pytest.mark.parametrize(("name", "changes"), [("growing", "seeds"), ("graph", "scores"), ("crf", "scores")])
def test_a_refiner_says_what_it_changes(name: str, changes: str) -> None:
    assert REFINERS[name](CONFIG).changes == changes


@pytest.mark.parametrize("name", REFINERS)
def test_what_a_refiner_of_another_version_has_made_is_not_handed_out(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = keys(planned())
    refiner = type(REFINERS[name](CONFIG))
    monkeypatch.setattr(refiner, "version", refiner.version + 1)
    after = keys(planned())
    changed = [title for title in before if before[title] != after[title]]
    assert changed[0] == f"{name}:0"
    assert {"pseudo_labels:0", f"{name}:1"} <= set(changed)


def test_only_the_graph_is_fitted() -> None:
    assert [name for name, make in REFINERS.items() if isinstance(make(CONFIG), FittedRefiner)] == ["graph"]
