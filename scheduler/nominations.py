"""Pods for which others were evicted: the room that they wait for isn't given to less important ones.

The kube-scheduler writes such a pod's node into its status (`nominatedNodeName`) and counts the pod there in the node's
totals. Which GPU becomes free it doesn't know.
"""

import dataclasses
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Set
from dataclasses import dataclass

from unigpu import allocations, placement
from unigpu.allocations import GpuUsage
from unigpu.api_objects import PodFacts
from unigpu.fit import UNUSED, Node
from unigpu.ledger import CapacityLedger
from unigpu.placement import Rules
from unigpu.requests import PodRequest
from unigpu.units import GpuUuid


@dataclass(frozen=True, slots=True)
class Nominee:
    """A pod that waits for room on a node."""

    uid: str
    pod: str
    """`namespace/name`."""
    node: str
    priority: int
    request: PodRequest
    amounts: Mapping[str, int]
    """What it takes of the node's totals, as in `unigpu.pod_resources`."""


class Nominations:
    """All such pods. Nearly always none."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` has seconds."""
        self._by_node: dict[str, dict[str, Nominee]] = {}
        self._nodes: dict[str, str] = {}
        self._clock = clock
        self._held: dict[str, tuple[Nominee, float]] = {}
        """Pods for which others give room without being evicted, and until when it is kept for them."""

    def hold(self, nominee: Nominee, until: float) -> None:
        """Keep room for a pod that nobody was evicted for, until that time of the clock."""
        self._held[nominee.uid] = nominee, until

    def pod_changed(self, facts: PodFacts) -> None:
        """Take over a pod that is new or has changed."""
        self._forget(facts.uid)
        if facts.nominated and facts.wish is not None and not facts.ended:
            amounts = facts.evictee.amounts if facts.evictee is not None else {}
            nominee = Nominee(facts.uid, facts.key, facts.nominated, facts.priority, facts.wish, amounts)
            self._nodes[facts.uid] = facts.nominated
            self._by_node.setdefault(facts.nominated, {})[facts.uid] = nominee

    def pod_gone(self, uid: str) -> None:
        """Forget a pod."""
        self._forget(uid)
        self._held.pop(uid, None)

    def _forget(self, uid: str) -> None:
        node = self._nodes.pop(uid, None)
        if node is not None:
            del self._by_node[node][uid]
            if not self._by_node[node]:
                del self._by_node[node]

    def clear(self) -> None:
        """Forget all pods that the kube-scheduler has nominated."""
        self._by_node.clear()
        self._nodes.clear()

    def all(self) -> list[Nominee]:
        """Return the pods that are nominated, as the API server shows them."""
        return [nominee for waiting in self._by_node.values() for nominee in waiting.values()]

    def node_of(self, uid: str) -> str | None:
        """Return the node that a pod is nominated to, as the API server shows it."""
        return self._nodes.get(uid)

    def on(self, node: str) -> list[Nominee]:
        """Return the pods that are nominated to the node, as the API server shows them."""
        return list(self._by_node.get(node, {}).values())

    def nodes(self) -> Set[str]:
        """Return the nodes on which pods wait for room."""
        if not self._held:
            return self._by_node.keys()
        now = self._clock()
        self._held = {uid: entry for uid, entry in self._held.items() if now < entry[1]}
        return self._by_node.keys() | {nominee.node for nominee, _ in self._held.values()}

    def awaits(self, uid: str) -> bool:
        """Return whether room is being made for the pod."""
        held = self._held.get(uid)
        return uid in self._nodes or (held is not None and self._clock() < held[1])

    def ahead_of(self, uid: str, priority: int, node: str) -> list[Nominee]:
        """Return the pods whose room on the node a pod must leave alone, the most important first.

        Of two pods of equal priority that both wait on the node, the one with the lower UID is ahead.
        """
        waiting = self._by_node.get(node, {})
        if self._held:
            now = self._clock()
            waiting = {
                **{one.uid: one for one, until in self._held.values() if one.node == node and now < until},
                **waiting,
            }
        if not waiting:
            return []
        found = [
            nominee
            for nominee in waiting.values()
            if nominee.priority > priority
            or (nominee.priority == priority and (nominee.uid < uid or uid not in waiting))
            if nominee.uid != uid
        ]
        return sorted(found, key=lambda nominee: (-nominee.priority, nominee.uid))


def reserved(
    ledger: CapacityLedger, rules: Rules, name: str, nominees: Iterable[Nominee], going: Collection[str] = ()
) -> dict[GpuUuid, GpuUsage]:
    """Return what these pods will take of each GPU of a node, once the pods that are leaving are gone.

    `going` are UIDs of pods that will leave too, which doesn't show yet. A pod that still has no room then, because its
    victims have not begun to leave, takes nothing yet.
    """
    found: dict[GpuUuid, GpuUsage] = {}
    leaving = {
        uid
        for uid, booking in ledger.bookings_on(name).items()
        if booking.evictee is not None and booking.evictee.leaving
    }
    node = ledger.without(name, leaving.union(going))
    for nominee in nominees:
        if node is None or ledger.booking(nominee.uid) is not None:
            continue
        try:
            allocation = placement.place(with_reserved(node, found), nominee.request, rules)
        except placement.Unschedulable:
            continue
        roles = {container: request.role for container, request in nominee.request.containers.items()}
        for gpu, use in allocations.pod_usage(allocation, roles).items():
            found[gpu] = found.get(gpu, UNUSED).plus(use)
    return found


def with_reserved(node: Node, more: Mapping[GpuUuid, GpuUsage]) -> Node:
    """Return the node with more taken of its GPUs."""
    if not more:
        return node
    states = tuple(
        dataclasses.replace(state, taken=state.taken.plus(more[state.gpu.uuid])) if state.gpu.uuid in more else state
        for state in node.gpus
    )
    return dataclasses.replace(node, gpus=states)
