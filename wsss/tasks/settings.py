"""Settings of everything that learns; they stand apart from the tasks so that reading them loads no Lightning."""

from collections.abc import Mapping
from dataclasses import dataclass

from wsss.errors import one_of, require
from wsss.networks import NETWORKS

OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("poly", "cosine", "constant")
ACCELERATORS = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "bf16-mixed", "32-true")
SUPERVISIONS = ("pseudo_labels", "dsrg", "sparse")
LOSSES: Mapping[str, Mapping[str, float]] = {
    "cross_entropy": {},
    "generalised": {"generalised_exponent": 0.7},
    "symmetric": {"symmetric_forward": 0.1, "symmetric_reverse": 1.0},
}
"""Losses of pseudo labels, and the settings that each of them reads, with the values that it was published with."""
OPINIONS = ("network_weight", "prototype_weight", "kept_weight")


@dataclass(frozen=True, kw_only=True)
class TrainerSettings:
    """Devices, precision, processes: what must not change a result, save for the precision."""

    devices: int = 1
    """Processes that share the work, each with a device of its own."""
    accelerator: str = "auto"
    """Where networks run: auto, cpu or cuda; auto takes CUDA where there is some."""
    precision: str = "auto"
    """Arithmetic of the networks: auto, bf16-mixed or 32-true; auto takes bf16 where the hardware is made for it."""
    workers: int = 0
    """Processes that prepare batches beside each training process; 0 prepares them in it."""
    threads: int = 0
    """Threads of each process; 0 shares the cores out among them. Another number rounds the last bits otherwise."""

    def __post_init__(self) -> None:
        require(self.devices >= 1, "devices", "must be at least 1", self.devices)
        require(self.workers >= 0, "workers", "must not be negative", self.workers)
        require(self.threads >= 0, "threads", "must not be negative", self.threads)
        one_of("accelerator", self.accelerator, ACCELERATORS)
        one_of("precision", self.precision, PRECISIONS)


@dataclass(frozen=True, kw_only=True)
class LearningSettings:
    """What every training has."""

    epochs: int = 10
    """Passes over the training data."""
    batch_size: int = 16
    """Samples in a step, over all processes together."""
    optimizer: str = "adamw"
    """What follows the gradients: adamw or sgd."""
    learning_rate: float = 1e-3
    """Step width at the start of the schedule."""
    weight_decay: float = 1e-2
    """Pull of convolution and matrix weights towards zero; norms and biases are left alone."""
    momentum: float = 0.9
    """Memory of sgd; adamw has its own."""
    schedule: str = "poly"
    """How the step width falls: poly, cosine or constant."""
    power: float = 0.9
    """Exponent of the poly schedule."""
    warmup: float = 0.0
    """Share of all steps over which the step width rises to its full size."""
    gradient_clip: float | None = None
    """Longest gradient, as the norm over all weights, that is followed at its full length; null clips nothing."""

    def __post_init__(self) -> None:
        require(self.epochs >= 1, "epochs", "must be at least 1", self.epochs)
        require(self.batch_size >= 1, "batch_size", "must be at least 1", self.batch_size)
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        one_of("schedule", self.schedule, SCHEDULES)
        require(self.learning_rate > 0, "learning_rate", "must be positive", self.learning_rate)
        require(self.weight_decay >= 0, "weight_decay", "must not be negative", self.weight_decay)
        require(0 <= self.momentum < 1, "momentum", "must lie in [0, 1)", self.momentum)
        require(self.power > 0, "power", "must be positive", self.power)
        require(0 <= self.warmup < 1, "warmup", "must lie in [0, 1)", self.warmup)
        clip = self.gradient_clip
        require(clip is None or clip > 0, "gradient_clip", "must be positive or null", clip)


@dataclass(frozen=True, kw_only=True)
class ImageLearningSettings(LearningSettings):
    """What the trainings on images have in common."""

    output_stride: int = 16
    """Image pixels from one feature of the backbone to the next: 32, 16 or 8."""
    freeze_batchnorm: bool | None = None
    """Whether BatchNorm keeps the statistics it was loaded with; null: exactly when weights are loaded."""
    freeze_stages: int = 0
    """So many of the backbone's five stages keep the weights they were loaded with."""
    head_multiplier: float = 10.0
    """Step width of everything beyond the backbone, in multiples of the backbone's."""
    probe_epochs: int = 0
    """First epochs in which only what lies beyond the backbone learns; they cost no backward pass through it."""
    probe_learning_rate: float = 1e-2
    """Step width in these first epochs."""
    crop: int = 256
    """Side in pixels of the squares that are cut out of the training images."""
    scale: tuple[float, ...] = (0.5, 1.5)
    """Least and largest size, in multiples of its own, at which a training image is shown."""
    flip: bool = True
    """Whether training images are mirrored at random."""
    jitter: float = 0.2
    """How far brightness, contrast and saturation of training images may change, as a share."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.output_stride in (8, 16, 32), "output_stride", "must be 8, 16 or 32", self.output_stride)
        require(0 <= self.freeze_stages <= 5, "freeze_stages", "must lie in [0, 5]", self.freeze_stages)
        require(self.head_multiplier > 0, "head_multiplier", "must be positive", self.head_multiplier)
        fits = 0 <= self.probe_epochs <= self.epochs
        require(fits, "probe_epochs", f"must lie in [0, {self.epochs}], the epochs", self.probe_epochs)
        require(self.probe_learning_rate > 0, "probe_learning_rate", "must be positive", self.probe_learning_rate)
        require(self.crop >= 16, "crop", "must be at least 16", self.crop)
        ordered = len(self.scale) == 2 and 0 < self.scale[0] <= self.scale[-1]
        require(ordered, "scale", "must be two positive numbers, the lesser first", list(self.scale))
        require(0 <= self.jitter < 1, "jitter", "must lie in [0, 1)", self.jitter)


@dataclass(frozen=True, kw_only=True)
class ClassifierSettings(ImageLearningSettings):
    """Training of the classifier, on tags alone."""

    weights: str = "none"
    """Where the backbone starts: none, imagenet, or the path of a state dict of the network in torchvision or timm."""
    hidden: int = 0
    """Channels of a hidden layer before the classes; 0 has none, and others have maps by cams.method=gradcam only."""
    epochs: int = 12
    """Passes over the training images."""
    held_out: float = 0.1
    """Share of the training images whose tags are only measured against; a class's last image is never taken."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.hidden >= 0, "hidden", "must not be negative", self.hidden)
        require(0 <= self.held_out < 1, "held_out", "must lie in [0, 1)", self.held_out)


@dataclass(frozen=True, kw_only=True)
class SegmenterSettings(ImageLearningSettings):
    """Training of the segmenter, and how it predicts."""

    supervision: str = "pseudo_labels"
    """What it learns from: pseudo_labels; dsrg: seeds that grow at each step; sparse: annotated pixels, see sparse."""
    network: str = "deeplabv3plus"
    """What turns the backbone's features into scores of labels: deeplabv3plus."""
    weights: str | None = None
    """Where the backbone starts, as for the classifier; null takes the classifier's."""
    epochs: int = 20
    """Passes over the training images."""
    loss: str = "cross_entropy"
    """Loss of pseudo labels: cross_entropy, or generalised or symmetric, which are made for wrong labels."""
    generalised_exponent: float = 0.7
    """Exponent q of the generalised loss, in (0, 1]: near 0 it is the cross entropy; 1 bears most wrong labels."""
    symmetric_forward: float = 0.1
    """Weight alpha of the cross entropy in the symmetric loss."""
    symmetric_reverse: float = 1.0
    """Weight beta of the reverse cross entropy in the symmetric loss."""
    balance: float = 0.5
    """Exponent by which a label counts the more, the rarer it is: 0 all pixels alike, 1 all labels; not for dsrg."""
    width: int = 128
    """Channels of the pyramid and of the decoder."""
    dropout: float = 0.0
    """Share of the pyramid's channels dropped in training; above 0 the number of processes changes which ones."""
    test_scales: tuple[float, ...] = (0.75, 1.0, 1.25)
    """Sizes of the image, in multiples, whose predictions are averaged."""
    test_flip: bool = True
    """Whether predictions on mirrored images join the average."""

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("supervision", self.supervision, SUPERVISIONS)
        one_of("network", self.network, tuple(NETWORKS))
        one_of("loss", self.loss, tuple(LOSSES))
        exponent, forward, reverse = self.generalised_exponent, self.symmetric_forward, self.symmetric_reverse
        require(0 < exponent <= 1, "generalised_exponent", "must lie in (0, 1]", exponent)
        require(forward >= 0, "symmetric_forward", "must not be negative", forward)
        require(reverse >= 0, "symmetric_reverse", "must not be negative", reverse)
        said = forward > 0 or reverse > 0
        require(said, "symmetric_forward", "must be positive where symmetric_reverse is 0", forward)
        require(self.width >= 8 and self.width % 8 == 0, "width", "must be a multiple of 8", self.width)
        require(0 <= self.balance <= 1, "balance", "must lie in [0, 1]", self.balance)
        require(0 <= self.dropout < 1, "dropout", "must lie in [0, 1)", self.dropout)
        scales = self.test_scales
        fits = len(scales) > 0 and all(0 < scale <= 4 for scale in scales)
        require(fits, "test_scales", "must be one or more numbers in (0, 4]", list(scales))


@dataclass(frozen=True, kw_only=True)
class GraphSettings(LearningSettings):
    """The region graph, and the one network that reads the graphs of all images."""

    neighbours: int = 8
    """Look-alikes that each region is joined to, beyond its neighbours in the image."""
    adjacency: bool = True
    """Whether the network hears neighbours in the image; without these and look-alikes it sees each region alone."""
    similarity: bool = True
    """Whether the network hears look-alikes."""
    cam_input: bool = True
    """Whether the network sees scores; half the regions' at a time, and it learns and predicts the other half."""
    passes: int = 8
    """Ways of hiding the scores of half the regions, each seen from both sides, over which predictions are averaged."""
    feature_scale: float = 2.0
    """Size of the image, in multiples, at which the classifier's features describe the regions."""
    network_weight: float = 0.6
    """Exponent of what the network finds, in the product that becomes the scores."""
    prototype_weight: float = 0.3
    """Exponent of each region's likeness to the seeded regions of its own image, in the same product."""
    kept_weight: float = 0.5
    """Exponent of the scores before, in the same product."""
    prototype_temperature: float = 0.2
    """By which cosines to the prototypes are divided; the lower, the surer."""
    hidden: int = 64
    """Channels of a region inside the network."""
    layers: int = 2
    """Steps along edges."""
    heads: int = 4
    """Attention heads; must divide `hidden`."""
    dropout: float = 0.3
    """Share of channels and of attention dropped in training."""
    # after some more the network knows the seeds' mistakes by heart
    epochs: int = 3
    """Passes over the training graphs."""
    learning_rate: float = 3e-3
    """Step width at the start of the schedule."""
    schedule: str = "cosine"
    """How the step width falls: poly, cosine or constant."""
    gradient_clip: float | None = 5.0
    """Longest gradient, as the norm over all weights, that is followed at its full length; null clips nothing."""
    class_weights: bool = False
    """Whether a label counts by the inverse root of its frequency; it costs points on noisy seeds."""
    entropy_weight: float = 0.0
    """Weight of the entropy of all regions' predictions; it costs points on noisy seeds."""
    laplacian_weight: float = 0.0
    """Weight of the differences along edges, each counted by the likeness of its ends."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("neighbours", "passes", "hidden", "layers", "heads"):
            require(getattr(self, name) >= 1, name, "must be at least 1", getattr(self, name))
        require(self.hidden % self.heads == 0, "hidden", f"must be a multiple of heads ({self.heads})", self.hidden)
        require(0 <= self.dropout < 1, "dropout", "must lie in [0, 1)", self.dropout)
        require(0 < self.feature_scale <= 4, "feature_scale", "must lie in (0, 4]", self.feature_scale)
        require(self.prototype_temperature > 0, "prototype_temperature", "must be positive", self.prototype_temperature)
        for name in (*OPINIONS, "entropy_weight", "laplacian_weight"):
            require(getattr(self, name) >= 0, name, "must not be negative", getattr(self, name))
        said = any(getattr(self, name) for name in OPINIONS)
        require(said, "network_weight", f"must be positive where {' and '.join(OPINIONS[1:])} are 0", 0)
