import pytest

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
def test_a_refiner_says_what_it_changes_and_its_version(name: str, changes: str) -> None:
    refiner = REFINERS[name](CONFIG)
    assert refiner.changes == changes
    assert refiner.version >= 1


def test_only_the_graph_is_fitted() -> None:
    assert [name for name, make in REFINERS.items() if isinstance(make(CONFIG), FittedRefiner)] == ["graph"]
