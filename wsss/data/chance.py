"""Where chance comes from: seeds made of numbers and words, the same on every machine."""

from hashlib import blake2b


def seed_of(*parts: int | str) -> int:
    """Hash numbers and words to a seed in [0, 2^63), the same on every machine."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=8).digest(), "big") >> 1
