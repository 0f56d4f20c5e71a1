"""Multi-label classifier whose last layer yields class activation maps (Zhou et al., CVPR 2016)."""

from jaxtyping import Float
from torch import Tensor, nn

from wsss.errors import SettingsError
from wsss.functional.cam import class_activation_maps
from wsss.networks.backbones import Backbone

NO_CLASS_WEIGHTS = "must be gradcam or gradcam++ with a hidden layer (classifier.hidden) before the classes"


class Classifier(nn.Module):
    """A backbone, a 1 × 1 convolution without bias, and global average pooling.

    Because the convolution precedes the pooling, its output is the class activation map itself; without a bias a map is
    zero where there is no evidence for its class. A hidden layer changes this: it lies between the pooling and the
    class logits, so there are no class weights for the features, and maps can only be computed from gradients.

    Args:
        backbone: The backbone.
        classes: Number C of foreground classes.
        hidden: Channels of the hidden layer; 0: none.
    """

    def __init__(self, backbone: Backbone, classes: int, *, hidden: int = 0) -> None:
        super().__init__()
        self.backbone = backbone
        self.hidden = nn.Sequential(nn.Conv2d(backbone.channels, hidden, 1), nn.ReLU(inplace=True)) if hidden else None
        self.head = nn.Conv2d(hidden or backbone.channels, classes, 1, bias=False)
        nn.init.normal_(self.head.weight, std=0.01)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C"]:
        """Compute one logit per class for RGB images in [0, 1]."""
        return self.logits(self.features(images))

    def features(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D h w"]:
        """Compute the features at the output stride."""
        return self.backbone(images)[1]

    def logits(self, features: Float[Tensor, "B D h w"]) -> Float[Tensor, "B C"]:
        """Compute one logit per class from the features at the output stride."""
        if self.hidden is None:
            return self.head(features).mean(dim=(2, 3))
        return self.head(self.hidden(features.mean(dim=(2, 3), keepdim=True))).flatten(1)

    def levels(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """Compute the features of the last three stages: from texture to semantics."""
        return self.backbone.levels(images)[-3:]

    @property
    def level_anchors(self) -> list[float]:
        """Position of a feature's centre in its block of pixels for each of ``levels``; see ``Backbone.anchor``."""
        return [self.backbone.anchor(stride) for stride in self.backbone.strides[-3:]]

    def activation_maps(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        """Compute the class activation maps at the output stride, at least 0.

        Raises:
            SettingsError: If there is a hidden layer before the classes.
        """
        if self.hidden is not None:
            raise SettingsError("cams.method", f"{NO_CLASS_WEIGHTS}, got 'cam'")
        return class_activation_maps(self.features(images), self.head.weight.flatten(1))
