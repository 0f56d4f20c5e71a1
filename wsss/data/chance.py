"""Deterministic seeds from numbers and words, the same on every machine."""

from hashlib import blake2b

import torch
from torch import Tensor


def seed_of(*parts: int | str) -> int:
    """Hash numbers and words to a seed in [0, 2^63), the same on every machine."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=8).digest(), "big") >> 1


def repeated_order(count: int, samples: int, seed: int) -> Tensor:
    """Concatenate random permutations until the given number of samples is reached.

    Args:
        count: Number of items.
        samples: Length of the result.
        seed: Seed of the permutations.

    Returns:
        (samples,) int64: permutations of 0 … count-1, one after the other, the last of them truncated.
    """
    turns = -(-samples // count) if samples else 1
    generator = torch.Generator().manual_seed(seed)
    return torch.cat([torch.randperm(count, generator=generator) for _ in range(turns)])[:samples]
