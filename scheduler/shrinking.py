"""Lowers limits of less important pods before one of them is evicted.

Asked for victims, the extender first looks for containers that could do with less (`unigpu.shrinks`), by what the node
agents publish. If they make room on an offered node, it writes their lower limits and answers that no node has victims.
The pod stays pending, nominated to that node; the node's capacity grows once the limits are in force, and the
kube-scheduler tries it again (`scheduler.retries`). Where that doesn't come about in time, the pod's next attempt
evicts.

What is lowered is written on the pods, with what they had before. Only the attempts are remembered here: an extender
that starts again, or whose kube-scheduler begins to lead, goes on to wait for the room, by nominations and records, and
asked again may plan once more, by what is left to be lowered. Where the API server doesn't answer or refuses, a step is
tried again: to lower limits while the attempt lasts, the rest for as long as the pod waits.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from scheduler import nominations, retries
from scheduler.nominations import Nominations, Nominee
from scheduler.preemption import Preemptor
from unigpu import api_objects, documents, errors, logs, lowering, names, placement, pod_resources, room, shrinks
from unigpu.api_objects import NodeFacts
from unigpu.cover import Steps
from unigpu.fit import Node
from unigpu.ledger import CapacityLedger
from unigpu.lowering import Amounts
from unigpu.placement import Rules
from unigpu.requests import PodRequest
from unigpu.shrinks import Giver, Plan
from unigpu_kube import errors as kube_errors
from unigpu_kube import events, objects, pods
from unigpu_kube.backoff import Backoff
from unigpu_kube.client import Client
from unigpu_kube.objects import Ref
from unigpu_service.runtime import Supervisor

logger = logging.getLogger(__name__)

PATIENCE = 30.0
"""Seconds for limits to come into force and for the pod to be placed; its next attempt after that evicts."""
AGAIN = 600.0
"""Seconds from one attempt for a pod to the next."""
MAX_STEPS, MIN_STEPS = 5000, 100
"""Most sets of containers to begin for one pod, on all nodes together, and what each node may have in any case."""
MAX_SECONDS = 0.5
"""After which no other node is looked at: all scheduling waits."""
_TRIES = 3
_LOOK = 0.5
"""Seconds between two looks whether there is room."""
_NEXT_TRY = 5.0
"""Seconds for the kube-scheduler to place a pod that has room before the end of its nomination is written once more."""
_PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Seconds between tries of what must be done some time; the last one repeats."""
_COMPONENT = "unigpu-scheduler"


@dataclass(slots=True)
class _Attempt:
    """Limits that were lowered for a pod."""

    started: float
    until: float
    """Up to when nobody is evicted for it."""


class Shrinking:
    """Plans and writes lower limits; one attempt of a pod at a time."""

    def __init__(
        self,
        api: Client,
        ledger: CapacityLedger,
        rules: Rules,
        waiting: Nominations,
        supervisor: Supervisor,
        uncounted: Collection[str] = (),
        *,
        tries_again: bool = False,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`uncounted` are resources that the kube-scheduler leaves out; `tries_again`: it tries a pod again that is no
        longer nominated; `clock` has seconds, `now` seconds since the epoch."""
        self._api = api
        self._ledger = ledger
        self._rules = rules
        self._waiting = waiting
        self._supervisor = supervisor
        self._uncounted = frozenset(uncounted)
        self._tries_again = tries_again
        self._clock = clock
        self._now = now
        self._texts: dict[str, str] = {}
        self._attempts: dict[str, _Attempt] = {}
        self._served: set[str] = set()
        """UIDs of the pods for which limits are being lowered, or room is awaited, by this extender."""

    def nodes_listed(self, nodes: Iterable[NodeFacts]) -> None:
        """Take over what all nodes publish."""
        self._texts.clear()
        for facts in nodes:
            self.node_changed(facts)

    def node_changed(self, facts: NodeFacts) -> None:
        """Take over what a node publishes of its containers."""
        if facts.lowerable is not None:
            self._texts[facts.name] = facts.lowerable
        else:
            self._texts.pop(facts.name, None)

    def node_gone(self, name: str) -> None:
        """Forget a node."""
        self._texts.pop(name, None)

    def could_lower(
        self, request: PodRequest, priority: int, name: str, shown: Callable[[str, str], str]
    ) -> Sequence[str]:
        """Return whose limits could be lowered so that the node takes such a pod, in words; empty: nobody's.

        `shown` makes of a pod's `namespace/name` and UID what it is called.
        """
        if name not in self._texts:
            return ()
        node, able = self._able(priority, name)
        found = shrinks.plan(request, self._rules, node, able, Steps(MIN_STEPS)) if node is not None and able else None
        return () if found is None else shrinks.in_words(found.lowered, self._ledger.bookings_on(name), shown)

    async def spares(self, pod: Preemptor, offered: Iterable[str]) -> bool:
        """Return whether nobody is to be evicted for the pod now, because limits are being lowered for it."""
        now = self._clock()
        self._attempts = {uid: one for uid, one in self._attempts.items() if now < one.started + AGAIN}
        attempt = self._attempts.get(pod.uid)
        if attempt is not None:
            return now < attempt.until
        if not self._tries_again and self._uncounted & pod_resources.of_pod(pod.spec).keys():
            return False  # nothing would make the kube-scheduler try it again: see `retries`
        found = await self._plan(pod, list(offered))
        if found is None or pod.uid in self._attempts:
            return False
        node, plan = found
        attempt = self._attempts[pod.uid] = _Attempt(now, now + PATIENCE)
        nominee = Nominee(
            pod.uid,
            api_objects.key(pod.document),
            node,
            pod.priority,
            pod.request,
            pod_resources.of_pod(pod.spec),
        )
        self._waiting.hold(nominee, attempt.until)
        self._served.add(pod.uid)
        self._supervisor.spawn(f"lower limits for {nominee.pod}", self._carry_out(pod, nominee, plan, attempt))
        return True

    async def resume(self) -> None:
        """Wait for the room that another extender began to make. Called once nodes and pods are known.

        Returns once each nomination has been looked at; nodes whose pods can't be read are asked again.
        """
        backoff = Backoff(_PAUSES)
        left = {one.uid for one in self._waiting.all()} if self._tries_again else set()
        while left:
            for nominee in self._waiting.all():
                if nominee.uid in left and await self._take_up(nominee, backoff):
                    left.discard(nominee.uid)
            left &= {one.uid for one in self._waiting.all()}
            if left:
                await backoff.pause()

    async def _take_up(self, nominee: Nominee, backoff: Backoff) -> bool:
        """Wait for the room for a pod, if another extender began to make it; return whether that is known."""
        if nominee.uid in self._served or self._others_leave(nominee):
            return True  # the attempt is this extender's, or over, and the nomination the kube-scheduler's
        try:
            found = await self._api.short_list(objects.PODS, {"fieldSelector": f"spec.nodeName={nominee.node}"})
        except errors.UnigpuError as error:
            if not backoff.failures:
                logs.event(logger, "lowered limits unknown", logging.WARNING, node=nominee.node, reason=error)
            return False
        records = [lowering.record(one["metadata"].get("annotations") or {}) for one in found]
        begun = any(record is not None and record.purpose == nominee.pod for record in records)
        if begun and nominee.uid not in self._served:
            now = self._clock()
            attempt = _Attempt(now, now + PATIENCE)
            self._waiting.hold(nominee, attempt.until)
            self._served.add(nominee.uid)
            self._supervisor.spawn(f"wait for room for {nominee.pod}", self._see_through(nominee, attempt))
        return True

    async def _plan(self, pod: Preemptor, offered: list[str]) -> tuple[str, Plan] | None:
        """Return the node on which lower limits do the least harm, and whose; None if they make room on none."""
        steps = max(MIN_STEPS, MAX_STEPS // max(1, len(offered)))
        end = self._clock() + MAX_SECONDS
        best: tuple[str, Plan] | None = None
        for name in offered:
            if self._clock() > end:
                break
            plan = self._on_node(pod, name, Steps(steps)) if name in self._texts else None
            if plan is not None and plan.lowered and (best is None or plan.cost < best[1].cost):
                best = name, plan
            await asyncio.sleep(0)  # so that bindings don't wait
        return best

    def _on_node(self, pod: Preemptor, name: str, steps: Steps) -> Plan | None:
        node, able = self._able(pod.priority, name)
        if node is None or not able:
            return None
        ahead = self._waiting.ahead_of(pod.uid, pod.priority, name)
        reserved = nominations.reserved(self._ledger, self._rules, name, ahead)
        return shrinks.plan(pod.request, self._rules, nominations.with_reserved(node, reserved), able, steps)

    def _able(self, priority: int, name: str) -> tuple[Node | None, list[Giver]]:
        """Return a node, and the containers on it that can be lowered for a pod of this priority."""
        node = self._ledger.node(name)
        if node is None:
            return None, []
        try:
            found = lowering.load(self._texts[name], (state.gpu for state in node.gpus))
        except errors.Malformed as error:
            logs.event(logger, "node unreadable", logging.WARNING, node=name, reason=error)
            return None, []
        return node, shrinks.givers(found, self._ledger.bookings_on(name), priority)

    async def _carry_out(self, pod: Preemptor, nominee: Nominee, plan: Plan, attempt: _Attempt) -> None:
        """Write the limits pod by pod. Where one can't be written, the next attempt evicts."""
        node = nominee.node
        by_pod: dict[str, dict[str, Amounts]] = {}
        for found, to in plan.lowered:
            by_pod.setdefault(found.pod, {})[found.container] = to
        lowered: dict[str, str] = {}
        purpose = api_objects.key(pod.document)
        backoff = Backoff(_PAUSES)
        while by_pod:
            uid, amounts = next(iter(by_pod.items()))
            booking = self._ledger.booking(uid)
            try:
                if booking is not None and await self._lower(booking.pod, uid, amounts, purpose):
                    lowered[uid] = booking.pod
            except (errors.Unavailable, kube_errors.Conflict) as error:
                if not backoff.failures:
                    logs.event(logger, "limits not lowered yet", pod=purpose, pod_uid=pod.uid, reason=error)
                await backoff.pause()
                if self._clock() < attempt.until and self._ledger.booking(pod.uid) is None:
                    continue
                break
            except (errors.UnigpuError, *documents.INVALID) as error:
                attempt.until = self._clock()
                logs.event(logger, "limits not lowered", logging.WARNING, pod=purpose, pod_uid=pod.uid, reason=error)
                break
            del by_pod[uid]
        logs.event(logger, "limits lowered", pod=purpose, pod_uid=pod.uid, node=node, lowered=list(lowered.values()))
        if lowered:
            await self._tell(pod, node, lowered)
        if self._tries_again:
            await self._see_through(nominee, attempt)
        self._served.discard(pod.uid)

    async def _see_through(self, nominee: Nominee, attempt: _Attempt) -> None:
        """Have the pod tried again once there is room for it, and once nobody is spared for it any longer."""
        backoff = Backoff(_PAUSES)
        waits = await self._written(retries.nominate, nominee, backoff)
        while waits is not False and self._clock() < attempt.until:
            pause = _LOOK
            if self._has_room(nominee):
                waits = await self._written(retries.try_again, nominee, backoff)
                pause = _NEXT_TRY
            if waits is None:
                await backoff.pause()
            else:
                await asyncio.sleep(max(0.0, min(pause, attempt.until - self._clock())))
        while waits is not False and not self._others_leave(nominee):
            # A nomination that stays keeps room from others, and its pod from being tried.
            waits = await self._written(retries.try_again, nominee, backoff)
            if waits is not None:
                break
            await backoff.pause()
        self._served.discard(nominee.uid)

    def _others_leave(self, nominee: Nominee) -> bool:
        """Return whether the kube-scheduler has evicted others from the node, for this pod most likely.

        Without its nomination it would evict more of them. It tries the pod again when they have left.
        """
        return any(
            one.priority < nominee.priority and one.evictee is not None and one.evictee.preempted
            for one in self._ledger.bookings_on(nominee.node).values()
        )

    async def _written(
        self, change: Callable[[Client, Ref, str], Awaitable[bool]], nominee: Nominee, backoff: Backoff
    ) -> bool | None:
        """Return whether the pod still waits; None where the API server didn't take the change."""
        if self._ledger.booking(nominee.uid) is not None:
            return False
        namespace, _, name = nominee.pod.partition("/")
        try:
            waits = await change(self._api, Ref(namespace, name, nominee.uid), nominee.node)
        except errors.UnigpuError as error:
            if not backoff.failures:
                logs.event(
                    logger,
                    "nomination not written",
                    logging.WARNING,
                    pod=nominee.pod,
                    pod_uid=nominee.uid,
                    node=nominee.node,
                    reason=error,
                )
            return None
        backoff.reset()
        return waits

    def _has_room(self, nominee: Nominee) -> bool:
        """Return whether a pod that waits for its node to have room fits it now, by its totals and by its GPUs."""
        name = nominee.node
        node, bookings = self._ledger.node(name), self._ledger.bookings_on(name)
        ahead = self._waiting.ahead_of(nominee.uid, nominee.priority, name)
        more = [one.amounts for one in ahead if one.uid not in bookings]
        lacking = room.lacking(nominee.amounts, self._ledger.totals(name), bookings.values(), more)
        if node is None or any(amount > 0 for amount in lacking.values()):
            return False
        reserved = nominations.reserved(self._ledger, self._rules, name, ahead)
        return placement.reason(nominations.with_reserved(node, reserved), nominee.request, self._rules) is None

    async def _lower(self, title: str, uid: str, to: Mapping[str, Amounts], purpose: str) -> bool:
        """Lower one pod's limits; return False where it is gone or has less already, unless for the same purpose.

        Raises Unavailable, Rejected, Malformed, Denied.
        """
        namespace, _, name = title.partition("/")
        for left in reversed(range(_TRIES)):
            document = await self._api.find(objects.pod(namespace, name))
            if document is None or document["metadata"]["uid"] != uid or api_objects.ended(document):
                return False
            metadata = document["metadata"]
            annotations = metadata.get("annotations") or {}
            requests = api_objects.request(document).containers
            changed = lowering.lower(annotations, requests, to, purpose, int(self._now()))
            if changed is None:
                record = lowering.record(annotations)
                return record is not None and record.purpose == purpose  # by a write whose answer was lost
            try:
                ref = Ref(namespace, name, uid)
                await pods.annotate_by_status(self._api, ref, changed, metadata["resourceVersion"])
            except kube_errors.Conflict:
                if not left:
                    raise
                continue
            return True
        return False

    async def _tell(self, pod: Preemptor, node: str, lowered: Mapping[str, str]) -> None:
        """Write an event about the pod that waits. `lowered`: `namespace/name` by UID."""
        metadata = pod.document["metadata"]
        ref = Ref(metadata.get("namespace", "default"), metadata["name"], pod.uid)
        shown = [f"pod {api_objects.shown_to(ref.namespace, one, uid)}" for uid, one in lowered.items()]
        said = f"limits of {', '.join(shown)} are lowered on node {node}; nobody is evicted"
        event = events.body(
            ref,
            kind=events.Kind.POD,
            name=f"{metadata['name'][:200].rstrip('.-')}.room.{int(self._now() * 1000):x}",
            reason=names.EVENT_MAKING_ROOM,
            message=said,
            component=_COMPONENT,
            severity=events.Severity.NORMAL,
        )
        try:
            await events.create(self._api, event)
        except errors.UnigpuError as error:
            logs.event(
                logger,
                "event not written",
                logging.WARNING,
                pod=api_objects.key(pod.document),
                pod_uid=pod.uid,
                reason=error,
            )
