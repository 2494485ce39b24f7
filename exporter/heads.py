"""Which containers have to be read again: those whose files' beginnings changed, or whose processes ended.

Asking for each of a thousand files by itself takes most of a scrape, so copies of their beginnings are compared
(`unigpu_node.file_heads`). The copies only say that something has changed: what is said of a container is always what
`Container` reads with care.

A file that is cut where it has zeros anyway looks the same in memory. So a few containers are read each time although
nothing seems to have changed, each of them in its turn.
"""

import mmap
from collections.abc import Iterable, Mapping, Sequence

from exporter.container import Container
from unigpu import errors, policy
from unigpu.units import Bytes, GpuUuid
from unigpu_node import policy_file
from unigpu_node.file_heads import Copies, Snapshots

DESCRIPTORS = 3
"""How many a container takes that is watched in this way: the usage file, and one for each map."""
TURNS = 32
"""Each container is read with care at least once in so many times."""


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
