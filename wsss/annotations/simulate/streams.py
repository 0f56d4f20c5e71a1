"""Independent random streams."""

from hashlib import blake2b

import numpy as np


def stream(seed: int, *purpose: int | str) -> np.random.Generator:
    """Open the random stream of one purpose; draws for one purpose do not affect any other.

    Args:
        seed: Seed of all streams of an image.
        purpose: What is drawn, and for which object.
    """
    digest = blake2b(repr((seed, *purpose)).encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))
