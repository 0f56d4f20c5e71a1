"""Error handling in data sets: raise the first error, or collect all of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from wsss.errors import DataError

_gathered: "ContextVar[list[DataError] | None]" = ContextVar("wsss_gathered", default=None)


@contextmanager
def gathered_faults() -> Iterator[list[DataError]]:
    """Collect errors that can be skipped instead of raising them.

    Yields:
        The errors collected so far, in order of occurrence.
    """
    faults: list[DataError] = []
    token = _gathered.set(faults)
    try:
        yield faults
    finally:
        _gathered.reset(token)


@contextmanager
def stepping_over() -> Iterator[None]:
    """Mark a skippable part: errors inside are raised as usual, but only recorded while errors are collected."""
    try:
        yield
    except DataError as error:
        raise_or_gather(error)


def raise_or_gather(fault: DataError) -> None:
    """Raise a skippable error, or only record it while errors are collected."""
    faults = _gathered.get()
    if faults is None:
        raise fault
    faults.append(fault)
