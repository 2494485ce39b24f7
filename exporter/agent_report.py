"""The node agent's report: GPUs, their faults and what is wrong with their use, as the agent publishes them."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from unigpu import errors, logs, node_report
from unigpu.node_report import Report

logger = logging.getLogger(__name__)


class AgentReport:
    """Reads the report where it has changed."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        """`folder`: the agent's. `clock`: seconds since the epoch."""
        self._file = folder / node_report.REPORT_FILE
        self._clock = clock
        self._stamp: tuple[int, int] | None = None
        self._report: Report | None = None
        self._problem = ""

    def read(self) -> Report | None:
        """Return the report; None where there is none, it can't be read, or its agent no longer renews it."""
        try:
            status = self._file.stat()
            if abs(self._clock() - status.st_mtime) > node_report.STALE:
                return None
            stamp = status.st_ino, status.st_mtime_ns
            if stamp != self._stamp:
                self._report = node_report.load(self._file.read_text(errors="replace"))
                self._stamp = stamp
            self._problem = ""
        except FileNotFoundError:
            return None
        except (OSError, errors.Malformed) as error:
            self._stamp = None
            if str(error) != self._problem:
                self._problem = str(error)
                logs.event(logger, "agent's report can't be read", logging.WARNING, file=self._file, error=error)
            return None
        return self._report
