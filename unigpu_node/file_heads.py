"""Copies of the beginnings of many mapped files, and which of them have changed since the last copy.

Asking for each of a thousand files by itself takes most of a reader's time. So the beginnings are mapped, and the
kernel copies a thousand of them with one system call. Programs may shorten a mapped file, and touching what isn't there
any more would kill the reader; the kernel's copy just ends there. A file that is cut where it has zeros anyway looks
the same in memory: who needs to know reads it with care now and then.
"""

import errno
import itertools
import mmap
import os
from collections.abc import Sequence

_GROUP = 32
"""Beginnings that are compared together."""
AT_ONCE = os.sysconf("SC_IOV_MAX") // _GROUP * _GROUP
"""Beginnings that the kernel copies with one call."""


class Snapshots:
    """Copies of mapped memory that may not be there any more."""

    def __init__(self) -> None:
        self._scratch = os.memfd_create("heads", os.MFD_CLOEXEC)
        self._copied: mmap.mmap | None = None

    def close(self) -> None:
        """Give the memory back."""
        if self._copied is not None:
            self._copied.close()
        os.close(self._scratch)

    def take(self, views: Sequence[memoryview]) -> list[bytes | None]:
        """Return a copy of each; None where a file no longer has its beginning. Raises OSError."""
        found: list[bytes | None] = []
        while len(found) < len(views):
            batch = views[len(found) : len(found) + AT_ONCE]
            copied, length = self.copy(batch, sum(map(len, batch)))
            end = 0
            for view in batch:
                start, end = end, end + len(view)
                if end > length:
                    found.append(None)
                    break
                found.append(copied[start:end])
        return found

    def copy(self, batch: Sequence[memoryview], size: int) -> tuple[mmap.mmap, int]:
        """Copy the first of these, up to one that isn't there; return the copies, and how many bytes they have.

        `batch`: at most `AT_ONCE`, which have `size` bytes in all. Raises OSError.
        """
        if self._copied is None or len(self._copied) < size:
            if self._copied is not None:
                self._copied.close()
            os.ftruncate(self._scratch, size)
            self._copied = mmap.mmap(self._scratch, size)
        try:
            return self._copied, os.pwritev(self._scratch, batch, 0)
        except OSError as error:
            if error.errno != errno.EFAULT:
                raise
            return self._copied, 0


class Copies:
    """What many beginnings said the last time, so that those can be told that have changed since.

    Most haven't, and one comparison says so of a whole group.
    """

    def __init__(self, snapshots: Snapshots, views: Sequence[memoryview]) -> None:
        self._snapshots = snapshots
        self._views = views
        groups = (views[first : first + _GROUP] for first in range(0, len(views), _GROUP))
        self._ends = [tuple(itertools.accumulate(map(len, group))) for group in groups]
        """Of each in the copy of its group."""
        self._batches = [
            _Batch(views[first : first + AT_ONCE], self._ends[first // _GROUP : (first + AT_ONCE) // _GROUP])
            for first in range(0, len(views), AT_ONCE)
        ]
        self._seen = [b""] * len(self._ends)

    def at(self, place: int) -> bytes:
        """Return what the beginning at this place said the last time; nothing where one of them wasn't there."""
        group, member = divmod(place, _GROUP)
        ends = self._ends[group]
        return self._seen[group][ends[member - 1] if member else 0 : ends[member]]

    def changed(self) -> dict[int, bytes | None]:
        """Return what has changed since the last call, by its place; None: it isn't there any more.

        The first call returns all. Raises OSError.
        """
        copies: list[bytes] = []
        for batch in self._batches:
            copied, length = self._snapshots.copy(batch.views, batch.size)
            if length != batch.size:
                self._seen = [b""] * len(self._ends)
                return dict(enumerate(self._snapshots.take(self._views)))
            # No copy of all of them: memory for that would be mapped again each time, and its pages cost more than what
            # is in them.
            copies += [copied[start:end] for start, end in batch.groups]
        if copies == self._seen:
            return {}
        found: dict[int, bytes | None] = {}
        for group, (now, before) in enumerate(zip(copies, self._seen, strict=True)):
            if now != before:
                start = 0
                for place, end in enumerate(self._ends[group], group * _GROUP):
                    if (copy := now[start:end]) != before[start:end]:
                        found[place] = copy
                    start = end
        self._seen = copies
        return found


class _Batch:
    """What one call of the kernel copies."""

    def __init__(self, views: Sequence[memoryview], ends: Sequence[Sequence[int]]) -> None:
        """`ends`: of each beginning in its group."""
        self.views = views
        bounds = [0, *itertools.accumulate(group[-1] for group in ends)]
        self.groups = list(itertools.pairwise(bounds))
        """Start and end of each group."""
        self.size = bounds[-1]
