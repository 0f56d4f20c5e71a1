"""The dense CRF as a refiner: it changes the scores."""

from dataclasses import asdict, dataclass
from typing import Any

from wsss.functional.dense_crf import CrfSettings, dense_crf
from wsss.functional.seeds import restrict_scores
from wsss.refine.base import Refiner, Source, View
from wsss.store import resize_scores
from wsss.types import Evidence


@dataclass(frozen=True)
class Crf(Refiner):
    """Aligns labels with image edges by the dense CRF.

    Attributes:
        settings: Kernels and iterations.
    """

    settings: CrfSettings

    version = 1
    changes = "scores"

    def depends(self, source: Source) -> dict[str, Any]:  # noqa: ARG002 - the CRF treats all scores alike
        """All settings of the CRF."""
        return asdict(self.settings)

    def refine(self, evidence: Evidence, view: View) -> Evidence:
        """Refine the scores at the image's full resolution; the seeds pass through unchanged."""
        scores = restrict_scores(resize_scores(evidence.scores, view.size), view.tags, background=view.background)
        possible = view.possible(len(scores) - 1)
        return Evidence(dense_crf(view.image, scores, self.settings, labels=possible), evidence.seeds)
