"""Record what pods take of every GPU of the cluster, and keep each node's view of it current.

A component that caches something derived from a node registers with `CapacityLedger.watch`, and is called with the
node's name after each change.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from unigpu import fit
from unigpu.allocations import GpuUsage
from unigpu.evictees import Evictee
from unigpu.fit import GpuState, Node
from unigpu.fragmentation import ShareSizes
from unigpu.gpus import Gpu
from unigpu.modes import NodeMode
from unigpu.requests import PlacementPolicy
from unigpu.units import GpuUuid, MiB

_MAX_SIGNATURES = 100_000
"""Most kinds of nodes to remember. When there are more, all are forgotten, and nodes get new signatures."""


@dataclass(frozen=True, slots=True)
class Booking:
    """What one pod takes of the GPUs of its node."""

    pod: str
    """`namespace/name`, for people."""
    node: str
    uses: Mapping[GpuUuid, GpuUsage]
    confirmed: bool = True
    """False while the booking is assumed: the binding is sent, and the API server hasn't shown it yet."""
    priority: int = 0
    """The pod's priority; pods of a higher one may preempt it."""
    evictee: Evictee | None = None
    """What counts if it might be evicted; None: not known."""


@dataclass(slots=True)
class _NodeEntry:
    """One node: its GPUs, if the node is known, and what each pod takes of them, also of GPUs that are gone."""

    gpus: tuple[Gpu, ...] = ()
    mode: NodeMode = NodeMode.MIXED
    gpu_policy: PlacementPolicy | None = None
    cordoned: frozenset[GpuUuid] = frozenset()
    totals: Mapping[str, int] = field(default_factory=dict)
    uses: dict[GpuUuid, dict[str, GpuUsage]] = field(default_factory=dict)
    view: Node | None = None
    """None: the node has changed since the view was built."""
    signature: int = 0
    overbooked: tuple[GpuUuid, ...] = ()


class CapacityLedger:
    """The cluster's GPUs, and what each pod takes of them. Not thread-safe; no method blocks."""

    def __init__(self) -> None:
        self._entries: dict[str, _NodeEntry] = {}
        self._bookings: dict[str, Booking] = {}
        self._watchers: list[Callable[[str], None]] = []
        self._signatures: dict[object, int] = {}
        self._next_signature = 0
        self._fullness: dict[str, int] = {}
        self._stale: set[str] = set()
        self.share_sizes = ShareSizes()
        self.assumed = 0
        """Number of bookings that aren't confirmed."""

    def watch(self, changed: Callable[[str], None]) -> None:
        """Call `changed` with a node's name after each change of its GPUs or of what is taken of them."""
        self._watchers.append(changed)

    def set_node(
        self,
        name: str,
        gpus: Sequence[Gpu],
        mode: NodeMode,
        gpu_policy: PlacementPolicy | None,
        cordoned: frozenset[GpuUuid] = frozenset(),
        totals: Mapping[str, int] | None = None,
    ) -> None:
        """Set the node's GPUs, mode, policy and which of the GPUs take nothing new; add the node if it is new.

        `totals` is what its status offers of `pod_resources.OWN`.
        """
        entry = self._entries.setdefault(name, _NodeEntry())
        entry.totals = totals or {}
        new = (tuple(gpus), mode, gpu_policy, cordoned)
        if new != (entry.gpus, entry.mode, entry.gpu_policy, entry.cordoned):
            entry.gpus, entry.mode, entry.gpu_policy, entry.cordoned = new
            self._changed(name, entry)

    def remove_node(self, name: str) -> None:
        """Remove the node's GPUs. Pods on it stay booked until they are released."""
        if name in self._entries:
            self.set_node(name, (), NodeMode.MIXED, None)
            self._drop_if_empty(name)

    def book(self, uid: str, booking: Booking) -> None:
        """Book a pod by its UID, in place of an earlier booking of the same pod."""
        former = self._bookings.get(uid)
        if former is not None:
            if (former.node, former.uses) == (booking.node, booking.uses):
                self._bookings[uid] = booking
                self.assumed += former.confirmed - booking.confirmed
                return
            self.release(uid)
        self._bookings[uid] = booking
        self._count(booking, 1)
        entry = self._entries.setdefault(booking.node, _NodeEntry())
        for gpu, use in booking.uses.items():
            entry.uses.setdefault(gpu, {})[uid] = use
        self._changed(booking.node, entry)

    def release(self, uid: str) -> Booking | None:
        """Remove the pod's booking and return it; None if there was none."""
        booking = self._bookings.pop(uid, None)
        if booking is None:
            return None
        self._count(booking, -1)
        entry = self._entries.get(booking.node)
        if entry is None:
            return booking
        for gpu in booking.uses:
            del entry.uses[gpu][uid]
            if not entry.uses[gpu]:
                del entry.uses[gpu]
        self._changed(booking.node, entry)
        self._drop_if_empty(booking.node)
        return booking

    @property
    def pods(self) -> int:
        """Number of bookings."""
        return len(self._bookings)

    def booking(self, uid: str) -> Booking | None:
        """Return the pod's booking, or None."""
        return self._bookings.get(uid)

    def bookings(self) -> Iterator[tuple[str, Booking]]:
        """Return an iterator over a snapshot of all bookings, as (UID, booking)."""
        return iter(tuple(self._bookings.items()))

    def bookings_on(self, name: str) -> dict[str, Booking]:
        """Return the bookings on the node, by UID."""
        entry = self._entries.get(name)
        uids = dict.fromkeys(uid for uses in entry.uses.values() for uid in uses) if entry is not None else {}
        return {uid: self._bookings[uid] for uid in uids}

    def confirmed_on(self, name: str) -> dict[str, Booking]:
        """Return the confirmed bookings on the node, by UID; assumed ones are left out."""
        return {uid: booking for uid, booking in self.bookings_on(name).items() if booking.confirmed}

    def totals(self, name: str) -> Mapping[str, int]:
        """Return what the node's status offers of `pod_resources.OWN`; empty where it isn't known."""
        entry = self._entries.get(name)
        return {} if entry is None else entry.totals

    def nodes(self) -> Iterator[str]:
        """Return the names of the nodes that have GPUs."""
        return (name for name, entry in self._entries.items() if entry.gpus)

    def node(self, name: str) -> Node | None:
        """Return the node's current state, or None if the node is unknown."""
        entry = self._entries.get(name)
        return None if entry is None else self._view(name, entry)

    def without(self, name: str, uids: Collection[str]) -> Node | None:
        """Return the node's state as it would be without these pods, or None if the node is unknown."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        seen = tuple(
            GpuState(
                gpu,
                _sum(gpu, {uid: use for uid, use in entry.uses.get(gpu.uuid, {}).items() if uid not in uids}),
                gpu.uuid in entry.cordoned,
            )
            for gpu in entry.gpus
        )
        return Node(name, seen, entry.mode, entry.gpu_policy)

    def signature(self, name: str) -> int:
        """Return a number that is equal for nodes which differ only in name, so that one cached answer serves them."""
        entry = self._entries[name]
        self._view(name, entry)
        return entry.signature

    def fullness(self, names: Iterable[str]) -> list[int]:
        """Return how full each of these nodes is: the mean over its GPUs, 0 to 1000; 0 if the node is unknown."""
        while self._stale:
            name = self._stale.pop()
            if name in self._entries:
                self._view(name, self._entries[name])
        known = self._fullness
        return [known.get(name, 0) for name in names]

    def overbooked(self) -> list[tuple[str, GpuUuid]]:
        """Return (node, GPU) for each GPU of which more is taken than it has. It should be empty."""
        found = []
        for name, entry in self._entries.items():
            self._view(name, entry)
            found += [(name, gpu) for gpu in entry.overbooked]
        return found

    def _count(self, booking: Booking, times: int) -> None:
        self.assumed += times * (not booking.confirmed)
        for use in booking.uses.values():
            self.share_sizes.count(use, times)

    def _changed(self, name: str, entry: _NodeEntry) -> None:
        entry.view = None
        self._stale.add(name)
        for watcher in self._watchers:
            watcher(name)

    def _drop_if_empty(self, name: str) -> None:
        entry = self._entries[name]
        if not entry.gpus and not entry.uses:
            del self._entries[name]
            self._fullness.pop(name, None)

    def _view(self, name: str, entry: _NodeEntry) -> Node:
        if entry.view is not None:
            return entry.view
        seen = tuple(
            GpuState(gpu, _sum(gpu, entry.uses.get(gpu.uuid)), gpu.uuid in entry.cordoned) for gpu in entry.gpus
        )
        entry.view = Node(name, seen, entry.mode, entry.gpu_policy)
        self._fullness[name] = sum(map(fit.fullness, seen)) // max(len(seen), 1)
        self._stale.discard(name)
        entry.overbooked = tuple(
            state.gpu.uuid for state in seen if _overbooked(state, len(entry.uses.get(state.gpu.uuid, ())))
        )
        characteristics = (
            entry.mode,
            entry.gpu_policy,
            tuple(
                (state.gpu.model, state.gpu.memory, state.gpu.healthy, state.cordoned, state.taken) for state in seen
            ),
        )
        if len(self._signatures) >= _MAX_SIGNATURES:
            self._signatures.clear()
        entry.signature = self._signatures.setdefault(characteristics, self._next_signature)

        self._next_signature += 1
        return entry.view


def _sum(gpu: Gpu, uses: Mapping[str, GpuUsage] | None) -> GpuUsage:
    """What pods take of the GPU, and the memory on it that nobody was granted."""
    if not uses:
        return GpuUsage(gpu.foreign) if gpu.foreign else fit.UNUSED
    memory: int = gpu.foreign
    cores = shares = 0
    whole = False
    for use in uses.values():
        memory += use.memory
        cores += use.cores
        shares += use.shares
        whole = whole or use.whole
    return GpuUsage(MiB(memory), cores, shares, whole)


def _overbooked(state: GpuState, pods: int) -> bool:
    """Whether more was given out than there is. Memory that was taken without a grant isn't the scheduler's fault."""
    taken = state.taken
    return taken.memory - state.gpu.foreign > state.gpu.memory or taken.cores > fit.FULL or (taken.whole and pods > 1)
