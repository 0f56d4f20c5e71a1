"""Settings of training on sparse annotations; separate from the other settings, which do not load torch."""

from collections.abc import Collection
from dataclasses import dataclass, field

from wsss.errors import require
from wsss.functional.crf_loss import CrfLossSettings
from wsss.functional.gated_crf import GatedCrfSettings

USUAL_WEIGHTS = {
    "partial_cross_entropy": 1.0,
    "balanced_seed": 1.0,
    "constrain": 1.0,
    "tree_energy": 0.4,
    "gated_crf": 0.1,
    "dense_crf": 0.1,
    "entropy": 0.1,
    "size": 0.1,
    "box_tightness": 0.1,
}
"""Default weights of the losses for sparse annotations, where the kinds of labels use them.

The first five are published values, the others were chosen here.
"""


@dataclass(frozen=True, kw_only=True)
class SparseSettings:
    """Training on sparsely annotated pixels: weights of the losses, which are summed.

    null means the default weight if the kinds of labels use the loss, and 0 otherwise.
    """

    partial_cross_entropy: float | None = None
    """Weight of the cross entropy of annotated pixels; published weight 1."""
    balanced_seed: float | None = None
    """Weight of the same with separate means for background and foreground (DSRG); published weight 1."""
    constrain: float | None = None
    """Weight of the divergence from the output's dense CRF (SEC), with crf and stride of dsrg; published weight 1."""
    tree_energy: float | None = None
    """Weight of the difference to the output filtered along colour and feature trees; published weight 0.4."""
    tree_sigma: float = 0.02
    """Squared colour distance, for colours in [0, 1], at which a pixel's weight in that filter falls to 1/e."""
    gated_crf: float | None = None
    """Weight of the gated CRF loss between neighbouring pixels of similar colour; published weight 0.1."""
    gated: GatedCrfSettings = field(default_factory=GatedCrfSettings)
    """Kernel of the gated CRF loss."""
    dense_crf: float | None = None
    """Weight of the dense CRF loss between all pixels of similar colour, in [0, 1]; not used by default."""
    dense: CrfLossSettings = field(default_factory=CrfLossSettings)
    """Kernel of the dense CRF loss."""
    entropy: float | None = None
    """Weight of the entropy at pixels without annotation; not used by default."""
    size: float | None = None
    """Weight of the size penalty of classes known to be absent; not used by default."""
    box_tightness: float | None = None
    """Weight of the penalty on rows and columns of boxes without the box's class; 0.1 where there are boxes."""

    def __post_init__(self) -> None:
        for name in USUAL_WEIGHTS:
            weight = getattr(self, name)
            require(weight is None or weight >= 0, name, "must not be negative, or be null", weight)
        require(self.tree_sigma > 0, "tree_sigma", "must be positive", self.tree_sigma)

    def weights(self, asked: Collection[str]) -> dict[str, float]:
        """Return the non-zero weights of the losses.

        Args:
            asked: Names of the losses that suit the kinds of labels.
        """
        given = {name: getattr(self, name) for name in USUAL_WEIGHTS}
        chosen = {
            name: (usual if name in asked else 0.0) if given[name] is None else given[name]
            for name, usual in USUAL_WEIGHTS.items()
        }
        return {name: weight for name, weight in chosen.items() if weight}
