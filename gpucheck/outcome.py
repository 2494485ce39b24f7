"""What a step found, and how it is printed."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Final

Figures = dict[str, int | float | str]


class Differs(Exception):
    """Raised by a step when the driver does something else than the project believes; the text has the figures."""


class Skipped(Exception):
    """Raised by a step that can't run here; the text says what it lacks."""


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """What the steps work with."""

    root: Path
    """The project's folder: lists of entry points, built libraries."""
    libvgpu: Path | None
    """The built libvgpu, if there is one."""
    allocations: int
    """How many random allocations to make."""
    processes: int
    """How many processes to start at once."""
    seconds: float = 2.0
    """How long to measure a share, and the like."""
    patience: float = 120.0
    """Seconds after which a process that a step has started is killed."""
    rounds: int = 100
    """How often to repeat what fails rarely."""


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One question to the driver."""

    name: str
    ask: Callable[[Place], Figures]


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """The answer."""

    step: str
    result: str
    """`ok`, `differs` or `skipped`."""
    why: str
    figures: Figures


OK: Final = "ok"


def take(step: Step, place: Place) -> Outcome:
    """Ask one question; whatever goes wrong in it is an answer, too."""
    try:
        return Outcome(step.name, OK, "", step.ask(place))
    except Skipped as reason:
        return Outcome(step.name, "skipped", str(reason), {})
    except Exception as reason:  # a run on a GPU is short: the next steps still have their turn
        return Outcome(step.name, "differs", str(reason) or repr(reason), {})


def line(outcome: Outcome) -> str:
    """Format an outcome as one line."""
    figures = ", ".join(f"{name} {value}" for name, value in outcome.figures.items())
    if outcome.result == OK:
        return f"ok       {outcome.step}: {figures}"
    return f"{outcome.result + ':':9}{outcome.step}: {outcome.why}"
