"""Report steps and their durations on the terminal."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from cluster import errors

POLL = 0.05
"""Seconds between two checks of a condition."""


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Print to stderr what begins, and then how long it took: `etcd, API server … 3.9 s`."""
    started = time.monotonic()
    _say(f"{what} … ")
    try:
        yield
    except BaseException:
        _say(f"failed after {time.monotonic() - started:.1f} s\n")
        raise
    _say(f"{time.monotonic() - started:.1f} s\n")


def note(text: str) -> None:
    """Print one line to stderr."""
    _say(f"{text}\n")


def _say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def wait_for(condition: Callable[[], bool], seconds: float, failure: Callable[[], str]) -> None:
    """Wait until the condition holds. Raises StepFailed with the text of `failure` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise errors.StepFailed(failure())
        time.sleep(POLL)
