"""Settings of the stages that run networks over images, and of the labels that come out at the end."""

from dataclasses import dataclass

from wsss.errors import one_of, require

CAM_METHODS = ("cam", "gradcam", "gradcam++")


@dataclass(frozen=True, kw_only=True)
class CamSettings:
    """Class activation maps (Zhou et al., CVPR 2016), summed over scales and flips."""

    method: str = "cam"
    """What weighs the features: cam (the class's weights), gradcam or gradcam++ (gradients, for any classifier)."""
    scales: tuple[float, ...] = (1.0, 0.5, 1.5, 2.0)
    """Sizes of the image, as multiples, whose maps are summed."""
    flip: bool = True
    """Whether mirrored images join the sum."""
    batch_size: int = 8
    """Most images of like size that are computed together."""
    negative_quantile: float | None = None
    """Quantile of a class's activations over images tagged without it that counts as none; null subtracts nothing."""

    def __post_init__(self) -> None:
        level = self.negative_quantile
        require(level is None or 0 <= level < 1, "negative_quantile", "must lie in [0, 1) or be null", level)
        one_of("method", self.method, CAM_METHODS)
        require(len(self.scales) > 0, "scales", "must name a scale", list(self.scales))
        require(all(0 < scale <= 4 for scale in self.scales), "scales", "must lie in (0, 4]", list(self.scales))
        require(self.batch_size >= 1, "batch_size", "must be at least 1", self.batch_size)


@dataclass(frozen=True, kw_only=True)
class PseudoLabelSettings:
    """From the last refiner's result to labels that a segmenter is trained on."""

    ignore_below: float = 0.0
    """Pixels whose best score is lower are left out of training."""
    confidence_weights: bool = True
    """Whether a pixel counts in training as much as its best score."""

    def __post_init__(self) -> None:
        require(0 <= self.ignore_below <= 1, "ignore_below", "must lie in [0, 1]", self.ignore_below)


@dataclass(frozen=True, kw_only=True)
class SelfTrainingSettings:
    """How a segmenter's scores become the next round's evidence, and when rounds stop; truth has no say in it."""

    foreground_threshold: float = 0.85
    """A segmenter's score above which a foreground pixel becomes a seed of the next round."""
    background_threshold: float = 0.95
    """A segmenter's score above which a background pixel becomes a seed of the next round."""
    watched: float = 0.1
    """Share of the training images that no segmenter is trained on, so that its predictions there can be trusted."""
    least_area: float = 0.005
    """Share of an image that a predicted class must cover to count as found."""
    tolerance: float = 0.05
    """How far tag F1 times consistency may fall below the best round's before a round is taken back."""
    guard: float = 0.1
    """How far agreement with the first seeds may fall below the best round's before a round is taken back."""

    def __post_init__(self) -> None:
        for name in ("foreground_threshold", "background_threshold", "least_area", "tolerance", "guard"):
            value = getattr(self, name)
            require(0 <= value <= 1, name, "must lie in [0, 1]", value)
        require(0 < self.watched < 1, "watched", "must lie strictly between 0 and 1", self.watched)
