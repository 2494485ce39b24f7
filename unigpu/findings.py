"""Problems and warnings of a pod, in words for its author, all in one form: `field = value: why; accepted: …`."""

from collections.abc import Sequence
from dataclasses import dataclass

SHOWN = 100
"""Most problems to list in one refusal; no hand-written pod has more."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason to refuse a pod."""

    container: str
    """Name of the container; empty if the problem is the pod's."""
    field: str
    value: str
    why: str
    """The reason, as it follows `field = value: `."""
    accepted: str
    """What would be accepted instead."""

    def __str__(self) -> str:
        where = f"container {_short(self.container)}" if self.container else "pod"
        return _writable(f"{where}: {self.field} = {_short(self.value)}: {self.why}; accepted: {self.accepted}")


@dataclass(frozen=True, slots=True)
class Remark:
    """One warning. Its text is what kubectl shows; the API server cuts warnings at 256 characters."""

    where: str
    """`container NAME`, `pod` or `namespace`."""
    field: str
    value: str
    why: str
    accepted: str = ""

    def __str__(self) -> str:
        accepted = f"; accepted: {self.accepted}" if self.accepted else ""
        return f"{self.where}: {self.field} = {_short(self.value, 60)}: {self.why}{accepted}"


def message(problems: Sequence[Problem]) -> str:
    """Return the refusal as kubectl shows it: one line for each problem."""
    if len(problems) == 1:
        return str(problems[0])
    lines = [f"{len(problems)} problems:", *(f"  {problem}" for problem in problems[:SHOWN])]
    return "\n".join(lines if len(problems) <= SHOWN else [*lines, f"  … and {len(problems) - SHOWN} more"])


def _writable(text: str) -> str:
    """Escape what isn't Unicode: a lone surrogate, which can't be logged or sent."""
    return text.encode(errors="backslashreplace").decode()


def _short(text: str, length: int = 80) -> str:
    """Shorten the text, since an event holds 1 KiB, and quote it if some of it would be invisible."""
    shown = text if len(text) <= length else text[: length - 1] + "…"
    return shown if shown.isprintable() and shown == shown.strip() and shown else repr(shown)
