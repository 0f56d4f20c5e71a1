"""Memory that this process frees stays with it, so that it is cleared once and not at every step."""

import ctypes
import os
from functools import cache

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""What glibc's ``mallopt`` calls the free memory that is given back, and how many pieces may be mapped one by one."""


@cache
def keep_freed_memory() -> bool:
    """Let glibc reuse what is freed instead of giving it back to the system.

    A network's features are large pieces of memory, and glibc maps each of them anew: the system clears every page when
    it is first touched, which takes a third of a training step on a processor. The process stays as large as it once
    was, which is what it needs at the next step.

    Returns:
        Whether this process does so from now on; other C libraries have ways of their own and are left alone, and so
        is whoever sets ``MALLOC_…`` variables.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
        os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, OSError, TypeError, ValueError):
        return False
    return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, 2**31 - 1))
