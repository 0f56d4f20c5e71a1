"""A multi-label classifier whose last layer is its class activation map (Zhou et al., CVPR 2016), or one without."""

from jaxtyping import Float
from torch import Tensor, nn

from wsss.errors import SettingsError
from wsss.networks.backbones import Backbone

NO_CLASS_WEIGHTS = "must be gradcam or gradcam++ where a hidden layer (classifier.hidden) stands before the classes"


class Classifier(nn.Module):
    """A backbone, a 1 × 1 convolution without bias, and the average over all positions.

    Because the convolution comes before the average, its output is the class activation map itself; without a bias a
    map is zero where nothing speaks for its class. A hidden layer changes this: it stands behind the average and before
    the classes, so no class has weights for the features, and only gradients say where it was seen.

    Args:
        backbone: The backbone.
        classes: Number C of foreground classes.
        hidden: Channels of the hidden layer; 0 has none.
    """

    def __init__(self, backbone: Backbone, classes: int, *, hidden: int = 0) -> None:
        super().__init__()
        self.backbone = backbone
        self.hidden = nn.Sequential(nn.Conv2d(backbone.channels, hidden, 1), nn.ReLU(inplace=True)) if hidden else None
        self.head = nn.Conv2d(hidden or backbone.channels, classes, 1, bias=False)
        nn.init.normal_(self.head.weight, std=0.01)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C"]:
        """Compute one logit a class for RGB images in [0, 1]."""
        return self.logits(self.features(images))

    def features(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D h w"]:
        """Compute the features at the output stride."""
        return self.backbone(images)[1]

    def logits(self, features: Float[Tensor, "B D h w"]) -> Float[Tensor, "B C"]:
        """Compute one logit a class from the features at the output stride."""
        if self.hidden is None:
            return self.head(features).mean(dim=(2, 3))
        return self.head(self.hidden(features.mean(dim=(2, 3), keepdim=True))).flatten(1)

    def levels(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """Compute the features of the last three stages: from what things are made of to what they are."""
        return self.backbone.levels(images)[-3:]

    @property
    def level_anchors(self) -> list[float]:
        """Where in its block of pixels a feature of each of ``levels`` is centred; see ``Backbone.anchor``."""
        return [self.backbone.anchor(stride) for stride in self.backbone.strides[-3:]]

    def activation_maps(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        """Compute the class activation maps at the output stride: logits, of either sign.

        Raises:
            SettingsError: If a hidden layer stands before the classes.
        """
        if self.hidden is not None:
            raise SettingsError("cams.method", f"{NO_CLASS_WEIGHTS}, got 'cam'")
        return self.head(self.features(images))
