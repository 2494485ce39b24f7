"""Choose the GPUs, count them as taken, write binding and allocation in one step, and find out how it ended.

Nothing waits between the choice and the count, so no two bindings can get the same share, and they are written
concurrently. Where no answer says how a binding ended, its share stays taken and the same binding is sent again until
it is accepted, or the pod shows what became of the first. Where another replica may lead by then, only the pod itself
is read: the share may have been given to another pod. Once the kube-scheduler asks again, the node is read, and the
binding is sent again if its share is still free.

A pod that isn't bound doesn't show that it won't be: the API server may carry out a sending that it never answered. So
the share stays taken until the pod is bound, gone or being deleted, which no sending outlives, or until `LATE`.
"""

import logging
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from scheduler import staleness_guard, wire
from scheduler.cache import ClusterCache
from unigpu import allocations, api_objects, errors, fit, logs, names, placement
from unigpu.allocations import Allocation
from unigpu.ledger import Booking
from unigpu.placement import Rules
from unigpu.requests import PodRequest
from unigpu_kube import objects, pods
from unigpu_kube.backoff import Backoff
from unigpu_kube.client import Client, Json
from unigpu_kube.errors import Rejected
from unigpu_kube.objects import Ref
from unigpu_service.runtime import Supervisor

logger = logging.getLogger(__name__)

MOST_REMEMBERED = 10_000
"""Pods whose request is remembered from filter to bind; an older one is read from the API server."""
LATE = 180.0
"""Seconds after which a binding that the API server didn't answer isn't carried out any longer. It ends a request after
60 seconds (`--request-timeout`) and waits seconds for etcd; Linux sends what is left of a closed connection for up to
100 seconds more."""


@dataclass(slots=True)
class _Attempt:
    """One binding: what is written, and what is booked for it until its outcome is known."""

    pod: Ref
    allocation: Allocation
    booking: Booking
    chosen: float
    """When, by the guard's clock, or when it was last known that the share is still free."""
    unanswered: float = float("-inf")
    """When a sending last ended without an answer, by the guard's clock."""


class Binder:
    """Writes bindings, one for a pod at a time."""

    def __init__(
        self,
        api: Client,
        cache: ClusterCache,
        rules: Rules,
        guard: staleness_guard.StalenessGuard,
        supervisor: Supervisor,
    ) -> None:
        self._api = api
        self._cache = cache
        self._rules = rules
        self._guard = guard
        self._supervisor = supervisor
        self._requests: OrderedDict[str, PodRequest] = OrderedDict()
        self._open: dict[str, str] = {}

    def remember(self, uid: str, request: PodRequest) -> None:
        """Keep the pod's request as filter saw it."""
        self._requests[uid] = request
        self._requests.move_to_end(uid)
        if len(self._requests) > MOST_REMEMBERED:
            self._requests.popitem(last=False)

    def check_settled(self, uid: str) -> None:
        """Raise Unavailable while a binding of the pod is under way whose outcome isn't known yet."""
        node = self._open.get(uid)
        if node is not None:
            raise errors.Unavailable(f"it isn't known yet how an earlier binding of the pod to node {node} ended")

    async def bind(self, args: wire.BindingArgs) -> Allocation | None:
        """Bind the pod to the node and return its allocation; None where it was bound there already.

        Raises Unschedulable, Denied, Malformed, Rejected: the pod isn't bound; Unavailable: its outcome may be unknown.
        """
        uid, node = args["PodUID"], args["Node"]
        self.check_settled(uid)
        booked = self._cache.ledger.booking(uid)
        if booked is not None:
            if booked.node == node:
                return None
            raise errors.Denied(f"pod is bound to node {booked.node} already")
        self._open[uid] = node
        settled = True
        try:
            request = await self._request(args)
            await self._guard.ensure_fresh(node)
            if self._guard.time_left() <= 0:
                raise errors.Unavailable("the API server took too long to answer: another replica may lead by now")
            attempt = self._assume(args, request)
            try:
                await self._write(attempt)
            except errors.Unavailable:
                settled = False
                self._supervisor.spawn(f"settle {attempt.booking.pod}", self._settle(attempt))
                raise
            return attempt.allocation
        finally:
            if settled:
                del self._open[uid]

    def recheck(self, uids: Iterable[str]) -> None:
        """Ask for each of these pods: they are assumed to be bound, and a list doesn't show them."""
        for uid in uids:
            booking = self._cache.ledger.booking(uid)
            if booking is not None and uid not in self._open:
                self._supervisor.spawn(f"recheck {booking.pod}", self._recheck(uid, booking))

    async def _request(self, args: wire.BindingArgs) -> PodRequest:
        request = self._requests.pop(args["PodUID"], None)
        if request is not None:
            return request
        document = await self._api.find(objects.pod(args["PodNamespace"], args["PodName"]))
        if document is None or document["metadata"]["uid"] != args["PodUID"]:
            raise errors.Denied(f"there is no pod {args['PodNamespace']}/{args['PodName']} with UID {args['PodUID']}")
        return api_objects.request(document)

    def _assume(self, args: wire.BindingArgs, request: PodRequest) -> _Attempt:
        """Choose and count, with nothing in between."""
        node = self._cache.ledger.node(args["Node"])
        if node is None:
            raise placement.Unschedulable(placement.NO_GPUS)
        allocation = placement.place(node, request, self._rules)
        pod = f"{args['PodNamespace']}/{args['PodName']}"
        booking = self._cache.assume(args["PodUID"], pod, request, allocation)
        return _Attempt(
            Ref(args["PodNamespace"], args["PodName"], args["PodUID"]), allocation, booking, self._guard.now()
        )

    async def _write(self, attempt: _Attempt) -> None:
        """Write it, or find it written. Raises Rejected: it isn't and won't be; Unavailable: not known.

        Sending ends before another replica can lead, which would not see in the pods of a node what arrives later: an
        API server that starts lets a request wait for seconds.
        """
        within = min(self._api.deadline, self._guard.time_left())
        if within <= 0:
            raise errors.Unavailable("another replica may lead before the binding has arrived")
        written = {names.ANNOTATION_ALLOCATION: allocations.dump(attempt.allocation)}
        try:
            await pods.bind(self._api, attempt.pod, attempt.allocation.node, written, within=within)
        except errors.Unavailable:
            attempt.unanswered = self._guard.now()
            raise
        except Rejected:
            # Refused for what the pod is now: bound by an earlier sending, perhaps, whose answer was lost.
            if not await self._look(attempt):
                raise

    async def _look(self, attempt: _Attempt) -> bool:
        """Return whether it is written. Raises Unavailable: not known, or it may be written later."""
        try:
            document = await self._api.find(objects.pod(attempt.pod.namespace, attempt.pod.name))
        except Rejected as error:
            raise errors.Unavailable(f"the pod can't be read: {error}") from error
        if _takes_a_node(attempt.pod.uid, document) and self._guard.now() - attempt.unanswered <= LATE:
            raise errors.Unavailable("the pod isn't bound yet, and an earlier sending may bind it")
        return self._learn(attempt.pod.uid, attempt.booking, document)

    def _learn(self, uid: str, booking: Booking, document: Json | None) -> bool:
        """Take over what the API server shows of a pod. Returns whether it is bound to the node of `booking`."""
        if document is None or document["metadata"]["uid"] != uid:
            self._cache.withdraw(uid, booking)
            return False
        facts = api_objects.pod(document)
        if not facts.node:
            self._cache.withdraw(uid, booking)
            return False
        self._cache.pod_changed(facts)
        return facts.node == booking.node

    async def _settle(self, attempt: _Attempt) -> None:
        """Find out how a binding ended whose answer was lost."""
        backoff = Backoff()
        try:
            while True:
                await backoff.pause()
                if self._cache.ledger.booking(attempt.pod.uid) is not attempt.booking:
                    break
                try:
                    if await self._share_is_kept(attempt):
                        await self._write(attempt)
                    else:
                        await self._look(attempt)
                except errors.Unavailable:
                    continue
                except Rejected as error:
                    logs.event(logger, "binding refused", pod=attempt.pod.title, pod_uid=attempt.pod.uid, reason=error)
                break
        finally:
            del self._open[attempt.pod.uid]
        bound = self._cache.ledger.booking(attempt.pod.uid) is not None
        logs.event(
            logger,
            "settled",
            pod=attempt.pod.title,
            pod_uid=attempt.pod.uid,
            node=attempt.allocation.node,
            bound=bound,
        )

    async def _share_is_kept(self, attempt: _Attempt) -> bool:
        """Return whether no other pod can have got the share, so that the binding may be sent again.

        Raises Unavailable: not known.
        """
        if self._guard.uninterrupted(attempt.chosen):
            return True
        asked = self._guard.now()
        if not self._guard.uninterrupted(asked):
            return False
        node, uid = attempt.allocation.node, attempt.pod.uid
        try:
            await self._guard.ensure_fresh(node)
        except Rejected as error:
            raise errors.Unavailable(f"the pods of node {node} can't be read: {error}") from error
        if not self._guard.uninterrupted(asked) or self._cache.ledger.booking(uid) is not attempt.booking:
            return False
        others = self._cache.ledger.without(node, {uid})
        if others is None or not fit.has_room(others, attempt.booking.uses, self._rules.shares_per_gpu):
            return False
        attempt.chosen = asked
        return True

    async def _recheck(self, uid: str, booking: Booking) -> None:
        namespace, _, name = booking.pod.partition("/")
        backoff = Backoff()
        while True:
            if self._cache.ledger.booking(uid) is not booking:
                return
            try:
                document = await self._api.find(objects.pod(namespace, name))
            except (errors.Unavailable, Rejected):
                await backoff.pause()
                continue
            self._learn(uid, booking, document)
            return


def _takes_a_node(uid: str, document: Json | None) -> bool:
    """Return whether the API server would still bind the pod of that UID."""
    if document is None or document["metadata"]["uid"] != uid or document["metadata"].get("deletionTimestamp"):
        return False
    return not document["spec"].get("nodeName") and not api_objects.ended(document)
