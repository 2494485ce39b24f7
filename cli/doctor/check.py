"""What a check finds, and how findings are written. Pure."""

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cli import text
from cli.text import Style
from unigpu import names

API_VERSION = f"{names.DOMAIN}/doctor/v1"


class Level(enum.StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    """It works, or couldn't be checked."""
    FAIL = "fail"
    """Pods don't get what they ask for."""


STATUS = {Level.OK: 0, Level.WARN: 1, Level.FAIL: 2}
"""Exit status by the worst finding."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    check: str
    level: Level
    text: str
    help: str = ""
    """What to do; empty where all is well."""


def ok(check: str, text: str) -> Finding:
    """Return a finding that needs nobody."""
    return Finding(check, Level.OK, text)


def warn(check: str, text: str, help: str) -> Finding:
    """Return a finding to look at."""
    return Finding(check, Level.WARN, text, help)


def fail(check: str, text: str, help: str) -> Finding:
    """Return a finding that stops pods."""
    return Finding(check, Level.FAIL, text, help)


@dataclass(frozen=True, slots=True)
class Unread:
    """In place of what the caller may not read."""

    why: str
    """The API server's own words."""


def unread(check: str, what: Unread) -> Finding:
    """Return the finding of a check that can't be made."""
    return warn(check, f"not checked: {what.why}", "ask somebody who may read it to run the doctor")


def worst(findings: Sequence[Finding]) -> Level:
    """Return the worst level."""
    return max((one.level for one in findings), key=lambda level: STATUS[level], default=Level.OK)


def lines(findings: Sequence[Finding], style: Style) -> Iterator[str]:
    """Yield each finding as a line, with what to do beneath."""
    width = max((len(one.check) for one in findings), default=0)
    indent = " " * (6 + width + 2)
    for one in findings:
        first = f"{one.level:<4}  {one.check:<{width}}  "
        wrapped = list(text.wrap(one.text, style, indent, first=first))
        mark = style.mark(f"{one.level}", str(one.level))
        yield mark + wrapped[0][len(one.level) :]
        yield from wrapped[1:]
        if one.help:
            yield from text.wrap(one.help, style, indent + "   ", first=indent + "-> ")
    counts = [sum(one.level is level for one in findings) for level in Level]
    yield ""
    yield f"{counts[0]} ok, {text.count(counts[1], 'warning')}, {text.count(counts[2], 'failure')}"


def document(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the findings for programs. Fields may be added; none is renamed, removed or given another meaning."""
    return {
        "apiVersion": API_VERSION,
        "level": str(worst(findings)),
        "checks": [
            {"check": one.check, "level": str(one.level), "text": one.text, "help": one.help or None}
            for one in findings
        ],
    }
