"""Identify processes so that a reused process ID is never mistaken for the same process."""

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
    """A process ID, and the start time of the process in clock ticks since boot (field 22 of /proc/PID/stat)."""

    pid: int
    started: int


def identify(pid: int, proc: pathlib.Path = pathlib.Path("/proc")) -> Identity | None:
    """Return the process with that ID, or None if it doesn't exist or is a zombie."""
    try:
        text = (proc / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    if fields[0] in "ZX":
        return None
    return Identity(pid, int(fields[19]))


def alive(process: Identity) -> bool:
    """Return whether exactly this process still runs."""
    return identify(process.pid) == process


def end(process: Identity, patience: float = 5.0) -> None:
    """Terminate the process, and kill it after `patience` seconds; do nothing if it has already ended.

    Raises StepFailed when it still exists 10 s after the kill (it hangs in the kernel).
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
    raise errors.StepFailed(f"Process {process.pid} is still there 10 s after SIGKILL.")
