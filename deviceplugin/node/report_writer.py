"""Writes the node's report for the exporter, and reads what an earlier agent left."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from unigpu import errors, logs, node_report
from unigpu.gpus import Gpu
from unigpu.node_report import Entry, Report
from unigpu.walls import Walls
from unigpu_node import files
from unigpu_service import ticks

logger = logging.getLogger(__name__)

_RENEW = 5.0
"""Seconds between two renewals; a report counts for much longer."""


class ReportWriter:
    """The one writer of `report.json`."""

    def __init__(self, folder: Path, boot: str) -> None:
        self._file = folder / node_report.REPORT_FILE
        self._boot = boot
        self._text = ""
        self._problem = ""

    def earlier(self) -> Report:
        """Return what an earlier agent left in this boot; an empty report where it left no readable one."""
        try:
            report = node_report.load(self._file.read_text(errors="replace"))
        except FileNotFoundError:
            return Report()
        except (OSError, errors.Malformed) as error:
            logs.event(logger, "earlier report unknown", logging.WARNING, file=self._file, reason=error)
            return Report()
        return report if report.boot == self._boot else Report()

    def write(self, gpus: Sequence[Gpu], findings: Sequence[Entry], walls: Walls) -> None:
        """Write what is known now."""
        self._text = node_report.dump(Report(tuple(gpus), tuple(findings), self._boot, walls))
        self._store()

    async def renew(self) -> None:
        """Show that this agent lives; write the report again where that failed, or it is gone. Never returns."""
        while True:
            await ticks.tick(_RENEW)
            if not self._text:
                continue
            try:
                if not self._problem:
                    os.utime(self._file)
                    continue
            except OSError:
                pass
            self._store()

    def _store(self) -> None:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            files.write(self._file, self._text.encode())
            self._problem = ""
        except OSError as error:
            if str(error) != self._problem:
                logs.event(logger, "report not written", logging.WARNING, file=self._file, reason=error)
            self._problem = str(error)
