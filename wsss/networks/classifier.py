"""A multi-label classifier whose last layer is its class activation map (Zhou et al., CVPR 2016)."""

from jaxtyping import Float
from torch import Tensor, nn

from wsss.networks.backbones import Backbone


class Classifier(nn.Module):
    """A backbone, a 1 × 1 convolution without bias, and the average over all positions.

    Because the convolution comes before the average, its output is the class activation map itself; without a bias a
    map is zero where nothing speaks for its class.

    Args:
        backbone: The backbone.
        classes: Number C of foreground classes.
    """

    def __init__(self, backbone: Backbone, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Conv2d(backbone.channels, classes, 1, bias=False)
        nn.init.normal_(self.head.weight, std=0.01)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C"]:
        """Compute one logit a class for RGB images in [0, 1]."""
        return self.activation_maps(images).mean(dim=(2, 3))

    def features(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D h w"]:
        """Compute the features at the output stride."""
        return self.backbone(images)[1]

    def levels(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """Compute the features of the stages from stride 8 on: from what things are made of to what they are."""
        return self.backbone.levels(images)[2:]

    def activation_maps(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        """Compute the class activation maps at the output stride: logits, of either sign."""
        return self.head(self.features(images))
