"""Text for people: aligned columns, amounts, ages, and words in colour where the output is a terminal. Pure."""

import functools
import itertools
import os
import re
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from unigpu.units import MIB_PER_GIB

_COLOURS = {"ok": "\033[32m", "warn": "\033[33m", "fail": "\033[31m", "head": "\033[1m", "dim": "\033[2m"}
_PLAIN = "\033[0m"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MANY_GIB = 10 * 1024
"""From here on amounts are in TiB."""
_UNLIMITED = 1_000_000
"""Columns of an output that is no terminal: nothing is cut, so that a search in it finds whole names."""


@dataclass(frozen=True, slots=True)
class Style:
    """How the output is written."""

    width: int = _UNLIMITED
    """Columns of the terminal."""
    colour: bool = False

    def mark(self, text: str, kind: str) -> str:
        """Return the text in the colour of `ok`, `warn`, `fail`, `head` or `dim`."""
        return f"{_COLOURS[kind]}{text}{_PLAIN}" if self.colour and text else text


PIPE = Style()


def style() -> Style:
    """Return the style of standard output: as wide as its terminal, plain in a pipe or under NO_COLOR."""
    if not sys.stdout.isatty():
        return PIPE
    colour = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return Style(shutil.get_terminal_size().columns, colour)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    head: str
    right: bool = False
    """Whether its cells end at the same place, as numbers do."""
    shrink: bool = False
    """Whether its cells may be cut where the table is too wide."""
    overflow: bool = False
    """Whether a cell of the first column that doesn't fit is written whole, on a line of its own."""


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], style: Style, *, gap: int = 2) -> Iterator[str]:
    """Yield the head and the rows of a table. Columns that may shrink share what is missing, the widest first."""
    widths = [_widest([column.head, *(row[number] for row in rows)]) for number, column in enumerate(columns)]
    wanted = list(widths)
    _shrink(columns, widths, style.width - gap * (len(columns) - 1))
    head = [column.head for column in columns]
    yield style.mark(_line(columns, widths, head, gap), "head")
    if widths == wanted and all(map(str.isascii, itertools.chain.from_iterable(rows))):
        # Nothing is cut, and every sign takes one column. Large tables go to files and pipes, where nothing is.
        form = (" " * gap).join(
            f"%{'' if column.right else '-'}{width}s" for column, width in zip(columns, widths, strict=True)
        )
        for row in rows:
            yield (form % tuple(row)).rstrip()
        return
    for row in rows:
        if columns[0].overflow and length(row[0]) > widths[0]:
            yield f"{row[0]}\n{_line(columns, widths, ('', *row[1:]), gap)}"
        else:
            yield _line(columns, widths, row, gap)


def _widest(texts: Sequence[str]) -> int:
    # Most texts are ASCII, and tables have a hundred thousand rows.
    return max(map(len if all(map(str.isascii, texts)) else length, texts))


def _shrink(columns: Sequence[Column], widths: list[int], room: int) -> None:
    able = [number for number, column in enumerate(columns) if column.shrink]
    while sum(widths) > room and able:
        widest = max(able, key=lambda number: widths[number])
        if widths[widest] <= max(8, len(columns[widest].head)):
            return
        others = [widths[number] for number in able if number != widest and widths[number] < widths[widest]]
        step = min(sum(widths) - room, widths[widest] - max((*others, 8)))
        widths[widest] -= max(step, 1)


def _line(columns: Sequence[Column], widths: Sequence[int], row: Sequence[str], gap: int) -> str:
    cells = []
    for column, width, text in zip(columns, widths, row, strict=True):
        if len(text) > width or not text.isascii():
            text = clip(text, width)
            width += len(text) - length(text)  # what follows counts signs, not columns
        cells.append(text.rjust(width) if column.right else text.ljust(width))
    return (" " * gap).join(cells).rstrip()


def clip(text: str, width: int) -> str:
    """Return the text, cut in the middle where it is too long: both ends of a pod's name tell it from others."""
    if length(text) <= width:
        return text
    if width < 2:
        return text[:width]
    end = (width - 1) // 2
    return f"{text[: width - 1 - end]}…{text[len(text) - end :] if end else ''}"


def length(text: str) -> int:
    """Return the columns that the text takes on a terminal."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(sign) in "WF" for sign in text)
    return len(text) + wide - sum(unicodedata.combining(sign) != 0 for sign in text)


def wrap(text: str, style: Style, indent: str = "", first: str | None = None) -> Iterator[str]:
    """Yield the text in lines of the terminal's width; `first` begins the first line, `indent` the others."""
    width = max(40, min(style.width, 120))
    lines = textwrap.wrap(
        safe(text),
        width,
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    yield from lines or [(indent if first is None else first).rstrip()]


def safe(text: str) -> str:
    """Return a text of the cluster without control characters, which could write over the terminal."""
    return text if text.isprintable() else _CONTROL.sub(" ", text)


@functools.lru_cache(4096)
def memory(mib: int) -> str:
    """Return MiB for people: `512 MiB`, `3 GiB`, `1.5 GiB`, `31.2 TiB`, rounded to a tenth."""
    size, unit = _unit(mib)
    return f"{_tenths(mib / size)} {unit}"


@functools.lru_cache(4096)
def part(mib: int, total: int) -> str:
    """Return a part and the whole in the same unit: `1.5/24 GiB`."""
    size, unit = _unit(total)
    return f"{_tenths(mib / size)}/{_tenths(total / size)} {unit}"


def _unit(mib: int) -> tuple[int, str]:
    if mib < MIB_PER_GIB:
        return 1, "MiB"
    return (MIB_PER_GIB, "GiB") if mib < _MANY_GIB * MIB_PER_GIB else (MIB_PER_GIB * 1024, "TiB")


def _tenths(amount: float) -> str:
    return f"{amount:.1f}".removesuffix(".0")


def count(number: int, one: str, many: str = "") -> str:
    """Return `1 pod` or `3 pods`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def age(since: str, now: datetime) -> str:
    """Return how long ago a time of the API server was: `45s`, `7m`, `3h`, `2d`; empty where it can't be read."""
    try:
        then = datetime.fromisoformat(since)
    except ValueError:
        return ""
    seconds = max(0, int((now - (then if then.tzinfo else then.replace(tzinfo=UTC))).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size or (seconds >= size and unit == "d"):
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
