"""Steps on the terminal: what is done, and how long it took."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from cluster import errors

LOOK = 0.05
"""Seconds between two looks at a condition."""


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Says on stderr what begins, and then how long it took: `etcd, API server … 3.9 s`."""
    started = time.monotonic()
    _say(f"{what} … ")
    try:
        yield
    except BaseException:
        _say(f"failed after {time.monotonic() - started:.1f} s\n")
        raise
    _say(f"{time.monotonic() - started:.1f} s\n")


def note(text: str) -> None:
    """One line on stderr."""
    _say(f"{text}\n")


def _say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def wait_for(condition: Callable[[], bool], seconds: float, failure: Callable[[], str]) -> None:
    """Waits until the condition holds. Raises StepFailed with the failure's sentence after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise errors.StepFailed(failure())
        time.sleep(LOOK)
