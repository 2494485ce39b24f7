"""The node's processes, as its /proc shows them: in which container each runs, and what tells it from the next.

Source of the files: proc_pid_stat(5), cgroups(7).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from unigpu import cgroups
from unigpu.breaches import Identity
from unigpu.cgroups import Place

_START = 19
"""Place of the start time among the fields after the command's name."""


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """One process."""

    pid: int
    started: int
    """Clock ticks since the boot."""
    name: str
    """Of its program, printable."""
    place: Place | None
    """None: it runs outside every pod."""

    @property
    def identity(self) -> Identity:
        """What tells it from every other process of this boot."""
        return self.pid, self.started


class ProcessTable:
    """Reads processes. What can't change for a process is read once."""

    def __init__(self, root: Path) -> None:
        """`root`: where the node's own /proc is seen."""
        self._root = root
        self._known: dict[int, ProcessInfo] = {}

    def read(self, pids: Iterable[int]) -> dict[int, ProcessInfo]:
        """Return those of the processes that live."""
        found: dict[int, ProcessInfo] = {}
        for pid in set(pids):
            try:
                started = self._started(pid)
                known = self._known.get(pid)
                found[pid] = known if known is not None and known.started == started else self._read(pid, started)
            except (OSError, ValueError, IndexError):
                continue  # it has ended
        self._known = found
        return found

    def fresh(self, pid: int) -> ProcessInfo | None:
        """Return a process as it is now, nothing of it remembered; None where there is none."""
        try:
            return self._read(pid, self._started(pid))
        except (OSError, ValueError, IndexError):
            return None

    def _read(self, pid: int, started: int) -> ProcessInfo:
        name = (self._root / str(pid) / "comm").read_bytes().decode(errors="replace").strip()
        printable = "".join(letter if letter.isprintable() else "?" for letter in name)
        place = cgroups.place((self._root / str(pid) / "cgroup").read_text(errors="replace"))
        return ProcessInfo(pid, started, printable, place)

    def _started(self, pid: int) -> int:
        status = (self._root / str(pid) / "stat").read_bytes()
        return int(status.rpartition(b")")[2].split()[_START])
