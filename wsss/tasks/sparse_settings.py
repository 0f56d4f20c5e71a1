"""Settings of learning from a few labelled pixels; apart from the others, which load no torch."""

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
"""Losses of a few labelled pixels, and how much each counts where the labels ask for it.

The first five are the papers', the others were chosen here.
"""


@dataclass(frozen=True, kw_only=True)
class SparseSettings:
    """Learning from a few labelled pixels: weights of the losses, which add up.

    null takes the usual weight where the kinds of labels ask for the loss, and 0 where they don't.
    """

    partial_cross_entropy: float | None = None
    """Cross entropy of the pixels that are settled; published weight 1."""
    balanced_seed: float | None = None
    """The same, background and foreground each by their own mean (DSRG); published weight 1."""
    constrain: float | None = None
    """Pull towards what a dense CRF makes of the output (SEC), with the CRF and stride of dsrg; published weight 1."""
    tree_energy: float | None = None
    """Pull towards the output filtered along spanning trees of colours and features; published weight 0.4."""
    tree_sigma: float = 0.02
    """Squared distance of colours, in [0, 1], at which the weight of a pixel has fallen to 1/e in that filter."""
    gated_crf: float | None = None
    """Agreement of near pixels of like colour; published weight 0.1."""
    gated: GatedCrfSettings = field(default_factory=GatedCrfSettings)
    """Kernel of the gated CRF loss."""
    dense_crf: float | None = None
    """Agreement of all pixels of like colour, as a share in [0, 1]; no kind asks for it."""
    dense: CrfLossSettings = field(default_factory=CrfLossSettings)
    """Kernel of the dense CRF loss."""
    entropy: float | None = None
    """Doubt about pixels that are not settled; no kind asks for it."""
    size: float | None = None
    """Size of classes that are known to be absent; no kind asks for it."""
    box_tightness: float | None = None
    """Lines across boxes that meet nothing of the box's class; weight 0.1 where there are boxes."""

    def __post_init__(self) -> None:
        for name in USUAL_WEIGHTS:
            weight = getattr(self, name)
            require(weight is None or weight >= 0, name, "must not be negative, or be null", weight)
        require(self.tree_sigma > 0, "tree_sigma", "must be positive", self.tree_sigma)

    def weights(self, asked: Collection[str]) -> dict[str, float]:
        """Weights of the losses that take part.

        Args:
            asked: Names of the losses that the labels ask for.
        """
        given = {name: getattr(self, name) for name in USUAL_WEIGHTS}
        chosen = {
            name: (usual if name in asked else 0.0) if given[name] is None else given[name]
            for name, usual in USUAL_WEIGHTS.items()
        }
        return {name: weight for name, weight in chosen.items() if weight}
