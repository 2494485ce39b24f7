"""Processes named so that a reused number is never mistaken for them."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import signal
import time

from cluster import errors


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """A process: its number, and when it started, in clock ticks since boot (field 22 of /proc/PID/stat)."""

    pid: int
    started: int


def identify(pid: int, proc: pathlib.Path = pathlib.Path("/proc")) -> Identity | None:
    """The process of that number, None if there is none or only its zombie."""
    try:
        text = (proc / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    if fields[0] in "ZX":
        return None
    return Identity(pid, int(fields[19]))


def alive(process: Identity) -> bool:
    """Whether that very process still runs."""
    return identify(process.pid) == process


def end(process: Identity, patience: float = 5.0) -> None:
    """Asks the process to end, and kills it after `patience` seconds; does nothing when it has ended already.

    Raises StepFailed when it is still there 10 s after the kill (it hangs in the kernel).
    """
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 10.0)):
        if not alive(process):
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not alive(process):
                return
            time.sleep(0.02)
    raise errors.StepFailed(f"Process {process.pid} does not end, not even when it is killed.")
