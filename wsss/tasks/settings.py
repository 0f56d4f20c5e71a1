"""Settings of all trainings; separate from the tasks so that reading them does not load Lightning."""

from collections.abc import Mapping
from dataclasses import dataclass

from wsss.errors import one_of, require

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
"""Losses of pseudo labels, and the settings that each of them uses, with their published values."""
OPINIONS = ("network_weight", "prototype_weight", "kept_weight")


@dataclass(frozen=True, kw_only=True)
class TrainerSettings:
    """Devices, precision, processes: apart from the precision they must not change results."""

    devices: int = 1
    """Number of processes, each with its own device."""
    accelerator: str = "auto"
    """Device of the networks: auto, cpu or cuda; auto uses CUDA if available."""
    precision: str = "auto"
    """Precision of the networks: auto, bf16-mixed or 32-true; auto uses bf16 where the hardware has it natively."""
    workers: int = 0
    """Data loading processes per training process; 0 loads batches in the training process."""
    threads: int = 0
    """Threads per process; 0 divides the cores among the processes. Other numbers change rounding in the last bits."""

    def __post_init__(self) -> None:
        require(self.devices >= 1, "devices", "must be at least 1", self.devices)
        require(self.workers >= 0, "workers", "must not be negative", self.workers)
        require(self.threads >= 0, "threads", "must not be negative", self.threads)
        one_of("accelerator", self.accelerator, ACCELERATORS)
        one_of("precision", self.precision, PRECISIONS)


@dataclass(frozen=True, kw_only=True)
class LearningSettings:
    """Settings common to all trainings."""

    epochs: int = 10
    """Passes over the training data."""
    batch_size: int = 16
    """Samples per step, over all processes together."""
    optimizer: str = "adamw"
    """Optimizer: adamw or sgd."""
    learning_rate: float = 1e-3
    """Learning rate at the start of the schedule."""
    weight_decay: float = 1e-2
    """Weight decay of convolution and matrix weights; norms and biases do not decay."""
    momentum: float = 0.9
    """Momentum of sgd; adamw uses its default betas."""
    schedule: str = "poly"
    """Learning rate schedule: poly, cosine or constant."""
    power: float = 0.9
    """Exponent of the poly schedule."""
    warmup: float = 0.0
    """Share of all steps over which the learning rate rises linearly to its full value."""
    gradient_clip: float | None = None
    """Maximum gradient norm over all weights; larger gradients are scaled down to it; null disables clipping."""

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
    """Settings common to all trainings on images."""

    output_stride: int = 16
    """Output stride of the backbone in image pixels: 32, 16 or 8."""
    freeze_batchnorm: bool | None = None
    """Whether BatchNorm keeps its loaded statistics; null: exactly when weights are loaded."""
    freeze_stages: int = 0
    """Number of the backbone's five stages whose weights are frozen, counted from the input."""
    head_multiplier: float = 10.0
    """Learning rate of all layers outside of the backbone, in multiples of the backbone's."""
    probe_epochs: int = 0
    """First epochs in which only layers outside of the backbone are trained; they need no backward pass through it."""
    probe_learning_rate: float = 1e-2
    """Learning rate in these first epochs."""
    crop: int = 256
    """Side in pixels of the square training crops."""
    scale: tuple[float, ...] = (0.5, 1.5)
    """Minimum and maximum of the random scale of training images."""
    flip: bool = True
    """Whether training images are randomly mirrored."""
    jitter: float = 0.2
    """Maximum relative change of brightness, contrast and saturation of training images."""

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
    """Training of the classifier on image tags."""

    weights: str = "none"
    """Initial backbone weights: none, imagenet, or the path of a state dict of the network in torchvision or timm."""
    hidden: int = 0
    """Channels of a hidden layer before the class logits; 0: none. Maps then need a gradient method (cams.method)."""
    epochs: int = 12
    """Passes over the training images."""
    held_out: float = 0.1
    """Share of the training images held out to evaluate tags; the last image of a class is never held out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.weights != "classifier", "weights", "must be none, imagenet or a file", self.weights)
        require(self.hidden >= 0, "hidden", "must not be negative", self.hidden)
        require(0 <= self.held_out < 1, "held_out", "must lie in [0, 1)", self.held_out)


@dataclass(frozen=True, kw_only=True)
class SegmenterSettings(ImageLearningSettings):
    """Training of the segmenter, and prediction with it."""

    supervision: str = "pseudo_labels"
    """Supervision: pseudo_labels; dsrg: seeds that grow at each step; sparse: annotated pixels only, see sparse."""
    network: str = "deeplabv3plus"
    """Segmentation network on top of the backbone: deeplabv3plus."""
    weights: str | None = None
    """Initial backbone weights: as for the classifier, or classifier: its trained ones; null: the same as it had."""
    epochs: int = 20
    """Passes over the training images."""
    loss: str = "cross_entropy"
    """Loss of pseudo labels: cross_entropy, or generalised or symmetric, which are robust to label noise."""
    generalised_exponent: float = 0.7
    """Exponent q of the generalised loss, in (0, 1]: cross entropy near 0, most robust to wrong labels at 1."""
    symmetric_forward: float = 0.1
    """Weight alpha of the cross entropy in the symmetric loss."""
    symmetric_reverse: float = 1.0
    """Weight beta of the reverse cross entropy in the symmetric loss."""
    balance: float = 0.5
    """Exponent of inverse class frequency weighting: 0 weights all pixels equally, 1 all labels; not used by dsrg."""
    width: int = 128
    """Channels of the ASPP and of the decoder."""
    dropout: float = 0.0
    """Dropout rate of the ASPP's output; above 0 results depend on the number of processes."""
    test_scales: tuple[float, ...] = (0.75, 1.0, 1.25)
    """Scales of the image whose predictions are averaged at test time."""
    test_flip: bool = True
    """Whether predictions on mirrored images are included in the average."""

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("supervision", self.supervision, SUPERVISIONS)
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
    """Region graphs, and the graph network that is shared by all images."""

    neighbours: int = 8
    """Number of similar regions that each region is connected to, in addition to adjacent ones."""
    adjacency: bool = True
    """Whether messages pass between adjacent regions; without adjacency and similarity, regions are independent."""
    similarity: bool = True
    """Whether messages pass between similar regions."""
    cam_input: bool = True
    """Whether CAM scores are an input; those of a random half of the regions are hidden, and that half is predicted."""
    passes: int = 8
    """Random halves of hidden regions, each used with its complement, over which predictions are averaged."""
    feature_scale: float = 2.0
    """Scale of the image at which the classifier computes region features."""
    network_weight: float = 0.6
    """Exponent of the network's prediction in the product that gives the new scores."""
    prototype_weight: float = 0.3
    """Exponent of the similarity to the seeded regions of the same image, in the same product."""
    kept_weight: float = 0.5
    """Exponent of the previous scores, in the same product."""
    prototype_temperature: float = 0.2
    """Softmax temperature of the cosine similarities to prototypes; lower values give more confident scores."""
    hidden: int = 64
    """Hidden channels of the network."""
    layers: int = 2
    """Number of message passing layers."""
    heads: int = 4
    """Attention heads; must divide `hidden`."""
    dropout: float = 0.3
    """Dropout rate of channels and attention weights."""
    # with more epochs the network memorises the errors of the seeds
    epochs: int = 3
    """Passes over the training graphs."""
    learning_rate: float = 3e-3
    """Learning rate at the start of the schedule."""
    schedule: str = "cosine"
    """Learning rate schedule: poly, cosine or constant."""
    gradient_clip: float | None = 5.0
    """Maximum gradient norm over all weights; larger gradients are scaled down to it; null disables clipping."""
    class_weights: bool = False
    """Whether labels are weighted by the inverse square root of their frequency; lowers accuracy on noisy seeds."""
    entropy_weight: float = 0.0
    """Weight of the entropy of all regions' predictions; lowers accuracy on noisy seeds."""
    laplacian_weight: float = 0.0
    """Weight of the graph Laplacian loss, with edges weighted by cosine similarity."""

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
