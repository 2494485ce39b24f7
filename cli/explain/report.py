"""The form of an explanation, and how it is written. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cli import text
from cli.text import Style

_LABEL = 12


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that is known of the pod."""

    label: str
    """`asked`, `placed`, …"""
    value: str
    source: str = ""
    """Where the value is written, and by whom."""
    kind: str = ""
    """`warn` or `fail` where a person should look at it."""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of an explanation."""

    title: str
    facts: tuple[Fact, ...]


def lines(sections: Sequence[Section], style: Style) -> Iterator[str]:
    """Yield the explanation as lines: label, value, and beneath it the source."""
    for number, section in enumerate(sections):
        if number:
            yield ""
        yield from (style.mark(line, "head") for line in text.wrap(section.title, style))
        for fact in section.facts:
            yield from _fact(fact, style)


def _fact(fact: Fact, style: Style) -> Iterator[str]:
    indent = " " * (_LABEL + 2)
    first = f"  {fact.label:<{_LABEL}}" if fact.label else "  - "
    rest = indent if fact.label else "    "
    for line in text.wrap(fact.value, style, rest, first=first):
        yield style.mark(line, fact.kind) if fact.kind else line
    if fact.source:
        yield from (style.mark(line, "dim") for line in text.wrap(f"({fact.source})", style, rest + " ", first=rest))
