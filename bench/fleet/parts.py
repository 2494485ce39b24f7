"""The processes of a played fleet: start, kill, and what each of them takes of the machine."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster import linux, settings

PATIENCE = 120.0
"""Seconds until a part must answer."""
_TICKS = os.sysconf("SC_CLK_TCK")


class Stuck(Exception):
    """A part doesn't do what it must within its time."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a process has taken so far."""

    cpu: float
    """Seconds of CPU."""
    memory: int
    """Bytes that it holds now."""


class Part:
    """One program, with a log of its own. It is killed when this process ends, whatever the reason."""

    def __init__(self, name: str, command: Sequence[str], logs: Path, environment: Mapping[str, str] | None = None):
        self.name = name
        self.log = logs / f"{name}.log"
        self._command = list(command)
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._ended_cpu = 0.0

    def start(self) -> None:
        """Start it, or start it again."""
        self.kill()
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                cwd=settings.ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=lambda: linux.die_with_parent(signal.SIGKILL),
            )

    def kill(self) -> None:
        """End it as `kill -9` does; do nothing where it doesn't run."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._ended_cpu += self.taken().cpu
            self._process.kill()
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
        self.kill()

    @property
    def runs(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, SIGSTOP for instance."""
        assert self._process is not None
        self._process.send_signal(number)

    def taken(self) -> Taken:
        """Return what it has taken: CPU of all its lives, memory of this one."""
        if self._process is None:
            return Taken(self._ended_cpu, 0)
        proc = Path(f"/proc/{self._process.pid}")
        fields = (proc / "stat").read_text().rpartition(")")[2].split()
        pages = int((proc / "statm").read_text().split()[1])
        return Taken(self._ended_cpu + (int(fields[11]) + int(fields[12])) / _TICKS, pages * os.sysconf("SC_PAGE_SIZE"))

    async def until(self, condition: Callable[[], Awaitable[bool]], what: str) -> None:
        """Wait for a condition while the part runs. Raises Stuck with its last words."""
        try:
            await until(condition, what, ended=lambda: not self.runs)
        except Stuck as error:
            words = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
            raise Stuck(f"{self.name}: {error}; its log ends:\n{words}") from None


async def until(
    condition: Callable[[], Awaitable[bool]],
    what: str,
    *,
    seconds: float = PATIENCE,
    ended: Callable[[], bool] = lambda: False,
) -> None:
    """Wait for a condition. Raises Stuck where it isn't true in time, or where what it waits for has ended."""
    deadline = time.monotonic() + seconds
    while not await condition():
        if ended():
            raise Stuck(f"ended before {what}")
        if time.monotonic() > deadline:
            raise Stuck(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(0.05)


def free_ports(count: int) -> list[int]:
    """Return TCP ports of the loopback address that nobody has now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
