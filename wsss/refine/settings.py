"""Settings of the refiners that have no other home."""

from dataclasses import dataclass

from wsss.errors import require


@dataclass(frozen=True, kw_only=True)
class GrowingSettings:
    """Seeded region growing (Huang et al., CVPR 2018).

    Thresholds belong to the source of the scores: a share for a network's softmax, a quantile for CAMs, whose scores
    have no absolute meaning.
    """

    foreground_threshold: float = 0.85
    """A network's score above which a pixel of a present class is confident."""
    background_threshold: float = 0.99
    """A network's score above which a background pixel is confident."""
    foreground_quantile: float = 0.5
    """On CAMs, the share of an image's foreground pixels that is not confident."""
    background_quantile: float = 0.3
    """On CAMs, the share of an image's background pixels that is not confident."""
    crf: bool = True
    """Whether the scores pass through the dense CRF before pixels are called confident, as in DSRG."""

    def __post_init__(self) -> None:
        for name in ("foreground_threshold", "background_threshold", "foreground_quantile", "background_quantile"):
            value = getattr(self, name)
            require(0 <= value <= 1, name, "must lie in [0, 1]", value)
