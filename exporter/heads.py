"""Which containers have to be read again: those whose files' beginnings changed, or whose processes ended.

Asking for each of a thousand files by itself takes most of a scrape. So the beginnings are mapped, and the kernel
copies a thousand of them with one system call. Programs may shorten a mapped file, and touching what isn't
there any more would kill the exporter; the kernel's copy just ends there. The copies only say that something has
changed: what is said of a container is always what `Container` reads with care.

A file that is cut where it has zeros anyway looks the same in memory. So a few containers are read each time although
nothing seems to have changed, each of them in its turn.
"""

import errno
import itertools
import mmap
import os
from collections.abc import Iterable, Mapping, Sequence

from exporter.container import Container
from unigpu import errors, policy
from unigpu.units import Bytes, GpuUuid
from unigpu_node import policy_file

DESCRIPTORS = 3
"""How many a container takes that is watched in this way: the usage file, and one for each map."""
TURNS = 32
"""Each container is read with care at least once in so many times."""
_AT_ONCE = os.sysconf("SC_IOV_MAX")
_GROUP = 32
"""Beginnings that are compared together."""


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
            batch = views[len(found) : len(found) + _AT_ONCE]
            copied, length = self._copy(batch)
            end = 0
            for view in batch:
                start, end = end, end + len(view)
                if end > length:
                    found.append(None)
                    break
                found.append(copied[start:end])
        return found

    def groups(self, views: Sequence[memoryview], size: int) -> list[bytes] | None:
        """Return the copies of so many at a time, one behind the other; None where a file lost its beginning.

        `size` divides what one call of the kernel takes. There is no copy of all of them: memory for that would be
        mapped again each time, and its pages cost more than what is in them. Raises OSError.
        """
        found = []
        for first in range(0, len(views), _AT_ONCE):
            batch = views[first : first + _AT_ONCE]
            copied, length = self._copy(batch)
            end = 0
            for group in range(0, len(batch), size):
                start, end = end, end + sum(map(len, batch[group : group + size]))
                found.append(copied[start:end])
            if length != end:
                return None
        return found

    def _copy(self, batch: Sequence[memoryview]) -> tuple[mmap.mmap, int]:
        """Copy the first of these, up to one that isn't there; return the copies, and how many bytes they have."""
        size = sum(map(len, batch))
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
        copies = self._snapshots.groups(self._views, _GROUP)
        if copies is None:
            self._seen = [b""] * len(self._ends)
            return dict(enumerate(self._snapshots.take(self._views)))
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


class Head:
    """The mapped beginnings of one container's files, and what they said when it was last read."""

    def __init__(self, container: Container) -> None:
        """Raises OSError; ValueError for files that are too short."""
        self.container = container
        self._maps: tuple[mmap.mmap, ...] = container.mapped()
        account, limits = container.heads
        self.account = memoryview(self._maps[0])[:account]
        self.limits = memoryview(self._maps[1])[:limits]
        self._seen: bytes | None = None
        self._limits: bytes | None = None

    def close(self) -> None:
        """Unmap the files."""
        self.account.release()
        self.limits.release()
        for one in self._maps:
            one.close()

    def same_account(self, account: bytes) -> bool:
        """Return whether the account is the one that the container was last read with; from now on it is."""
        same, self._seen = account == self._seen, account
        return same

    def same_limits(self, limits: bytes) -> bool:
        """Return whether only the live state changed, which the node agent writes all the time."""
        before = self._limits
        if before is not None and (
            limits == before
            or (
                policy_file.sequence_of(before) == policy_file.sequence_of(limits)
                and policy.guarded(before) == policy.guarded(limits)
            )
        ):
            return True
        self._limits = limits
        return False


class Heads:
    """Refreshes containers, without reading those again of which nothing can have changed."""

    def __init__(self, turns: int = TURNS) -> None:
        self._turns, self._turn = turns, 0
        self._snapshots = Snapshots()
        self._heads: dict[Container, Head] = {}
        self._accounts: Copies | None = None
        """Of `_heads`, in their order, like `_limits`; None: they are others now."""
        self._limits: Copies | None = None
        self._distrusted: set[Container] = set()
        """Their programs have cut a file away under its map: they are read with care from then on."""

    def close(self) -> None:
        """Unmap all files."""
        self.keep(())
        self._snapshots.close()

    def keep(self, containers: Iterable[Container]) -> None:
        """Forget all other containers."""
        present = set(containers)
        for gone in self._heads.keys() - present:
            self._drop(gone)
        self._distrusted &= present

    def refresh(self, containers: Sequence[Container], now_ns: int, sizes: Mapping[GpuUuid, Bytes]) -> bool:
        """Read what may have changed; arguments and result are those of `Container.refresh`, for all of them."""
        heads = self._heads
        again = dict.fromkeys(containers[self._turn :: self._turns])
        self._turn = (self._turn + 1) % self._turns
        for container in containers:
            if container.touched or container not in heads:
                again[container] = None
        try:
            self._compare(again)
        except BaseException:
            self._accounts = self._limits = None  # what has changed was said to nobody
            raise
        for place, (container, _) in enumerate(heads.items()):
            if container not in again and not self._still(container, place, now_ns):
                again[container] = None
        changed = False
        for container in again:
            changed |= container.refresh(now_ns, sizes)
            self._map(container)
        return changed

    def _compare(self, again: dict[Container, None]) -> None:
        """Add the containers whose files have changed. Raises OSError."""
        if self._accounts is None or self._limits is None:
            self._accounts = Copies(self._snapshots, [head.account for head in self._heads.values()])
            self._limits = Copies(self._snapshots, [head.limits for head in self._heads.values()])
        accounts, limits = self._accounts.changed(), self._limits.changed()
        if not accounts and not limits:
            return
        heads = list(self._heads.values())
        for changed, same in ((accounts, Head.same_account), (limits, Head.same_limits)):
            for place, copy in changed.items():
                head = heads[place]
                if copy is None:
                    self._distrusted.add(head.container)
                if copy is None or not same(head, copy):
                    again[head.container] = None

    def _still(self, container: Container, place: int, now_ns: int) -> bool:
        """Whether what is known of the container still holds, if its files say the same."""
        if container.rate_varies and self._limits is not None:
            head = self._limits.at(place)
            if not head:
                return False  # another's policy has vanished, and with it the copies of all
            container.set_rates(head, now_ns)
        try:
            return container.all_live()
        except (OSError, errors.Malformed):
            return False

    def _map(self, container: Container) -> None:
        """Map the files of a container for the next time, if they can be trusted to stay."""
        trusted = container.settled and not container.touched and container not in self._distrusted
        container.touched = False
        if not trusted:
            self._drop(container)
        elif container not in self._heads:
            try:
                self._heads[container] = Head(container)
            except (OSError, ValueError):
                return  # it is read with care the next time too
            self._accounts = self._limits = None

    def _drop(self, container: Container) -> None:
        if (head := self._heads.pop(container, None)) is not None:
            head.close()
            self._accounts = self._limits = None
