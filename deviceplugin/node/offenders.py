"""Ends processes of a breach that lasts: only inside a container with a grant, and only the process that was seen."""

import contextlib
import logging
import os
import signal
from collections.abc import Callable

from deviceplugin.node.process_table import ProcessInfo, ProcessTable
from unigpu import breaches, logs
from unigpu.breaches import Identity, Lasting, Process

logger = logging.getLogger(__name__)


class Offenders:
    """Ends each process once; one that hangs in the driver may need longer to go."""

    def __init__(
        self, table: ProcessTable, container_of: Callable[[ProcessInfo], tuple[str, str] | None], grace: float
    ) -> None:
        """`container_of`: pod UID and container of a process that runs in a container with a grant, known for sure.

        `grace`: seconds for which a finding that counts may last.
        """
        self._table = table
        self._container_of = container_of
        self._grace = grace
        self._done: set[Identity] = set()

    def due(self, lasting: Lasting, now: float) -> bool:
        """Return whether the finding's processes are to be ended: it is a breach, was in this sample, and lasts."""
        return (
            lasting.confirmed
            and lasting.finding.breach
            and lasting.last == now
            and now - lasting.first >= breaches.CONFIRM + self._grace
        )

    def end(self, lasting: Lasting) -> list[Process]:
        """Send SIGKILL to the finding's processes; return those that got it."""
        key = lasting.finding.key
        victims = []
        for process in lasting.finding.processes:
            if process.identity not in self._done and self._kill(process, (key.pod_uid, key.container)):
                self._done.add(process.identity)
                victims.append(process)
        return victims

    def forget(self, living: set[Identity]) -> None:
        """Forget processes that have ended."""
        self._done &= living

    def _kill(self, process: Process, owner: tuple[str, str]) -> bool:
        # From pidfd_open on the number can't become another process's; what it is, is read after that.
        try:
            descriptor = os.pidfd_open(process.pid)
        except OSError:
            return False
        try:
            info = self._table.fresh(process.pid)
            if info is None or info.started != process.started or self._container_of(info) != owner:
                return False
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            return True
        except ProcessLookupError:
            return False
        except OSError as error:
            logs.event(logger, "process not ended", logging.ERROR, pid=process.pid, name=process.name, reason=error)
            return False
        finally:
            with contextlib.suppress(OSError):
                os.close(descriptor)
