"""Text for people: columns, amounts, ages."""

from datetime import UTC, datetime

import pytest

from cli import text
from cli.text import Column, Style

COLUMNS = (Column("NAME", shrink=True), Column("N", right=True))


def test_columns_are_aligned_and_cut_in_the_middle() -> None:
    rows = [("a" * 10 + "b" * 10, "1"), ("c", "23")]
    assert list(text.table(COLUMNS, rows, Style())) == [
        "NAME                   N",
        f"{rows[0][0]}   1",
        f"c{' ' * 21}23",
    ]
    assert list(text.table(COLUMNS, rows, Style(16))) == ["NAME           N", "aaaaaa…bbbbb   1", "c             23"]


def test_a_name_that_does_not_fit_has_a_line_of_its_own() -> None:
    columns = (Column("NAME", shrink=True, overflow=True), Column("N", right=True))
    lines = list(text.table(columns, [("x" * 30, "1")], Style(20)))
    assert lines[1] == f"{'x' * 30}\n{' ' * 19}1"


def test_colour_is_never_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: False)
    assert text.style() == text.PIPE and text.style().mark("x", "fail") == "x"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "72")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert text.style() == Style(72, colour=True) and text.style().mark("x", "fail") == "\033[31mx\033[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert text.style() == Style(72)


@pytest.mark.parametrize(
    ("whole", "width", "cut"), [("abcdef", 6, "abcdef"), ("abcdef", 5, "ab…ef"), ("abcdef", 2, "a…"), ("ab", 1, "a")]
)
def test_cut(whole: str, width: int, cut: str) -> None:
    assert text.clip(whole, width) == cut


def test_wide_signs_take_two_columns() -> None:
    assert text.length("数据") == 4
    assert list(text.table(COLUMNS, [("数据", "1")], Style()))[1] == "数据  1"


@pytest.mark.parametrize(
    ("mib", "words"),
    [
        (0, "0 MiB"),
        (1023, "1023 MiB"),
        (1024, "1 GiB"),
        (1536, "1.5 GiB"),
        (1024 * 2000 + 1, "2000 GiB"),
        (1024 * 1024 * 15, "15 TiB"),
    ],
)
def test_memory(mib: int, words: str) -> None:
    assert text.memory(mib) == words


@pytest.mark.parametrize(
    ("since", "age"),
    [
        ("2026-01-01T00:00:00Z", "10d"),
        ("2026-01-10T23:00:00Z", "60m"),
        ("2026-01-10T21:00:00Z", "3h"),
        ("2026-01-10T23:59:15Z", "45s"),
        ("2026-01-12T00:00:00Z", "0s"),
        ("soon", ""),
    ],
)
def test_ages(since: str, age: str) -> None:
    assert text.age(since, datetime(2026, 1, 11, tzinfo=UTC)) == age
