"""Files that the node agent writes for the exporter: its report, and what the driver says of the GPUs.

The exporter asks neither the API server nor the driver.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from unigpu import errors, logs, node_report, telemetry
from unigpu.node_report import Report
from unigpu.telemetry import Telemetry

logger = logging.getLogger(__name__)

T = TypeVar("T")


class AgentFile(Generic[T]):
    """Reads one of the agent's files where it has changed."""

    def __init__(
        self,
        file: Path,
        load: Callable[[str], T],
        valid: Callable[[T], float],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`load` raises Malformed. `valid`: for how many seconds the content counts from the file's time of change.
        `clock`: seconds since the epoch."""
        self._file, self._load, self._valid, self._clock = file, load, valid, clock
        self._stamp: tuple[int, int] | None = None
        self._found: T | None = None
        self._problem = ""

    def read(self) -> T | None:
        """Return the content; None where there is none, it can't be read, or its agent no longer renews it."""
        try:
            status = self._file.stat()
            stamp = status.st_ino, status.st_mtime_ns
            if stamp != self._stamp:
                self._found = self._load(self._file.read_text(errors="replace"))
                self._stamp = stamp
            self._problem = ""
        except FileNotFoundError:
            return None
        except (OSError, errors.Malformed) as error:
            self._stamp = None
            if str(error) != self._problem:
                self._problem = str(error)
                logs.event(logger, "agent's file can't be read", logging.WARNING, file=self._file, error=error)
            return None
        found = self._found
        fresh = found is not None and abs(self._clock() - status.st_mtime) <= self._valid(found)
        return found if fresh else None


def report(folder: Path) -> AgentFile[Report]:
    """Return the reader of the agent's report. `folder`: the agent's."""
    return AgentFile(folder / node_report.REPORT_FILE, node_report.load, lambda _: node_report.STALE)


def driver(folder: Path) -> AgentFile[Telemetry]:
    """Return the reader of what the driver says. `folder`: the agent's."""
    return AgentFile(folder / telemetry.TELEMETRY_FILE, telemetry.load, lambda found: found.valid)
