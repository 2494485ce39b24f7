"""What is taken of every GPU of the cluster: kept current by each change, one node at a time.

Whoever keeps something derived from a node (see `Books.watch`) is told its name when anything of it changes.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from unigpu import cards
from unigpu.allocations import Use
from unigpu.cards import Card, Node
from unigpu.gpus import Gpu
from unigpu.modes import NodeMode
from unigpu.requests import Spread
from unigpu.units import GpuUuid, MiB

_MOST_SIGNATURES = 100_000
"""Kinds of nodes that are remembered; after that they are told apart anew."""


@dataclass(frozen=True, slots=True)
class Booking:
    """What one pod takes of one node."""

    pod: str
    """`namespace/name`, for people."""
    node: str
    uses: Mapping[GpuUuid, Use]
    confirmed: bool = True
    """False: assumed, until the API server shows the pod bound."""
    priority: int = 0
    """Of the pod; a higher one may preempt it."""


@dataclass(slots=True)
class _Ledger:
    """One node: its GPUs, if the node is known, and the pods on each, also those on GPUs that are gone."""

    gpus: tuple[Gpu, ...] = ()
    mode: NodeMode = NodeMode.MIXED
    gpu_policy: Spread | None = None
    uses: dict[GpuUuid, dict[str, Use]] = field(default_factory=dict)
    view: Node | None = None
    """None: changed since it was made."""
    signature: int = 0
    overbooked: tuple[GpuUuid, ...] = ()


class Books:
    """The cluster's GPUs and who has what of them. Not thread-safe; nothing in it waits."""

    def __init__(self) -> None:
        self._ledgers: dict[str, _Ledger] = {}
        self._bookings: dict[str, Booking] = {}
        self._watchers: list[Callable[[str], None]] = []
        self._signatures: dict[object, int] = {}
        self._next_signature = 0
        self._fullness: dict[str, int] = {}
        self._stale: set[str] = set()

    def watch(self, changed: Callable[[str], None]) -> None:
        """Call `changed` with a node's name whenever its GPUs or what is taken of them changes."""
        self._watchers.append(changed)

    def set_node(self, name: str, gpus: Sequence[Gpu], mode: NodeMode, gpu_policy: Spread | None) -> None:
        """The node's GPUs and mode as they are now."""
        ledger = self._ledgers.setdefault(name, _Ledger())
        new = (tuple(gpus), mode, gpu_policy)
        if new != (ledger.gpus, ledger.mode, ledger.gpu_policy):
            ledger.gpus, ledger.mode, ledger.gpu_policy = new
            self._changed(name, ledger)

    def remove_node(self, name: str) -> None:
        """The node is gone. What pods take there stays booked until they are gone too."""
        if name in self._ledgers:
            self.set_node(name, (), NodeMode.MIXED, None)
            self._drop_if_empty(name)

    def book(self, uid: str, booking: Booking) -> None:
        """The pod with this UID takes that, instead of whatever was booked for it."""
        former = self._bookings.get(uid)
        if former is not None:
            if (former.node, former.uses) == (booking.node, booking.uses):
                self._bookings[uid] = booking
                return
            self.release(uid)
        self._bookings[uid] = booking
        ledger = self._ledgers.setdefault(booking.node, _Ledger())
        for gpu, use in booking.uses.items():
            ledger.uses.setdefault(gpu, {})[uid] = use
        self._changed(booking.node, ledger)

    def release(self, uid: str) -> Booking | None:
        """The pod takes nothing any more. Returns what was booked."""
        booking = self._bookings.pop(uid, None)
        if booking is None:
            return None
        ledger = self._ledgers.get(booking.node)
        if ledger is None:
            return booking
        for gpu in booking.uses:
            del ledger.uses[gpu][uid]
            if not ledger.uses[gpu]:
                del ledger.uses[gpu]
        self._changed(booking.node, ledger)
        self._drop_if_empty(booking.node)
        return booking

    def booking(self, uid: str) -> Booking | None:
        """What is booked for the pod."""
        return self._bookings.get(uid)

    def bookings(self) -> Iterator[tuple[str, Booking]]:
        """All of them, by UID."""
        return iter(tuple(self._bookings.items()))

    def confirmed_on(self, name: str) -> dict[str, Booking]:
        """The pods that take GPUs of the node, by UID, without those that are only assumed to."""
        ledger = self._ledgers.get(name)
        uids = dict.fromkeys(uid for uses in ledger.uses.values() for uid in uses) if ledger is not None else {}
        return {uid: booking for uid in uids if (booking := self._bookings[uid]).confirmed}

    def nodes(self) -> Iterator[str]:
        """Names of the nodes that have GPUs."""
        return (name for name, ledger in self._ledgers.items() if ledger.gpus)

    def node(self, name: str) -> Node | None:
        """The node as it is now; None where it is unknown."""
        ledger = self._ledgers.get(name)
        return None if ledger is None else self._view(name, ledger)

    def without(self, name: str, uids: Collection[str]) -> Node | None:
        """The node as it would be if these pods were gone."""
        ledger = self._ledgers.get(name)
        if ledger is None:
            return None
        seen = tuple(
            Card(gpu, _sum({uid: use for uid, use in ledger.uses.get(gpu.uuid, {}).items() if uid not in uids}))
            for gpu in ledger.gpus
        )
        return Node(name, seen, ledger.mode, ledger.gpu_policy)

    def signature(self, name: str) -> int:
        """A number that nodes share that differ in name only, so that what holds for one holds for the others."""
        ledger = self._ledgers[name]
        self._view(name, ledger)
        return ledger.signature

    def fullness(self, names: Iterable[str]) -> list[int]:
        """How full each of these nodes is: the sum over its GPUs, each 0 to 1000, divided by their number.

        0 where the node is unknown.
        """
        while self._stale:
            name = self._stale.pop()
            if name in self._ledgers:
                self._view(name, self._ledgers[name])
        known = self._fullness
        return [known.get(name, 0) for name in names]

    def overbooked(self) -> list[tuple[str, GpuUuid]]:
        """GPUs of which more is taken than there is. There should be none."""
        found = []
        for name, ledger in self._ledgers.items():
            self._view(name, ledger)
            found += [(name, gpu) for gpu in ledger.overbooked]
        return found

    def _changed(self, name: str, ledger: _Ledger) -> None:
        ledger.view = None
        self._stale.add(name)
        for watcher in self._watchers:
            watcher(name)

    def _drop_if_empty(self, name: str) -> None:
        ledger = self._ledgers[name]
        if not ledger.gpus and not ledger.uses:
            del self._ledgers[name]
            self._fullness.pop(name, None)

    def _view(self, name: str, ledger: _Ledger) -> Node:
        if ledger.view is not None:
            return ledger.view
        seen = tuple(Card(gpu, _sum(ledger.uses.get(gpu.uuid))) for gpu in ledger.gpus)
        ledger.view = Node(name, seen, ledger.mode, ledger.gpu_policy, cards.rooms(seen, ledger.mode))
        self._fullness[name] = sum(map(cards.fullness, seen)) // max(len(seen), 1)
        self._stale.discard(name)
        ledger.overbooked = tuple(
            card.gpu.uuid for card in seen if _overbooked(card, len(ledger.uses.get(card.gpu.uuid, ())))
        )
        likeness = (
            ledger.mode,
            ledger.gpu_policy,
            tuple((card.gpu.model, card.gpu.memory, card.gpu.healthy, card.taken) for card in seen),
        )
        if len(self._signatures) >= _MOST_SIGNATURES:
            self._signatures.clear()
        ledger.signature = self._signatures.setdefault(likeness, self._next_signature)
        self._next_signature += 1
        return ledger.view


def _sum(uses: Mapping[str, Use] | None) -> Use:
    if not uses:
        return cards.UNUSED
    memory = cores = shares = 0
    whole = False
    for use in uses.values():
        memory += use.memory
        cores += use.cores
        shares += use.shares
        whole = whole or use.whole
    return Use(MiB(memory), cores, shares, whole)


def _overbooked(card: Card, pods: int) -> bool:
    taken = card.taken
    return taken.memory > card.gpu.memory or taken.cores > cards.FULL or (taken.whole and pods > 1)
