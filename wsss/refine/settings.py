"""Settings of refiners that are not defined beside their functions."""

from dataclasses import dataclass

from wsss.errors import require


@dataclass(frozen=True, kw_only=True)
class GrowingSettings:
    """Seeded region growing (Huang et al., CVPR 2018).

    Thresholds depend on the origin of the scores: absolute for a network's softmax, quantiles for CAMs, whose scores
    have no absolute meaning.
    """

    foreground_threshold: float = 0.85
    """Score of a network above which a pixel of a present class is confident."""
    background_threshold: float = 0.99
    """Score of a network above which a background pixel is confident."""
    foreground_quantile: float = 0.5
    """For CAMs, quantile of an image's foreground scores above which pixels are confident."""
    background_quantile: float = 0.3
    """For CAMs, quantile of an image's background scores above which pixels are confident."""
    crf: bool = True
    """Whether the dense CRF refines the scores before the thresholds are applied, as in DSRG."""

    def __post_init__(self) -> None:
        for name in ("foreground_threshold", "background_threshold", "foreground_quantile", "background_quantile"):
            value = getattr(self, name)
            require(0 <= value <= 1, name, "must lie in [0, 1]", value)
