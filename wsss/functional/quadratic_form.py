"""Energies that are quadratic in the scores, at the price of one pass over the pairs of pixels."""

from jaxtyping import Float
from torch import Tensor

LEAST_EXPONENT = -30.0
"""Of kernels: 1e-13 changes no sum in single precision, and smaller numbers than 1e-38 cost a processor ten times as
much as others, which most pairs of pixels would be."""


def quadratic_form(values: Float[Tensor, "B K h w"], filtered: Float[Tensor, "B K h w"]) -> Float[Tensor, " B"]:
    """Weigh the values of each image by the symmetric filter M that they went through: v·Mv.

    The slope of v·Mv is 2Mv, which is at hand once the value is known. So nothing needs to be remembered on the way
    through the filter, and there is no way back through it.

    Args:
        values: What was filtered.
        filtered: Mv. It is taken as a constant, since its own slope is counted here already.

    Returns:
        One number an image, with the slope 2Mv. A second derivative would be wrong.
    """
    once = (values * filtered.detach()).flatten(1).sum(dim=1)
    return 2 * once - once.detach()
