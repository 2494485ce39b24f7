"""Tells which containers' usage files have changed, at a cost that hardly grows with their number.

Programs change the files through memory, of which no event tells. So a part of each file's header is mapped, and one
system call copies all of them (`unigpu_node.file_heads`); only what differs from the last copy concerns anybody. A file
that isn't there yet, or that its container has cut, is named each time: its reader finds out.
"""

import mmap
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from unigpu import grants, usage
from unigpu_node import usage_file
from unigpu_node.containers import Key
from unigpu_node.file_heads import Copies, Snapshots

REOPEN_NS = 30_000_000_000
"""Time between two checks that the mapped files are still those in the folders. The agent reports its own changes."""

Part = tuple[int, int]
"""Start and end of a part of a file's header."""


class UsageHeads:
    """One part of the header of each container's usage file."""

    def __init__(self, part: Callable[[int], Part]) -> None:
        """`part`: which part matters, of the file of a container with so many GPUs."""
        self._part = part
        self._snapshots = Snapshots()
        self._mapped: dict[Key, _Head] = {}
        self._order: list[Key] = []
        """Of the copies."""
        self._copies: Copies | None = None
        """None: others are mapped now."""
        self._containers: Mapping[Key, tuple[Path, int]] = {}
        self._unmapped: set[Key] = set()
        self._distrusted: set[Key] = set()
        """Their programs have cut the file away under its map: it isn't mapped again."""
        self._checked_ns = 0
        self._outdated = True

    def check(self) -> None:
        """Look at the next reading whether files were replaced: the agent has written some."""
        self._outdated = True

    def settled(self, containers: Mapping[Key, tuple[Path, int]], now_ns: int) -> bool:
        """Return whether `changed` would open no file now."""
        return (
            containers is self._containers
            and not self._outdated
            and self._unmapped <= self._distrusted
            and now_ns - self._checked_ns <= REOPEN_NS
        )

    def changed(self, containers: Mapping[Key, tuple[Path, int]], now_ns: int) -> dict[Key, bytes | None]:
        """Return the parts that have changed since the last call; None: the file must be read to know.

        `containers`: each with its folder and its number of GPUs. Others than the last time are another object; those
        that are new have changed.
        """
        if not self.settled(containers, now_ns):
            self._renew(containers, now_ns)
        found: dict[Key, bytes | None] = dict.fromkeys(self._unmapped)
        if self._copies is None:
            self._order = list(self._mapped)
            self._copies = Copies(self._snapshots, [head.part for head in self._mapped.values()])
        try:
            differing = self._copies.changed()
        except OSError:  # there is no memory for copies now
            self._copies = None
            return dict.fromkeys(containers)
        for place, part in differing.items():
            key = self._order[place]
            found[key] = part
            if part is None:
                self._distrusted.add(key)
                self._unmapped.add(key)
                self._drop(key)
        return found

    def close(self) -> None:
        """Unmap all files."""
        for key in list(self._mapped):
            self._drop(key)
        self._snapshots.close()

    def _renew(self, containers: Mapping[Key, tuple[Path, int]], now_ns: int) -> None:
        if containers is not self._containers:
            self._containers = containers
            for key in [key for key in self._mapped if key not in containers]:
                self._drop(key)
            self._distrusted &= containers.keys()
            self._outdated = True
        if self._outdated or now_ns - self._checked_ns > REOPEN_NS:
            self._outdated, self._checked_ns = False, now_ns
            for key in [key for key, head in self._mapped.items() if not head.current()]:
                self._drop(key)
            self._unmapped = containers.keys() - self._mapped.keys()
        for key in self._unmapped - self._distrusted:
            if self._map(key, *containers[key]):
                self._unmapped.discard(key)

    def _map(self, key: Key, folder: Path, gpus: int) -> bool:
        try:
            self._mapped[key] = _Head(f"{folder}/{grants.USAGE_FILE}", self._part(gpus))
        except (OSError, ValueError):
            return False
        self._copies = None
        return True

    def _drop(self, key: Key) -> None:
        self._mapped.pop(key).close()
        self._copies = None


class _Head:
    """One file's mapped header. Only the kernel may copy from it: see `unigpu_node.file_heads`."""

    def __init__(self, file: str, part: Part) -> None:
        """Raises OSError; ValueError for a file that is too short."""
        self._file = file
        descriptor = usage_file.open_for_reading(file)
        try:
            self._identity = _identity(os.fstat(descriptor))
            self._map = mmap.mmap(descriptor, usage.SLOTS_OFFSET, prot=mmap.PROT_READ)
        finally:
            os.close(descriptor)
        self.part = memoryview(self._map)[slice(*part)]

    def current(self) -> bool:
        """Return whether the file is still the one in the folder."""
        try:
            return _identity(os.stat(self._file)) == self._identity  # noqa: PTH116 a thousand at a time
        except OSError:
            return False

    def close(self) -> None:
        """Unmap it."""
        self.part.release()
        self._map.close()


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
