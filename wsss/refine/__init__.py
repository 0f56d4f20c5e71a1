"""Refiners: each maps Evidence to Evidence, so they chain in a list."""

from collections.abc import Callable
from typing import Protocol

from wsss.functional.dense_crf import CrfSettings
from wsss.refine.base import Refiner
from wsss.refine.crf import Crf
from wsss.refine.graph import Graph
from wsss.refine.growing import Growing
from wsss.refine.settings import GrowingSettings
from wsss.tasks.settings import GraphSettings


class RefinerSettings(Protocol):
    """The sections of the configuration that refiners use."""

    @property
    def growing(self) -> GrowingSettings:
        """Seeded region growing."""

    @property
    def graph(self) -> GraphSettings:
        """The region graph and its network."""

    @property
    def crf(self) -> CrfSettings:
        """The dense CRF."""


REFINERS: dict[str, Callable[[RefinerSettings], Refiner]] = {
    "growing": lambda settings: Growing(settings.growing, settings.crf),
    "graph": lambda settings: Graph(settings.graph),
    "crf": lambda settings: Crf(settings.crf),
}
"""Refiners by name, each made from the configuration."""
