"""What is wrong with a data set: told at the first of it, or gathered to be told all at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from wsss.errors import DataError

_gathered: "ContextVar[list[DataError] | None]" = ContextVar("wsss_gathered", default=None)


@contextmanager
def gathered() -> Iterator[list[DataError]]:
    """Go on reading after each fault that can be stepped over.

    Yields:
        The faults met so far, in the order in which they were met.
    """
    faults: list[DataError] = []
    token = _gathered.set(faults)
    try:
        yield faults
    finally:
        _gathered.reset(token)


@contextmanager
def stepping_over() -> Iterator[None]:
    """Read what the rest can do without: a fault inside is raised as ever, but only noted where faults are gathered."""
    try:
        yield
    except DataError as error:
        faults = _gathered.get()
        if faults is None:
            raise
        faults.append(error)
