"""Finds the control groups of the node's pods and containers.

Version 2 of control groups has one hierarchy, which is what the driver's memory limits need. For the simulated driver,
the memory controller's hierarchy of version 1 stands in. Where the kubelet keeps its pods depends on its settings and
its cgroup driver, so the folders are searched for by name; see `unigpu.cgroups`.
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from unigpu import cgroups
from unigpu.driver_limits import PodGroup
from unigpu_node.folder_watch import FolderWatch

_DEPTH = 6
"""How deep below the hierarchy a kubelet's pods may be."""
_QOS_DEPTH = 1
"""Groups of a quality-of-service class between the kubelet's and the pods'."""
_WHOLE = 60.0
"""Seconds after which all groups are read, whatever the kernel said of them."""
_SEARCH = 10.0
"""Seconds between two searches for kubelets: theirs come and go with the kubelet, not with pods."""


def hierarchy(root: Path, *, stand_in: bool) -> Path | None:
    """Return the hierarchy of the driver's limits below `root`; None where there is none.

    `stand_in`: accept the memory controller's of version 1.
    """
    if (root / "cgroup.controllers").is_file():
        return root
    memory = root / "memory"
    return memory if stand_in and memory.is_dir() else None


class ControlGroups:
    """The pods' groups below one hierarchy."""

    def __init__(
        self, root: Path, clock: Callable[[], float] = time.monotonic, watch: FolderWatch | None = None
    ) -> None:
        """`watch`: by it, groups are read again only where one came or went; it stays its owner's to close."""
        self.root = root
        self._clock = clock
        self._watch = watch
        self._roots: list[str] = []
        self._searched = self._read_at = float("-inf")
        self._known: list[PodGroup] = []
        self._complete = False
        """Whether the kernel says of each change of what is known."""

    def read(self) -> list[PodGroup]:
        """Return the groups that are there now: the same object while they are the same."""
        now = self._clock()
        before = self._roots
        if not self._roots or now - self._searched >= _SEARCH:
            self._roots, self._searched = list(_roots(str(self.root), _DEPTH)), now
        told = self._watch is None or self._watch.changed() != set()
        if told or not self._complete or self._roots != before or now - self._read_at >= _WHOLE:
            self._read_at, self._complete = now, True
            found = [group for root in self._roots for group in self._pods(root, _QOS_DEPTH)]
            if found != self._known:
                self._known = found
        return self._known

    def _pods(self, folder: str, depth: int) -> Iterator[PodGroup]:
        self._watched(folder)
        for name in _folders(folder):
            path = f"{folder}/{name}"
            uid = cgroups.pod_uid(name)
            if uid is not None:
                self._watched(path)
                found = {
                    identity: f"{path}/{child}" for child in _folders(path) if (identity := cgroups.container_id(child))
                }
                yield PodGroup(uid, path, found)
            elif depth:
                yield from self._pods(path, depth - 1)

    def _watched(self, folder: str) -> None:
        """Watch a folder before it is read: then no change falls between."""
        self._complete &= self._watch is not None and self._watch.add(folder, folder)


def _roots(folder: str, depth: int) -> Iterator[str]:
    for name in _folders(folder):
        path = f"{folder}/{name}"
        if cgroups.is_root(name):
            yield path
        elif depth > 1 and cgroups.pod_uid(name) is None:
            yield from _roots(path, depth - 1)


def _folders(path: str) -> list[str]:
    """Names of the folders in a group; none where it is gone."""
    try:
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
