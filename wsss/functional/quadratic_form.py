"""Energies that are quadratic in the scores, with value and gradient from a single filtering."""

from jaxtyping import Float
from torch import Tensor

LEAST_EXPONENT = -30.0
"""Lower bound of kernel exponents: smaller kernels than 1e-13 change no sum in single precision, and most pairs would
have denormal numbers (below 1e-38), which are ten times slower on a CPU."""


def quadratic_form(values: Float[Tensor, "B K h w"], filtered: Float[Tensor, "B K h w"]) -> Float[Tensor, " B"]:
    """Compute v·Mv for a symmetric filter M from v and Mv.

    The gradient of v·Mv is 2Mv, which is known once the value is. So nothing needs to be stored during the filtering,
    and it needs no backward pass.

    Args:
        values: The filtered values v.
        filtered: Mv. Treated as a constant, since its gradient is already included here.

    Returns:
        One number per image, with the gradient 2Mv. Second derivatives would be wrong.
    """
    once = (values * filtered.detach()).flatten(1).sum(dim=1)
    return 2 * once - once.detach()
