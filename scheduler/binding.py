"""Binding: choose the GPUs, count them as taken, write binding and allocation in one step, and find out how it ended.

Between looking and counting nothing waits, so no two bindings can get the same share, and they are written side by
side. Where no answer says how a binding ended, its share stays taken and the same binding is sent again: either it is
accepted, or the refusal and the pod itself tell what became of the first.
"""

import asyncio
import itertools
import logging
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from scheduler import freshness, kube, objects, reflector, wire
from scheduler.cluster import Cluster
from unigpu import allocations, errors, logs, placement
from unigpu.allocations import Allocation
from unigpu.ledger import Booking
from unigpu.placement import Rules
from unigpu.requests import PodRequest

logger = logging.getLogger(__name__)

MOST_REMEMBERED = 10_000
"""Pods whose request is remembered from filter to bind; an older one is read from the API server."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One binding: what is written, and what is booked for it meanwhile."""

    namespace: str
    name: str
    uid: str
    allocation: Allocation
    booking: Booking


class Binder:
    """Writes bindings, one for a pod at a time."""

    def __init__(
        self,
        api: kube.Kube,
        cluster: Cluster,
        rules: Rules,
        fresh: freshness.Freshness,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._api = api
        self._cluster = cluster
        self._rules = rules
        self._fresh = fresh
        self._tasks = tasks
        self._requests: OrderedDict[str, PodRequest] = OrderedDict()
        self._open: dict[str, str] = {}

    def remember(self, uid: str, request: PodRequest) -> None:
        """The pod's request as filter saw it."""
        self._requests[uid] = request
        self._requests.move_to_end(uid)
        if len(self._requests) > MOST_REMEMBERED:
            self._requests.popitem(last=False)

    def check_settled(self, uid: str) -> None:
        """Raises Unavailable while a binding of the pod is under way and nobody knows yet how it ends."""
        node = self._open.get(uid)
        if node is not None:
            raise errors.Unavailable(f"it isn't known yet how an earlier binding of the pod to node {node} ended")

    async def bind(self, args: wire.BindingArgs) -> Allocation | None:
        """Bind the pod to the node. None: it was bound there already.

        Raises Unschedulable, Denied, Malformed, Rejected, Unavailable; then the pod isn't bound, or it isn't known.
        """
        uid, node = args["PodUID"], args["Node"]
        self.check_settled(uid)
        booked = self._cluster.books.booking(uid)
        if booked is not None:
            if booked.node == node:
                return None
            raise errors.Denied(f"pod is bound to node {booked.node} already")
        self._open[uid] = node
        settled = True
        try:
            request = await self._request(args)
            await self._fresh.of(node)
            attempt = self._assume(args, request)
            try:
                await self._write(attempt)
            except errors.Unavailable:
                settled = False
                self._tasks.create_task(self._settle(attempt), name=f"settle {attempt.booking.pod}")
                raise
            return attempt.allocation
        finally:
            if settled:
                del self._open[uid]

    def recheck(self, uids: Iterable[str]) -> None:
        """These are assumed to be bound, and a list doesn't show them: ask for each."""
        for uid in uids:
            booking = self._cluster.books.booking(uid)
            if booking is not None and uid not in self._open:
                self._tasks.create_task(self._recheck(uid, booking), name=f"recheck {booking.pod}")

    async def _request(self, args: wire.BindingArgs) -> PodRequest:
        request = self._requests.pop(args["PodUID"], None)
        if request is not None:
            return request
        document = await self._api.pod(args["PodNamespace"], args["PodName"])
        if document is None or document["metadata"]["uid"] != args["PodUID"]:
            raise errors.Denied(f"there is no pod {args['PodNamespace']}/{args['PodName']} with UID {args['PodUID']}")
        return objects.request(document)

    def _assume(self, args: wire.BindingArgs, request: PodRequest) -> _Attempt:
        """Choose and count, in one go."""
        node = self._cluster.books.node(args["Node"])
        if node is None:
            raise placement.Unschedulable(placement.NO_GPUS)
        allocation = placement.place(node, request, self._rules)
        pod = f"{args['PodNamespace']}/{args['PodName']}"
        booking = self._cluster.assume(args["PodUID"], pod, request, allocation)
        return _Attempt(args["PodNamespace"], args["PodName"], args["PodUID"], allocation, booking)

    async def _write(self, attempt: _Attempt) -> None:
        """Write it, or find it written. Raises Rejected: it isn't and won't be; Unavailable: not known."""
        text = allocations.dump(attempt.allocation)
        try:
            await self._api.bind(attempt.namespace, attempt.name, attempt.uid, attempt.allocation.node, text)
        except kube.Rejected as refusal:
            # Refused for what the pod is now: bound by an earlier sending, perhaps, whose answer was lost.
            try:
                document = await self._api.pod(attempt.namespace, attempt.name)
            except kube.Rejected as error:
                raise errors.Unavailable(f"binding refused ({refusal}), and the pod can't be read: {error}") from error
            if not self._learn(attempt.uid, attempt.booking, document):
                raise

    def _learn(self, uid: str, booking: Booking, document: kube.Json | None) -> bool:
        """Take over what the API server shows of a pod. Returns whether it is bound to the node of `booking`."""
        if document is None or document["metadata"]["uid"] != uid:
            self._cluster.withdraw(uid, booking)
            return False
        facts = objects.pod(document)
        if not facts.node:
            self._cluster.withdraw(uid, booking)
            return False
        self._cluster.pod_changed(facts)
        return facts.node == booking.node

    async def _settle(self, attempt: _Attempt) -> None:
        """Find out how a binding ended whose answer was lost."""
        try:
            for number in itertools.count():
                await asyncio.sleep(reflector.PAUSES[min(number, len(reflector.PAUSES) - 1)])
                if self._cluster.books.booking(attempt.uid) is not attempt.booking:
                    break
                try:
                    await self._write(attempt)
                except errors.Unavailable:
                    continue
                except kube.Rejected as error:
                    logs.event(logger, "binding refused", pod=attempt.booking.pod, reason=error)
                break
        finally:
            del self._open[attempt.uid]
        bound = self._cluster.books.booking(attempt.uid) is not None
        logs.event(logger, "settled", pod=attempt.booking.pod, node=attempt.allocation.node, bound=bound)

    async def _recheck(self, uid: str, booking: Booking) -> None:
        namespace, _, name = booking.pod.partition("/")
        for number in itertools.count():
            if self._cluster.books.booking(uid) is not booking:
                return
            try:
                document = await self._api.pod(namespace, name)
            except (errors.Unavailable, kube.Rejected):
                await asyncio.sleep(reflector.PAUSES[min(number, len(reflector.PAUSES) - 1)])
                continue
            self._learn(uid, booking, document)
            return
