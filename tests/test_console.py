import io
import re

import pytest

from wsss import console
from wsss.console import elide, format_table, text_width


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("wsss.console.time.monotonic", clock)
    return clock


def open_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    return terminal


def shown(terminal: Terminal) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())


def test_a_file_gets_a_first_line_a_last_line_and_one_every_ten_seconds(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with console.progress("crf", 40) as advance:
        for _ in range(8):
            clock.now += 3
            advance(5)
    out, error = capsys.readouterr()
    assert out == ""
    assert error.splitlines() == [
        "crf: 0/40",
        "crf: 20/40, 1.7/s, 12 s left",  # 12 s after the first line; the next would be due at 24 s, with the last item
        "crf: 40/40 in 24.0 s (1.7/s)",
    ]


def test_a_step_that_fails_does_not_say_that_it_ended(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with console.progress("crf", 2) as advance:
            advance()
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert capsys.readouterr().err.splitlines() == ["crf: 0/2"]


def test_a_step_of_nothing_ends_well(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("crf", 0):
        pass
    assert capsys.readouterr().err.splitlines()[-1].startswith("crf: 0/0 in")


def test_a_terminal_gets_a_bar_with_count_and_rate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = open_terminal(monkeypatch)
    with console.progress("growing [regions]", 4) as advance:
        advance(3)
        advance()
        console.result("42")
        console.note("a [note]")
    text = shown(terminal)
    assert "growing [regions]" in text
    assert "4/4" in text
    assert re.search(r"\d+\.\d/s", text)
    assert "a [note]" in text
    assert capsys.readouterr().out == "42\n"


def test_a_progress_inside_another_shares_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    with console.progress("rounds", 2) as outer:
        outer()
        with console.progress("images", 5) as inner:
            inner(5)
        outer()
    text = shown(terminal)
    assert "2/2" in text
    assert "5/5" in text


def test_quiet_hides_progress_and_notes_but_no_results(capsys: pytest.CaptureFixture[str]) -> None:
    with console.quiet():
        with console.quiet(), console.progress("crf", 2) as advance:
            advance(2)
        console.note("by the way")
        console.result("42")
    console.note("loud again")
    out, error = capsys.readouterr()
    assert out == "42\n"
    assert error == "loud again\n"


def test_a_table_stands_in_columns() -> None:
    rows = [["cams", 0, 48.25, True], ["pseudo_labels", 1, None, False]]
    assert console.format_table("stages", ["name", "round", "mIoU", "cached"], rows).splitlines() == [
        "stages",
        "name           round  mIoU  cached",
        "─────────────  ─────  ────  ──────",
        "cams               0  48.2  yes",
        "pseudo_labels      1     –  no",
    ]


def test_a_table_without_rows_is_its_head() -> None:
    assert console.format_table("", ["a", "bc"], []).splitlines() == ["a  bc", "─  ──"]


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        console.format_table("", ["a", "b"], [["only one"]])


def test_a_terminal_of_few_characters_gets_what_it_can_show(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="ascii"))
    console.result("mIoU 64.2 – 67.1")
    assert written.getvalue() == b"mIoU 64.2 ? 67.1\n"


def test_columns_stay_below_each_other_with_wide_letters() -> None:
    lines = format_table("", ["class", "IoU"], [["猫", 1.0], ["sea lion", 2.5]]).splitlines()
    assert {text_width(line) for line in lines} == {len("sea lion  IoU")}


@pytest.mark.parametrize("width", range(3, 14))
@pytest.mark.parametrize("text", ["", "cat", "2007_000032_left", "猫と犬と鳥と魚", "e\u0301" * 9])
def test_a_shortened_text_keeps_its_ends_and_its_width(text: str, width: int) -> None:
    short = elide(text, width)
    assert text_width(short) <= width
    if text_width(text) <= width:
        assert short == text
    else:
        head, _, tail = short.partition("…")
        assert text.startswith(head)
        assert text.endswith(tail)
