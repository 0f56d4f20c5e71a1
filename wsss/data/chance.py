"""Where chance comes from: seeds made of numbers and words, the same on every machine."""

from hashlib import blake2b

import torch
from torch import Tensor


def seed_of(*parts: int | str) -> int:
    """Hash numbers and words to a seed in [0, 2^63), the same on every machine."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=8).digest(), "big") >> 1


def repeated_order(count: int, samples: int, seed: int) -> Tensor:
    """Shuffle things again and again until so many samples are drawn.

    Args:
        count: Number of things.
        samples: Length of the result.
        seed: Where the permutations come from.

    Returns:
        (samples,) int64: permutations of 0 … count-1, one after the other, the last of them cut off.
    """
    turns = -(-samples // count) if samples else 1
    generator = torch.Generator().manual_seed(seed)
    return torch.cat([torch.randperm(count, generator=generator) for _ in range(turns)])[:samples]
