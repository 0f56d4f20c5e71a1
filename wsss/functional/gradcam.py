"""Gradient-based class activation maps for any classifier: Grad-CAM and Grad-CAM++."""

from jaxtyping import Float
from torch import Tensor


def grad_cam(activations: Float[Tensor, "B D h w"], gradients: Float[Tensor, "B D h w"]) -> Float[Tensor, "B h w"]:
    """Weight features by their mean gradients (Grad-CAM: Selvaraju et al., ICCV 2017).

    If the logit of a class is the average over all positions of a linear layer, the gradients are the layer's weights
    divided by the number of positions, and the map is the class activation map divided by that number.

    Args:
        activations: Features of one layer.
        gradients: Gradients of one class's logit with respect to them.

    Returns:
        Activations >= 0, not normalised.
    """
    return _weighed(activations, gradients.mean(dim=(2, 3)))


def grad_cam_plus_plus(
    activations: Float[Tensor, "B D h w"], gradients: Float[Tensor, "B D h w"]
) -> Float[Tensor, "B h w"]:
    """Weight features by a weighted sum of their positive gradients (Grad-CAM++: Chattopadhay et al., WACV 2018).

    The paper differentiates the exponential of the logit, and assumes a logit that is linear in the features for the
    second and third derivatives; the exponential is then a constant factor of the whole map and is left out.
    The paper's features have passed a ReLU. A channel with a negative sum, as transformers may have, is treated as one
    with sum 0, so that no weight becomes negative.

    Args:
        activations: Features of one layer.
        gradients: Gradients of one class's logit with respect to them.

    Returns:
        Activations >= 0, not normalised.
    """
    sums = activations.sum(dim=(2, 3), keepdim=True).relu()
    rising = gradients.relu()
    # g² / (2 g² + sums g³), where g > 0
    shares = 1 / (2 + sums * rising)
    return _weighed(activations, (shares * rising).sum(dim=(2, 3)))


def _weighed(activations: Float[Tensor, "B D h w"], weights: Float[Tensor, "B D"]) -> Float[Tensor, "B h w"]:
    return (activations * weights[:, :, None, None]).sum(dim=1).relu()
