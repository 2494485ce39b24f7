"""Tells whether a container's programs still run, by who holds locks on its usage file, and in which pod those run."""

import os
from pathlib import Path

from deviceplugin.node.process_table import ProcessTable
from deviceplugin.store.container_store import ContainerStore
from unigpu import grants
from unigpu_node import locks, usage_file

_ELSEWHERE = 0
"""The pid of a process outside the agent's pid namespace."""


class LockOwners:
    """Reads locks, and the control groups of those who hold them."""

    def __init__(self, table: ProcessTable, containers: ContainerStore) -> None:
        self._table = table
        self._containers = containers

    def runs(self, pod_uid: str, container: str) -> bool:
        """Return whether a process of the pod holds a lock on the container's usage file.

        A process that was passed a descriptor of the file may hold one too, in another pod: that isn't one. A process
        that can't be seen counts, for it may be the pod's.
        """
        file: Path = self._containers.of(pod_uid, container) / grants.USAGE_FILE
        try:
            descriptor = usage_file.open_for_reading(file)
        except BlockingIOError:
            # Only a living program has a lease, which doesn't tell whose: the locks of the next reading do.
            return True
        except OSError:
            return False
        try:
            holders = locks.holders(descriptor)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return any(self._is_of(pid, pod_uid) for pid in holders)

    def _is_of(self, pid: int, pod_uid: str) -> bool:
        if pid == _ELSEWHERE:
            return True
        info = self._table.fresh(pid)
        return info is not None and info.place is not None and info.place.pod_uid == pod_uid
