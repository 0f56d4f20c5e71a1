"""Interface of refiners: they map the evidence about one image to better evidence, so they can be chained."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch

from wsss.types import IGNORE, Evidence, Image, LabelMap, ScoreMap, Segments, Tags, possible_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch_geometric.data import Data

    from wsss.tasks.base import Task

Source = Literal["cams", "network"]
"""Origin of the scores: thresholds that suit a network's softmax do not suit activation maps."""


@dataclass(frozen=True)
class View:
    """Inputs of a refiner besides the evidence.

    Attributes:
        image: The image.
        tags: Its tags; None if unknown: all labels are possible.
        background: Whether the data set has a background class.
        source: Origin of the scores.
        marks: Labels of individually annotated pixels (points, strokes), ``IGNORE`` elsewhere; None if there are none.
        segments: Its superpixels, for refiners that need the graph.
        graph: Its region graph, for the same refiners.
    """

    image: Image
    tags: Tags | None
    background: bool
    source: Source
    marks: LabelMap | None = None
    segments: Segments | None = None
    graph: "Data | None" = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image."""
        return int(self.image.shape[1]), int(self.image.shape[2])

    def possible(self, classes: int) -> list[int]:
        """The labels that the tags allow among C foreground classes, in ascending order."""
        return possible_labels(self.tags, classes, background=self.background)


class Refiner(ABC):
    """Maps Evidence to Evidence.

    Attributes:
        version: Incremented whenever the same evidence gives another result.
        changes: Whether the refiner changes the seeds or the scores.
    """

    version: ClassVar[int]
    changes: ClassVar[Literal["seeds", "scores"]]

    @abstractmethod
    def refine(self, evidence: Evidence, view: View) -> Evidence:
        """Improve the evidence of one image without modifying the input."""

    @abstractmethod
    def depends(self, source: Source) -> dict[str, Any]:
        """The settings that the result depends on, given the origin of the scores."""

    def labels(self, evidence: Evidence, view: View) -> LabelMap:
        """Return the labels of refined evidence, (H, W) uint8."""
        if self.changes == "seeds":
            return evidence.seeds
        return best_labels(evidence.scores, view.possible(len(evidence.scores) - 1))


class FittedRefiner(Refiner):
    """A refiner with a network that is fitted to the region graphs of the whole training set first."""

    @property
    def learns(self) -> bool:
        """Whether its settings need the network at all."""
        return True

    @abstractmethod
    def learns_from(self, source: Source) -> dict[str, Any]:
        """The settings that the fit depends on, without those used for refining only."""

    @abstractmethod
    def describe(self, evidence: Evidence, view: View) -> "Data":
        """Attach the evidence about an image to the nodes of its graph."""

    @abstractmethod
    def task(self, graphs: "Sequence[Data]", classes: int) -> "Task":
        """Create the task to be fitted.

        Args:
            graphs: The graphs of the training images with their evidence.
            classes: Number K of labels, background included.
        """

    @abstractmethod
    def load(self, folder: Path) -> Self:
        """Return the refiner with the fitted network in a folder."""


def best_labels(scores: ScoreMap, labels: list[int]) -> LabelMap:
    """Return the best of the possible labels at each pixel.

    Args:
        scores: Class probabilities.
        labels: The possible labels.

    Returns:
        (H, W) uint8; ``IGNORE`` everywhere if no label is possible.
    """
    if not labels:
        return torch.full(scores.shape[1:], IGNORE, dtype=torch.uint8)
    return torch.tensor(labels, dtype=torch.uint8)[scores[labels].argmax(0)]
