"""The first process of a unit: `python -m cluster.supervisor UNIT.json READY GO`.

The supervisor prepares its namespaces, starts the unit's programs, restarts each one when it ends, and reaps orphans.
READY and GO are descriptors: the supervisor writes to READY once its network namespace exists, and then waits on GO
until the monitor has connected it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping

from cluster import linux, mounts, network, units

FIRST_PAUSE = 0.2
"""Seconds before a program that ended is restarted; doubled each time it ends early again."""
LONGEST_PAUSE = 5.0
STEADY = 10.0
"""Seconds after which a running program counts as healthy, and its pause is reset."""
POLL = 0.05
"""Seconds between two checks for the socket that a program needs."""


@dataclasses.dataclass(slots=True)
class Running:
    """State of one program."""

    program: units.Program
    log: int
    pid: int = 0
    """0 while it isn't running."""
    started: float = 0.0
    due: float = 0.0
    """Earliest time of its next start (monotonic seconds)."""
    pause: float = FIRST_PAUSE


def main(arguments: list[str]) -> int:
    unit = units.load(pathlib.Path(arguments[0]))
    ready, go = int(arguments[1]), int(arguments[2])
    linux.die_with_parent(signal.SIGKILL)
    flags = linux.CLONE_NEWNS | linux.CLONE_NEWIPC
    if unit.network is not None:
        flags |= linux.CLONE_NEWNET | linux.CLONE_NEWUTS
    linux.unshare(flags)
    os.write(ready, b"r")
    os.close(ready)
    if not os.read(go, 1):
        return 1  # the monitor is gone
    os.close(go)
    mounts.setup_mounts(unit.mounts)
    if unit.network is not None:
        socket.sethostname(unit.name)
        network.settle(unit.network)
    environment = {"PATH": unit.path, "HOME": "/root", "LANG": "C.UTF-8"}
    return keep(unit, environment)


def keep(unit: units.Unit, environment: Mapping[str, str]) -> int:
    """Keep the programs running; never return."""
    wake, wakened = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(wakened, False)
    signal.set_wakeup_fd(wakened, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    logs = pathlib.Path(unit.logs)
    logs.mkdir(parents=True, exist_ok=True)
    table = [
        Running(program, os.open(logs / f"{program.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644))
        for program in unit.programs
    ]
    while True:
        reap(table)
        now = time.monotonic()
        for entry in table:
            if entry.pid == 0 and now >= entry.due:
                if entry.program.needs and not pathlib.Path(entry.program.needs).exists():
                    entry.due = now + POLL
                else:
                    start(entry, environment)
        waiting = [entry.due for entry in table if entry.pid == 0]
        select.select([wake], [], [], max(0.0, min(waiting) - time.monotonic()) if waiting else None)
        with contextlib.suppress(BlockingIOError):
            os.read(wake, 4096)


def start(entry: Running, environment: Mapping[str, str]) -> None:
    """Start a program in its own session, with its output in its log."""
    os.write(entry.log, f"--- {' '.join(entry.program.arguments)}\n".encode())
    entry.pid = os.posix_spawn(
        entry.program.arguments[0],
        entry.program.arguments,
        environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, entry.log, 1),
            (os.POSIX_SPAWN_DUP2, entry.log, 2),
        ],
        setsid=True,
    )
    entry.started = time.monotonic()


def reap(table: list[Running]) -> None:
    """Reap every process that ended, and schedule the restart of the unit's programs."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        for entry in table:
            if entry.pid == pid:
                now = time.monotonic()
                if now - entry.started >= STEADY:
                    entry.pause = FIRST_PAUSE
                code = os.waitstatus_to_exitcode(status)
                os.write(entry.log, f"--- exit status {code}, restart in {entry.pause} s\n".encode())
                entry.pid, entry.due = 0, now + entry.pause
                entry.pause = min(entry.pause * 2, LONGEST_PAUSE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
