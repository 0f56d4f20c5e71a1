"""Terminal output: progress and notes go to stderr, results to stdout.

Nothing else in the package writes to either, so that the output of a command can be piped.
"""

import contextlib
import html
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress

Advance = Callable[..., None]
"""Reports completed items: ``advance()`` one, ``advance(n)`` several."""

PAUSE = 10.0
"""Minimum number of seconds between two plain progress lines."""

_quiet: ContextVar[bool] = ContextVar("wsss_quiet", default=False)
_live: "ContextVar[Progress | None]" = ContextVar("wsss_live", default=None)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress progress and notes inside the block; results are still printed."""
    token = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(token)


def note(text: str) -> None:
    """Print a message that is not a result."""
    if not _quiet.get():
        _write(sys.stderr, text)


def result(text: str) -> None:
    """Print a result."""
    _write(sys.stdout, text)


@contextlib.contextmanager
def progress(description: str, total: int) -> Iterator[Advance]:
    """Show the progress of a long step.

    A terminal shows a bar with rate and remaining time; a file gets a line at the start, at the end, and at most every
    ten seconds in between. Nested progress shares the terminal.

    Args:
        description: Short description of the step.
        total: Number of items.

    Yields:
        The function to call when items are completed.
    """
    if _quiet.get():
        yield _nothing
    elif sys.stderr.isatty():
        with _bar(description, total) as advance:
            yield advance
    else:
        with _lines(description, total) as advance:
            yield advance


def format_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Format a table as text.

    Numbers are right-aligned, floats have one decimal, booleans are yes or no; None is a dash.

    >>> print(format_table("scores", ["class", "IoU"], [["cat", 61.25], ["sea lion", None]]))
    scores
    class      IoU
    ────────  ────
    cat       61.2
    sea lion     –

    Args:
        title: A line above the table; may be empty.
        columns: Names of the columns.
        rows: Rows with one cell per column.

    Returns:
        Lines without a final line break.
    """
    texts = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(text_width, column)) for column in zip(columns, *texts, strict=True)]
    right = [_is_numeric([row[index] for row in rows]) for index in range(len(columns))]

    def line(cells: Sequence[str]) -> str:
        padded = []
        for cell, width, numeric in zip(cells, widths, right, strict=True):
            blank = " " * (width - text_width(cell))
            padded.append(blank + cell if numeric else cell + blank)
        return "  ".join(padded).rstrip()

    rule = "  ".join("─" * width for width in widths)
    return "\n".join([*([title] if title else []), line(columns), rule, *map(line, texts)])


def text_width(text: str) -> int:
    """Number of terminal columns that a text takes; Chinese, Japanese and Korean characters take two.

    >>> text_width("café"), text_width("猫")
    (4, 2)
    """
    from rich.cells import cell_len

    return cell_len(text)


def elide(text: str, width: int) -> str:
    """Shorten a text to a number of terminal columns, leaving out its middle.

    >>> elide("2007_000032_left_camera", 12)
    '2007_0…amera'
    """
    if text_width(text) <= width:
        return text
    kept = len(text)
    while True:
        kept -= 1
        shortened = f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"
        if kept <= 1 or text_width(shortened) <= width:
            return shortened


def html_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Format a table as HTML, with cells as in ``format_table``.

    >>> print(html_table("", ["class", "IoU"], [["cats & dogs", 61.25]]))
    <table>
    <thead><tr><th style="text-align: left">class</th><th style="text-align: right">IoU</th></tr></thead>
    <tbody>
    <tr><td style="text-align: left">cats &amp; dogs</td><td style="text-align: right">61.2</td></tr>
    </tbody>
    </table>

    Args:
        title: The caption; may be empty.
        columns: Names of the columns.
        rows: Rows with one cell per column.

    Returns:
        Lines without a final line break; texts are escaped.
    """
    right = [_is_numeric([row[index] for row in rows]) for index in range(len(columns))]

    def line(cells: Sequence[str], tag: str) -> str:
        sides = ["right" if numeric else "left" for numeric in right]
        pairs = zip(cells, sides, strict=True)
        return "".join(f'<{tag} style="text-align: {side}">{html.escape(cell)}</{tag}>' for cell, side in pairs)

    caption = [f"<caption>{html.escape(title)}</caption>"] if title else []
    body = [f"<tr>{line([_cell(value) for value in row], 'td')}</tr>" for row in rows]
    head = f"<thead><tr>{line(columns, 'th')}</tr></thead>"
    return "\n".join(["<table>", *caption, head, "<tbody>", *body, "</tbody>", "</table>"])


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    r"""Format a table as Markdown, with cells as in ``format_table``.

    >>> print(markdown_table(["class", "IoU"], [["cat | dog", 61.25]]))
    | class | IoU |
    | :-- | --: |
    | cat \| dog | 61.2 |

    Args:
        columns: Names of the columns.
        rows: Rows with one cell per column.

    Returns:
        Lines without a final line break.
    """
    rules = ["--:" if _is_numeric([row[index] for row in rows]) else ":--" for index in range(len(columns))]
    cells = [[_cell(value).replace("|", "\\|") for value in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in [list(columns), rules, *cells])


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.1f}"
    return str(value)


def _is_numeric(values: Sequence[object]) -> bool:
    known = [value for value in values if value is not None]
    return bool(known) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in known)


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text + "\n")
    except UnicodeEncodeError:
        # limited terminal encoding: replacing characters is better than failing after a completed run
        stream.write(text.encode(stream.encoding, "replace").decode(stream.encoding) + "\n")
    stream.flush()


def _nothing(items: int = 1) -> None:
    """Ignore progress."""


@contextlib.contextmanager
def _bar(description: str, total: int) -> Iterator[Advance]:
    start, done = time.monotonic(), 0
    with _terminal() as bars:
        task = bars.add_task(description, total=total, rate="")

        def advance(items: int = 1) -> None:
            nonlocal done
            done += items
            bars.update(task, completed=done, rate=f"{done / max(time.monotonic() - start, 1e-9):.1f}/s")

        yield advance
        bars.stop_task(task)


@contextlib.contextmanager
def _terminal() -> "Iterator[Progress]":
    """The progress display: the active one, or a new one."""
    shown = _live.get()
    if shown is not None:
        yield shown
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    # results still go to stdout while bars are shown on stderr
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=False) as bars:
        token = _live.set(bars)
        try:
            yield bars
        finally:
            _live.reset(token)


@contextlib.contextmanager
def _lines(description: str, total: int) -> Iterator[Advance]:
    start = said = time.monotonic()
    done = 0
    _write(sys.stderr, f"{description}: 0/{total}")

    def advance(items: int = 1) -> None:
        nonlocal done, said
        done += items
        now = time.monotonic()
        if now - said >= PAUSE and done < total:
            said = now
            left = (total - done) * (now - start) / done
            _write(sys.stderr, f"{description}: {done}/{total}, {done / (now - start):.1f}/s, {left:.0f} s left")

    yield advance
    seconds = time.monotonic() - start
    _write(sys.stderr, f"{description}: {done}/{total} in {seconds:.1f} s ({done / max(seconds, 1e-9):.1f}/s)")
