"""Settings of stages that apply networks to images, of pseudo labels and of self-training."""

from dataclasses import dataclass

from wsss.errors import one_of, require

CAM_METHODS = ("cam", "gradcam", "gradcam++")


@dataclass(frozen=True, kw_only=True)
class CamSettings:
    """Class activation maps (Zhou et al., CVPR 2016), summed over scales and flips."""

    method: str = "cam"
    """Weights of the features: cam (last layer's class weights), gradcam or gradcam++ (gradients, any classifier)."""
    scales: tuple[float, ...] = (1.0, 0.5, 1.5, 2.0)
    """Scales of the image whose maps are summed."""
    flip: bool = True
    """Whether maps of mirrored images are added."""
    batch_size: int = 8
    """Maximum number of images of similar size that are computed together."""
    negative_quantile: float | None = None
    """Quantile of a class's activations on images without it that is subtracted as noise; null subtracts nothing."""

    def __post_init__(self) -> None:
        level = self.negative_quantile
        require(level is None or 0 <= level < 1, "negative_quantile", "must lie in [0, 1) or be null", level)
        one_of("method", self.method, CAM_METHODS)
        require(len(self.scales) > 0, "scales", "must name a scale", list(self.scales))
        require(all(0 < scale <= 4 for scale in self.scales), "scales", "must lie in (0, 4]", list(self.scales))
        require(self.batch_size >= 1, "batch_size", "must be at least 1", self.batch_size)


@dataclass(frozen=True, kw_only=True)
class PseudoLabelSettings:
    """Conversion of the last refiner's result into training labels."""

    ignore_below: float = 0.0
    """Pixels whose best score is lower are ignored in training."""
    confidence_weights: bool = True
    """Whether pixels are weighted by their best score in training."""

    def __post_init__(self) -> None:
        require(0 <= self.ignore_below <= 1, "ignore_below", "must lie in [0, 1]", self.ignore_below)


@dataclass(frozen=True, kw_only=True)
class SelfTrainingSettings:
    """Self-training: seeds from a segmenter's scores, and a stopping rule that never uses ground truth."""

    foreground_threshold: float = 0.85
    """Score of a segmenter above which a foreground pixel becomes a seed of the next round."""
    background_threshold: float = 0.95
    """Score of a segmenter above which a background pixel becomes a seed of the next round."""
    watched: float = 0.1
    """Share of the training images that no segmenter is trained on, for unbiased quality estimates."""
    least_area: float = 0.005
    """Minimum share of an image that a predicted class must cover to count as found."""
    tolerance: float = 0.05
    """Maximum drop of tag F1 times consistency below the best round's before a round is rolled back."""
    guard: float = 0.1
    """Maximum drop of the agreement with the first seeds below the best round's before a round is rolled back."""

    def __post_init__(self) -> None:
        for name in ("foreground_threshold", "background_threshold", "least_area", "tolerance", "guard"):
            value = getattr(self, name)
            require(0 <= value <= 1, name, "must lie in [0, 1]", value)
        require(0 < self.watched < 1, "watched", "must lie strictly between 0 and 1", self.watched)
