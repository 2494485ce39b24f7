"""The cluster as the API server shows it, and the bindings of this process that it doesn't show yet.

A binding is assumed before it is written, so that no other pod gets the same share in the time between. Only the truth
ends an assumption: the API server shows the pod bound or gone, or has refused the binding for good. No clock does, but
for the time that no sending outlives (`scheduler.binding.LATE`).
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable

from scheduler.named_victims import NamedVictims
from scheduler.nominations import Nominations
from unigpu import allocations, api_objects, logs
from unigpu.allocations import Allocation
from unigpu.api_objects import NodeFacts, PodFacts
from unigpu.ledger import Booking, CapacityLedger
from unigpu.requests import PodRequest

MOST_ENDED = 10_000
"""Pods whose end is remembered, so that an answer that was read before it and arrives after it doesn't revive them."""

logger = logging.getLogger(__name__)


class ClusterCache:
    """A ledger that follows lists and watches of nodes and pods."""

    def __init__(self, ledger: CapacityLedger, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` has seconds."""
        self.ledger = ledger
        self.waiting = Nominations(clock)
        self.named = NamedVictims(self.waiting, clock)
        self._nodes: set[str] = set()
        self._doubtful: set[str] = set()
        self._ended: OrderedDict[str, None] = OrderedDict()

    def node_changed(self, facts: NodeFacts) -> None:
        """Take over a node that is new or has changed."""
        if facts.problem and facts.name not in self._doubtful:
            logs.event(logger, "node unreadable", logging.WARNING, node=facts.name, reason=facts.problem)
        self._doubt(facts.name, facts.problem)
        self._nodes.add(facts.name)
        self.ledger.set_node(facts.name, facts.gpus, facts.mode, facts.gpu_policy, facts.cordoned, facts.totals)

    def node_gone(self, name: str) -> None:
        """Forget a node."""
        self._nodes.discard(name)
        self._doubtful.discard(name)
        self.ledger.remove_node(name)

    def nodes_listed(self, nodes: Iterable[NodeFacts]) -> None:
        """Take over all nodes that there are."""
        listed = {facts.name: facts for facts in nodes}
        for name in self._nodes - listed.keys():
            self._nodes.discard(name)
            self.ledger.remove_node(name)
        for facts in listed.values():
            self.node_changed(facts)

    def pod_changed(self, facts: PodFacts) -> None:
        """Take over a pod that is new or has changed. An answer that is older than its known end changes nothing."""
        if facts.ended:
            self.pod_gone(facts.uid)
        if facts.uid in self._ended:
            return
        self.waiting.pod_changed(facts)
        if facts.problem and facts.uid not in self._doubtful:
            logs.event(
                logger,
                "pod unreadable",
                logging.WARNING,
                pod=facts.key,
                pod_uid=facts.uid,
                node=facts.node,
                reason=facts.problem,
            )
        self._doubt(facts.uid, facts.problem)
        if facts.node:
            self.named.forget(facts.uid)
        if facts.allocation is not None:
            uses = api_objects.usage(facts)
            booking = Booking(facts.key, facts.node, uses, priority=facts.priority, evictee=facts.evictee)
            self.ledger.book(facts.uid, booking)
        elif facts.node:
            # Another scheduler bound it. What was confirmed earlier stays: its containers may be using it.
            assumed = self.ledger.booking(facts.uid)
            if assumed is not None and not assumed.confirmed:
                self.ledger.release(facts.uid)

    def has_ended(self, uid: str) -> bool:
        """Return whether a pod is known to be gone or to have ended, of the last `MOST_ENDED` ones."""
        return uid in self._ended

    def pod_gone(self, uid: str) -> None:
        """Release what a pod has that is gone or has ended."""
        self._end(uid)

    def node_read(self, before: Iterable[str], pods: Iterable[PodFacts]) -> None:
        """Take over all pods of a node; `before` are those in its ledger when the API server was asked."""
        listed = {facts.uid: facts for facts in pods}
        for uid in before:
            if uid not in listed:
                self._end(uid)
        for facts in listed.values():
            self.pod_changed(facts)

    def pods_listed(self, pods: Iterable[PodFacts], unreadable: Collection[str] = ()) -> list[str]:
        """Take over all pods that there are, and return the UIDs of assumed ones that aren't among them.

        Those may be gone, or younger than the list: the caller has to ask for each. `unreadable` are UIDs of pods that
        exist and can't be read: what they had before stays, because their containers may be using it.
        """
        listed = {facts.uid: facts for facts in pods}
        unseen = []
        for uid, booking in self.ledger.bookings():
            if uid in listed or uid in unreadable:
                continue
            if booking.confirmed:
                self.ledger.release(uid)
            else:
                unseen.append(uid)
        self._doubtful &= listed.keys() | self._nodes
        self.waiting.clear()
        for facts in listed.values():
            self.pod_changed(facts)
        return unseen

    def assume(self, uid: str, pod: str, request: PodRequest, allocation: Allocation) -> Booking:
        """Count the allocation from now on."""
        uses = allocations.pod_usage(allocation, {name: one.role for name, one in request.containers.items()})
        booking = Booking(pod, allocation.node, uses, confirmed=False)
        self.ledger.book(uid, booking)
        self.named.forget(uid)
        return booking

    def withdraw(self, uid: str, booking: Booking) -> None:
        """End an assumption that was wrong, unless the API server has shown something else since."""
        if self.ledger.booking(uid) is booking:
            self.ledger.release(uid)

    def _end(self, uid: str) -> None:
        self._ended[uid] = None
        if len(self._ended) > MOST_ENDED:
            self._ended.popitem(last=False)
        self._doubtful.discard(uid)
        self.waiting.pod_gone(uid)
        self.named.forget(uid)
        self.ledger.release(uid)

    def _doubt(self, what: str, problem: str) -> None:
        if problem:
            self._doubtful.add(what)
        else:
            self._doubtful.discard(what)
