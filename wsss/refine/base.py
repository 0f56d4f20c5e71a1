"""What a refiner is: it maps the evidence about one image to better evidence, so refiners chain in a list."""

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
"""Where scores come from: thresholds that suit a network's softmax don't suit activation maps."""


@dataclass(frozen=True)
class View:
    """What a refiner may look at besides the evidence.

    Attributes:
        image: The image.
        tags: Its tags; None rules nothing out.
        background: Whether the data set has a background class.
        source: Where the scores come from.
        marks: Labels of the pixels that a person marked one by one, ``IGNORE`` elsewhere; None where there are none.
        segments: Its superpixels, for refiners that need the graph.
        graph: Its region graph, likewise.
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
        """The labels that the tags allow among C foreground classes, in rising order."""
        return possible_labels(self.tags, classes, background=self.background)


class Refiner(ABC):
    """Maps Evidence to Evidence.

    Attributes:
        version: Raised whenever the same evidence gives another result.
        changes: Whether the refiner changes the seeds or the scores.
    """

    version: ClassVar[int]
    changes: ClassVar[Literal["seeds", "scores"]]

    @abstractmethod
    def refine(self, evidence: Evidence, view: View) -> Evidence:
        """Improve the evidence of one image; the input stays as it is."""

    @abstractmethod
    def depends(self, source: Source) -> dict[str, Any]:
        """The settings that steer the result, given where the scores come from."""

    def labels(self, evidence: Evidence, view: View) -> LabelMap:
        """Read the labels off refined evidence, (H, W) uint8."""
        if self.changes == "seeds":
            return evidence.seeds
        return best_labels(evidence.scores, view.possible(len(evidence.scores) - 1))


class FittedRefiner(Refiner):
    """A refiner with a network, fitted on the region graphs of the whole training set before it refines."""

    @property
    def learns(self) -> bool:
        """Whether its settings ask for the network at all."""
        return True

    @abstractmethod
    def learns_from(self, source: Source) -> dict[str, Any]:
        """The settings that steer the fit; what only refining reads is none of them."""

    @abstractmethod
    def describe(self, evidence: Evidence, view: View) -> "Data":
        """Put the evidence about an image onto the nodes of its graph."""

    @abstractmethod
    def task(self, graphs: "Sequence[Data]", classes: int) -> "Task":
        """Make what is fitted.

        Args:
            graphs: The described graphs of the training images.
            classes: Number K of labels, background included.
        """

    @abstractmethod
    def load(self, folder: Path) -> Self:
        """Read back the fitted network from the folder that holds it."""


def best_labels(scores: ScoreMap, labels: list[int]) -> LabelMap:
    """Take the best of the possible labels at each pixel.

    Args:
        scores: Class probabilities.
        labels: Labels that are possible.

    Returns:
        (H, W) uint8; ``IGNORE`` everywhere when no label is possible.
    """
    if not labels:
        return torch.full(scores.shape[1:], IGNORE, dtype=torch.uint8)
    return torch.tensor(labels, dtype=torch.uint8)[scores[labels].argmax(0)]
