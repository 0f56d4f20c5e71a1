"""Seeded region growing as a refiner: it changes the seeds."""

from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, ones

from wsss.functional.dense_crf import CrfSettings, dense_crf
from wsss.functional.region_growing import grow_regions
from wsss.functional.seeds import restrict_scores
from wsss.refine.base import Refiner, Source, View
from wsss.refine.settings import GrowingSettings
from wsss.store import resize_scores
from wsss.types import BACKGROUND, Evidence, ScoreMap


@dataclass(frozen=True)
class Growing(Refiner):
    """Grows seeds into connected pixels with confident scores.

    Attributes:
        settings: Thresholds.
        crf: Settings of the CRF that refines the scores first, if any.
    """

    settings: GrowingSettings
    crf: CrfSettings

    version = 1
    changes = "seeds"

    def depends(self, source: Source) -> dict[str, Any]:
        """Thresholds for that origin, and the CRF if it is used."""
        kind = "threshold" if source == "network" else "quantile"
        used = {name: value for name, value in asdict(self.settings).items() if name.endswith(kind)}
        return used | {"crf": asdict(self.crf) if self.settings.crf else None}

    def refine(self, evidence: Evidence, view: View) -> Evidence:
        """Grow the seeds; the scores pass through unchanged."""
        scores = restrict_scores(resize_scores(evidence.scores, view.size), view.tags, background=view.background)
        classes = len(scores) - 1
        if self.settings.crf:
            scores = dense_crf(view.image, scores, self.crf, labels=view.possible(classes))
        foreground, background = self.thresholds(scores, view.source)
        tags = ones(classes).bool() if view.tags is None else view.tags
        grown = grow_regions(
            scores, evidence.seeds, tags, foreground_threshold=foreground, background_threshold=background
        )
        return Evidence(evidence.scores, grown)

    def thresholds(self, scores: ScoreMap, source: Source) -> tuple[float, float]:
        """Return the scores above which pixels are confident: fixed for a network, quantiles of the scores for CAMs."""
        if source == "network":
            return self.settings.foreground_threshold, self.settings.background_threshold
        best, label = scores.max(0)
        return (
            _quantile(best[label != BACKGROUND], self.settings.foreground_quantile),
            _quantile(best[label == BACKGROUND], self.settings.background_quantile),
        )


def _quantile(values: Tensor, share: float) -> float:
    """Return the quantile of the values; 1 if there are none, so that nothing exceeds it.

    It stays below 1, so that pixels with a score of 1 still exceed it.
    """
    if not len(values):
        return 1.0
    rank = min(int(share * len(values)), len(values) - 1)
    return min(float(values.kthvalue(rank + 1).values), 1 - 1e-6)
