"""Streams of chance that know nothing of each other."""

from hashlib import blake2b

import numpy as np


def stream(seed: int, *purpose: int | str) -> np.random.Generator:
    """Open the stream of one purpose, so that what one purpose draws never moves what another one draws.

    Args:
        seed: Where all streams of an image come from.
        purpose: What is drawn, and for which thing.
    """
    digest = blake2b(repr((seed, *purpose)).encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))
