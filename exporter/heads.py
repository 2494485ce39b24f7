"""Which containers have to be read again: those whose files' beginnings changed, or whose processes ended.

Asking for each of a thousand files by itself takes most of a scrape. So the beginnings are mapped, and the kernel
copies a thousand of them with one system call. Programs may shorten a mapped file, and touching what isn't
there any more would kill the exporter; the kernel's copy just ends there. The copies only say that something has
changed: what is said of a container is always what `Container` reads with care.

A file that is cut where it has zeros anyway looks the same in memory. So a few containers are read each time although
nothing seems to have changed, each of them in its turn.
"""

import errno
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

    def unchanged(self, account: bytes, limits: bytes, now_ns: int) -> bool:
        """Return whether what is known of the container still holds, given the beginnings as they are now."""
        container = self.container
        if account != self._seen or (limits != self._limits and not self._same_limits(limits)):
            self._seen, self._limits = account, limits
            return False
        if container.rate_varies:
            container.set_rates(limits, now_ns)
        try:
            return container.all_live()
        except (OSError, errors.Malformed):
            return False

    def _same_limits(self, limits: bytes) -> bool:
        """Whether only the live state changed, which the node agent writes all the time."""
        before = self._limits
        return (
            before is not None
            and policy_file.sequence_of(before) == policy_file.sequence_of(limits)
            and policy.guarded(before) == policy.guarded(limits)
        )


class Heads:
    """Refreshes containers, without reading those again of which nothing can have changed."""

    def __init__(self, turns: int = TURNS) -> None:
        self._turns, self._turn = turns, 0
        self._snapshots = Snapshots()
        self._heads: dict[Container, Head] = {}
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
            self._heads.pop(gone).close()
        self._distrusted &= present

    def refresh(self, containers: Sequence[Container], now_ns: int, sizes: Mapping[GpuUuid, Bytes]) -> bool:
        """Read what may have changed; arguments and result are those of `Container.refresh`, for all of them."""
        heads, others = [], list(containers[self._turn :: self._turns])
        self._turn = (self._turn + 1) % self._turns
        due = set(others)
        for container in containers:
            if container in due:
                continue
            head = None if container.touched else self._heads.get(container)
            if head is None:
                others.append(container)
            else:
                heads.append(head)
        accounts = self._snapshots.take([head.account for head in heads])
        limits = self._snapshots.take([head.limits for head in heads])
        for head, account, limit in zip(heads, accounts, limits, strict=True):
            if account is None or limit is None:
                self._distrusted.add(head.container)
                others.append(head.container)
            elif not head.unchanged(account, limit, now_ns):
                others.append(head.container)
        changed = False
        for container in others:
            changed |= container.refresh(now_ns, sizes)
            self._map(container)
        return changed

    def _map(self, container: Container) -> None:
        """Map the files of a container for the next time, if they can be trusted to stay."""
        trusted = container.settled and not container.touched and container not in self._distrusted
        container.touched = False
        if not trusted:
            if (head := self._heads.pop(container, None)) is not None:
                head.close()
        elif container not in self._heads:
            try:
                self._heads[container] = Head(container)
            except (OSError, ValueError):
                return  # it is read with care the next time too
