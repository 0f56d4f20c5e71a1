"""Keeps freed memory in the process, so that pages are not cleared again at every training step."""

import ctypes
import os
from functools import cache

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Codes of glibc's ``mallopt`` for the trim threshold and the maximum number of mmapped blocks."""


@cache
def keep_freed_memory() -> bool:
    """Let glibc reuse freed memory instead of returning it to the system.

    Network features are large blocks of memory, each of which glibc maps separately: the system clears every page on
    first access, which takes a third of a training step on a CPU. The process keeps its peak size, which the next step
    needs again anyway.

    Returns:
        Whether this was set; other C libraries are left alone, as are processes with ``MALLOC_…`` environment
        variables.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
        os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, OSError, TypeError, ValueError):
        return False
    return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, 2**31 - 1))
