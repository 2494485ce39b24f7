"""The extender's preempt: on each node that the kube-scheduler offers, the victims that make room on a GPU.

The kube-scheduler chooses victims by the node's totals, and spares the pods that run longest. Here they are chosen
again among the pods of lower priority that have shares of GPUs (`unigpu.victims`). What else the kube-scheduler had in
mind is kept: its victims without a share, those that hold what isn't a resource, and as much of every other resource as
its victims would have freed, or as the pod asks for.

Of two urgent pods at once, each has its own victims (`scheduler.named_victims`), and no more go than both need: where a
pod's GPU is free already, and the node's totals only lack what leaves for the other pod, it has to wait, not to evict.
"""

import dataclasses
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scheduler import nominations, wire
from scheduler.budget_cache import BudgetCache
from scheduler.cache import ClusterCache
from scheduler.named_victims import Going
from scheduler.nominations import Nominee
from unigpu import api_objects, evictees, pod_resources, room, victims
from unigpu.cover import Steps
from unigpu.evictees import Tie
from unigpu.fit import Node
from unigpu.ledger import Booking
from unigpu.placement import Rules
from unigpu.requests import PodRequest
from unigpu.victims import Question

MAX_STEPS, MIN_STEPS = 5000, 100
"""Most sets of victims to begin for one pod, on all nodes together, and what each node may have in any case."""
MAX_SECONDS = 1.0
"""After which nodes that haven't been looked at are left out, if there is one with victims: all scheduling waits.
"""


@dataclass(frozen=True, slots=True)
class Preemptor:
    """The pod that needs room."""

    document: Mapping[str, Any]
    request: PodRequest

    @property
    def uid(self) -> str:
        """Its UID."""
        return str(self.document["metadata"].get("uid", ""))

    @property
    def spec(self) -> Mapping[str, Any]:
        """Its spec."""
        spec: Mapping[str, Any] = self.document["spec"]
        return spec

    @property
    def priority(self) -> int:
        """Its priority."""
        return api_objects.priority(self.document)

    def on(self, node: str) -> Nominee:
        """Return it as a pod that waits for room there."""
        amounts = pod_resources.of_pod(self.spec)
        return Nominee(self.uid, api_objects.key(self.document), node, self.priority, self.request, amounts)


class Preemption:
    """Chooses victims by what the extender knows of the cluster."""

    def __init__(
        self,
        cache: ClusterCache,
        rules: Rules,
        budgets: BudgetCache,
        uncounted: Collection[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`uncounted` are resources that the kube-scheduler leaves out; `clock` has seconds."""
        self._cache = cache
        self._ledger = cache.ledger
        self._rules = rules
        self._waiting = cache.waiting
        self._named = cache.named
        self._budgets = budgets
        self._uncounted = frozenset(uncounted)
        self._clock = clock

    def choose(
        self, pod: Preemptor, offered: Mapping[str, wire.MetaVictims]
    ) -> Iterator[tuple[str, wire.MetaVictims | None]]:
        """Yield each node with its victims; None where no victims make room."""
        share = max(MIN_STEPS, MAX_STEPS // max(1, len(offered)))
        end = self._clock() + MAX_SECONDS
        kept: dict[str, wire.MetaVictims] = {}
        for name, found in offered.items():
            if kept and self._clock() > end:
                break
            victims_here = self.on_node(pod, name, found, Steps(share))
            if victims_here is not None:
                kept[name] = victims_here
            yield name, victims_here
        self._named.note(
            pod.on(next(iter(kept), "")), {name: self._booked(name, found) for name, found in kept.items()}
        )

    def _booked(self, name: str, found: wire.MetaVictims) -> dict[str, Booking]:
        bookings = self._ledger.bookings_on(name)
        return {victim["UID"]: bookings[victim["UID"]] for victim in found["Pods"] if victim["UID"] in bookings}

    def goes_on(self, uid: str, node: str) -> bool:
        """Return whether pods that were evicted are still on a node to which that pod is nominated."""
        bookings = self._ledger.bookings_on(node)
        going = self._named.on(node, uid)
        named = going.victims.keys() | going.own.keys()
        return not bookings.keys().isdisjoint(named) or any(map(_preempted, bookings.values()))

    def on_node(self, pod: Preemptor, name: str, offered: wire.MetaVictims, steps: Steps) -> wire.MetaVictims | None:
        """Return the victims on one node, the most important first; None if none make room, or it is being made."""
        # Of one that has ended, no event would follow, which the kube-scheduler may wait for.
        order = [victim["UID"] for victim in offered["Pods"] if not self._cache.has_ended(victim["UID"])]
        going = self._named.on(name, pod.uid)
        bookings = self._ledger.bookings_on(name)
        question, others = self._question(pod, name, order, going)
        chosen = victims.choose(question, steps)
        if chosen is None:
            return None
        before = [uid for uid in order if uid in question.candidates]
        if not chosen and before:
            chosen = self._for_unseen_lack(pod, name, going, frozenset(before), question.candidates)
            if not chosen:
                return None
        # The kube-scheduler notices when those have left that leave for others; while it evicts for this pod it
        # wouldn't. But without a victim the pod isn't nominated.
        alone = frozenset(uid for uid in chosen if uid not in going.victims and not _preempted(bookings[uid]))
        if alone or self._waiting.node_of(pod.uid) == name:
            chosen = alone
        if not chosen and not others:
            return None
        violations = offered["NumPDBViolations"]
        if self._budgets.known:
            # What other victims add to the kube-scheduler's figure stays.
            more = max(0, violations - victims.cost(question, before)[0]) if others else 0
            violations = victims.cost(question, chosen)[0] + more
        merged = _merge(question, victims.in_order(question, chosen), order)
        return {"Pods": [{"UID": uid} for uid in merged], "NumPDBViolations": violations}

    def _for_unseen_lack(
        self, pod: Preemptor, name: str, going: Going, before: frozenset[str], candidates: Collection[str]
    ) -> frozenset[str]:
        """Return who goes although there is room on the GPUs: the kube-scheduler sees a lack that isn't seen here.

        Nobody where it only counts pods that leave for others; those that were named for this pod before, where they
        were to free the totals; else whom the kube-scheduler chose.
        """
        if self._totals_will_do(pod, name, going, going.victims.keys()):
            return frozenset()
        again = frozenset(uid for uid in going.own if uid in candidates)
        if again and self._totals_will_do(pod, name, going, going.victims.keys() | again):
            return again
        return before

    def _totals_will_do(self, pod: Preemptor, name: str, going: Going, gone: Collection[str]) -> bool:
        """Return whether the node's totals lack something now, as the kube-scheduler may count, and nothing once these
        have left, and all that were evicted for others."""
        bookings = self._ledger.bookings_on(name)
        waiting = [
            one.amounts
            for one in (*self._waiting.on(name), *going.nominees)
            if one.uid not in bookings and one.uid != pod.uid and one.priority >= pod.priority
        ]
        left = [booking for uid, booking in bookings.items() if uid not in gone and not _preempted(booking)]
        wanted, totals = pod_resources.of_pod(pod.spec), self._ledger.totals(name)
        now = room.lacking(wanted, totals, {**going.victims, **going.own, **bookings}.values(), waiting)
        later = room.lacking(wanted, totals, left, waiting)
        return max(now.values(), default=0) > 0 >= max(later.values(), default=0)

    def _question(self, pod: Preemptor, name: str, order: Sequence[str], going: Going) -> tuple[Question, set[str]]:
        """Return the question to `unigpu.victims`, and the offered victims that are none of its candidates."""
        bookings = self._ledger.bookings_on(name)
        lower = {
            uid: booking
            for uid, booking in bookings.items()
            if booking.confirmed and booking.priority < pod.priority and (booking.evictee is not None or uid in order)
        }
        others = set(order) - lower.keys()
        ahead = self._waiting.ahead_of(pod.uid, pod.priority, name)
        equal = self._waiting.node_of(pod.uid) != name  # else it was there first
        ahead += [
            one for one in going.nominees if one.priority > pod.priority or (equal and one.priority == pod.priority)
        ]
        reserved = nominations.reserved(self._ledger, self._rules, name, ahead, going.victims)

        def without(uids: Collection[str]) -> Node:
            node = self._ledger.without(name, {*uids, *others}) or Node(name, ())
            return nominations.with_reserved(node, reserved)

        candidates, allowed = room.candidates(lower, self._budgets.of)
        for uid in (going.victims.keys() | going.own.keys()) & candidates.keys():
            candidates[uid] = dataclasses.replace(candidates[uid], leaving=True)
        before = {uid for uid in order if uid in candidates}
        question = Question(
            pod.request,
            self._rules,
            candidates,
            without,
            allowed,
            frozenset(before if self._keeps_all(pod) else (uid for uid in before if _tied(lower[uid], pod))),
            self._lacking(pod, name, before, bookings, [one.amounts for one in ahead if one.uid not in bookings]),
        )
        return question, others

    def _keeps_all(self, pod: Preemptor) -> bool:
        return not self._budgets.known or evictees.depends_on_neighbours(pod.spec)

    def _lacking(
        self,
        pod: Preemptor,
        name: str,
        before: Collection[str],
        bookings: Mapping[str, Booking],
        waiting: Sequence[pod_resources.Amounts],
    ) -> dict[str, int]:
        """Return what must be freed of the node's totals: no more than the kube-scheduler's victims free.

        What is free of unigpu's resources is known. Of others it isn't: what the pod asks for is enough.
        """
        freed = pod_resources.total((bookings[uid].evictee or room.UNKNOWN).amounts for uid in before)
        wanted = pod_resources.of_pod(pod.spec)
        own = room.lacking(wanted, self._ledger.totals(name), bookings.values(), waiting)
        lacking = {}
        for resource, amount in wanted.items():
            need = min(amount, freed.get(resource, 0), own.get(resource, amount))
            if need > 0 and resource not in self._uncounted:
                lacking[resource] = need
        return lacking


def _preempted(booking: Booking) -> bool:
    return booking.evictee is not None and booking.evictee.preempted


def _tied(booking: Booking, pod: Preemptor) -> bool:
    """Return whether the kube-scheduler may have chosen a victim for what isn't a resource."""
    if booking.evictee is None:
        return True
    ties = booking.evictee.ties
    return bool(ties & Tie.ANTI_AFFINITY or ties & evictees.ties(pod.spec) & (Tie.PORTS | Tie.CLAIMS))


def _merge(question: Question, chosen: Sequence[str], order: Sequence[str]) -> list[str]:
    """Return the chosen victims and those of the kube-scheduler that aren't candidates, the most important first.

    The priority of the latter isn't known, but it is at most that of the candidate before it in the kube-scheduler's
    order.
    """
    left = list(chosen)
    merged: list[str] = []
    level: int | None = None
    for uid in order:
        if uid in question.candidates:
            level = question.candidates[uid].priority
            continue
        while left and level is not None and question.candidates[left[0]].priority >= level:
            merged.append(left.pop(0))
        merged.append(uid)
    return merged + left
