"""Tells by an event on the pod what would help where the nodes' totals have room for it, and no single GPU has.

The kube-scheduler then finds no victims, and its own event says only what each node lacks. The reasons are looked for
some seconds after the answer to filter, in small pieces, so that no answer waits for them. By then the pod may have
been placed, or another pod may be leaving for it.

Only the extender that is asked says something: the one next to the leading kube-scheduler. An event has the same name
for the same pod and text, so two extenders, or one that has started again, write one event.
"""

import asyncio
import contextlib
import hashlib
import logging
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scheduler import fit_cache, no_room_words
from scheduler.fit_cache import FitCache
from scheduler.nominations import Nominations
from scheduler.shrinking import Shrinking
from unigpu import api_objects, logs, names, placement, remedies, survey
from unigpu.api_objects import NodeFacts, PodFacts
from unigpu.fit import Node
from unigpu.ledger import Booking, CapacityLedger
from unigpu.placement import Rules
from unigpu.requests import PodRequest
from unigpu.survey import Candidate, Survey
from unigpu_kube import events
from unigpu_kube.client import Client
from unigpu_kube.objects import Ref

logger = logging.getLogger(__name__)

DELAY = 10.0
"""Seconds from the answer of filter until the reasons are looked for: a lack that ends before then needs no event."""
PACE = 2.0
"""Seconds from one event to the next, whichever pods they are about."""
SPARING = 20
"""How many times as long as the search for reasons took nothing else is searched for."""
FRESH = 10.0
"""Seconds for which what was found holds for other pods that ask for the same."""
AGAIN = 600.0
"""Seconds until a pod may get another event, if its reasons are different by then."""
GROWTH = 4
"""How many times longer each next such pause is: a pod that waits for a week gets six events at most."""
MOST_WAITING = 64
"""Pods that wait for an event. Others have to wait until the kube-scheduler tries them again."""
MOST_KNOWN = 10_000
"""Pods of which it is remembered what was said."""
_PIECE = 100
"""Nodes that are looked over before others may work."""


@dataclass(slots=True)
class _Waiting:
    """A pod that no node took."""

    ref: Ref
    request: PodRequest
    priority: int
    choosy: bool
    """Whether it chooses nodes by their labels."""
    nodes: Sequence[str]
    """Those that have enough in total, and that the kube-scheduler has nothing against."""
    due: float
    shared: bool = False
    """Whether the names of the nodes are in order, and the same objects as those of other pods: 5,000 take 300 kB."""

    def share(self) -> None:
        """Let go of names that other pods have too."""
        self.nodes, self.shared = tuple(sorted(map(sys.intern, self.nodes))), True

    @property
    def question(self) -> object:
        """Equal where pods get the same answer."""
        return self.ref.namespace, self.priority, self.choosy, fit_cache.shape_of(self.request), self.nodes


@dataclass(slots=True)
class _Told:
    """What was said about a pod."""

    text: str
    """Its digest."""
    again: float
    """When there may be another event."""
    pause: float


class NoRoomEvents:
    """Writes the events, one pod after the other."""

    def __init__(
        self,
        api: Client,
        ledger: CapacityLedger,
        fits: FitCache,
        rules: Rules,
        nominations: Nominations,
        shrinking: Shrinking | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` has seconds. `shrinking` None: no limits are lowered to make room."""
        self._api = api
        self._ledger = ledger
        self._fits = fits
        self._rules = rules
        self._nominations = nominations
        self._shrinking = shrinking
        self._clock = clock
        self._closed: dict[str, str] = {}
        """Nodes that take no new pods, with their condition."""
        self._waiting: dict[str, _Waiting] = {}
        self._known: OrderedDict[str, _Told] = OrderedDict()
        self._earliest = float("-inf")
        self._spent = 0.0
        """Seconds that the last search for reasons took."""
        self._latest: tuple[object, str, float] | None = None
        """The last question, its answer, and until when that holds."""
        self._wake = asyncio.Event()

    def nodes_listed(self, nodes: Iterable[NodeFacts]) -> None:
        """Take over the conditions of all nodes."""
        self._closed.clear()
        self._latest = None
        for facts in nodes:
            self.node_changed(facts)

    def node_changed(self, facts: NodeFacts) -> None:
        """Take over a node's condition."""
        closed = facts.condition if facts.gpus and facts.condition != api_objects.READY else ""
        if closed == self._closed.get(facts.name, ""):
            return
        self._latest = None
        if closed:
            self._closed[facts.name] = closed
        else:
            del self._closed[facts.name]

    def node_gone(self, name: str) -> None:
        """Forget a node."""
        self._closed.pop(name, None)

    def pods_listed(self, pods: Iterable[PodFacts]) -> None:
        """Forget all pods but those that still wait for a node, and those that were just noted."""
        pending = {facts.uid for facts in pods if not facts.node and not facts.ended}
        for uid in self._known.keys() - pending:
            del self._known[uid]

    def pod_changed(self, facts: PodFacts) -> None:
        """Forget a pod that has got a node, or has ended."""
        if facts.node or facts.ended:
            self.pod_gone(facts.uid)

    def pod_gone(self, uid: str) -> None:
        """Forget a pod."""
        self._waiting.pop(uid, None)
        self._known.pop(uid, None)

    def note(self, pod: Mapping[str, Any], request: PodRequest, nodes: Sequence[str]) -> None:
        """Note that none of these nodes takes the pod. Takes microseconds."""
        metadata = pod["metadata"]
        uid = metadata["uid"]
        now = self._clock()
        told = self._known.get(uid)
        noted = self._waiting.get(uid)
        if noted is not None and nodes:  # one that is nominated is tried on that node alone first
            noted.request, noted.nodes, noted.shared = request, nodes, False
            self._wake.set()  # so that names are shared
        if not nodes or noted is not None or len(self._waiting) >= MOST_WAITING:
            return
        if told is not None and now < told.again:
            return
        ref = Ref(metadata.get("namespace", "default"), metadata["name"], uid)
        choosy = _choosy(pod["spec"])
        self._waiting[uid] = _Waiting(ref, request, api_objects.priority(pod), choosy, nodes, now + DELAY)
        self._wake.set()

    async def run(self) -> None:
        """Write events as they are due. Never returns."""
        while True:
            one = next(iter(self._waiting.values()), None)
            now = self._clock()
            due = None if one is None else max(one.due, self._earliest)
            if one is None or due is None or due > now:
                await self._wait(None if due is None else due - now)
                continue
            pause = 0.0
            try:
                pause = PACE if await self._tell(one) else 0.0
            except Exception as error:  # nothing here may keep pods from being placed
                pause = PACE
                title, uid = one.ref.title, one.ref.uid
                logs.event(logger, "event not written", logging.WARNING, pod=title, pod_uid=uid, reason=repr(error))
            self._earliest = self._clock() + max(pause, SPARING * self._spent)
            self._waiting.pop(one.ref.uid, None)

    async def _wait(self, seconds: float | None) -> None:
        """Wait so long, or until another pod is noted."""
        for one in tuple(self._waiting.values()):
            if not one.shared:
                one.share()
                await asyncio.sleep(0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()

    async def _tell(self, one: _Waiting) -> bool:
        """Write the event; return whether the API server was asked for anything. Raises Unavailable, Rejected."""
        uid = one.ref.uid
        self._spent = 0.0
        one.share()
        if self._settled(one):
            return False
        text = await self._answer(one)
        if not text or self._settled(one) or uid not in self._waiting:
            return False
        digest = hashlib.sha256(f"{uid}\0{text}".encode()).hexdigest()[:16]
        told = self._known.get(uid)
        pause = AGAIN if told is None else told.pause * GROWTH
        new = told is None or told.text != digest
        if new:
            event = events.body(
                one.ref,
                kind=events.Kind.POD,
                name=f"{one.ref.name[:200].rstrip('.-')}.{digest}",
                reason=names.EVENT_NO_ROOM,
                message=text,
                component="unigpu-scheduler",
            )
            await events.create(self._api, event)
        if uid not in self._waiting:  # it has gone since
            return new
        self._known[uid] = _Told(digest, self._clock() + pause, pause)
        self._known.move_to_end(uid)
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return new

    def _settled(self, one: _Waiting) -> bool:
        """Return whether the pod has its GPUs, or others make room for it, or a node takes it by now."""
        uid = one.ref.uid
        if self._ledger.booking(uid) is not None or self._nominations.awaits(uid):
            return True
        return bool(self._fits.of(one.request, one.nodes).fitting)

    async def _answer(self, one: _Waiting) -> str:
        """Return what is to be said; empty: nothing, because none of the nodes is known or one takes it by now."""
        question, started = one.question, self._clock()
        if self._latest is not None and self._latest[0] == question and started < self._latest[2]:
            return self._latest[1]
        text = await self._text(one)
        now = self._clock()
        self._spent = now - started
        self._latest = question, text, now + FRESH
        return text

    async def _text(self, one: _Waiting) -> str:
        seen = Survey(one.request)
        for number, name in enumerate(one.nodes):
            node = self._ledger.node(name)
            if node is not None:
                seen.add(node)
            if number % _PIECE == _PIECE - 1:
                await asyncio.sleep(0)
        closest = seen.closest()
        reason = placement.reason(closest[0], one.request, self._rules) if closest else None
        if reason is None:
            return ""
        helps = []
        candidates = [*(self._candidate(one, node) for node in closest), *self._closed_ones(one)]
        for said in remedies.tried(candidates, one.request, self._rules):
            if said == remedies.PAUSE:
                await asyncio.sleep(0)
            else:
                helps.append(said)
        largest = seen.largest
        if any(request.memory > largest for request in one.request.containers.values()):
            largest = max(largest, await self._largest())
        return no_room_words.message(one.request, seen, closest[0].name, reason.text, largest, helps)

    def _candidate(self, one: _Waiting, node: Node) -> Candidate:
        """Return a node that doesn't take the pod. Proposed are pods that give way to it, or belong to its people."""

        def may_leave(booking: Booking) -> bool:
            return booking.priority < one.priority or booking.pod.startswith(f"{one.ref.namespace}/")

        def lowered() -> Sequence[str]:
            if self._shrinking is None:
                return ()
            return self._shrinking.could_lower(one.request, one.priority, node.name, shown)

        def shown(pod: str, uid: str) -> str:
            return api_objects.shown_to(one.ref.namespace, pod, uid)

        return survey.candidate(self._ledger, node, may_leave, lowered=lowered, shown=shown)

    def _closed_ones(self, one: _Waiting) -> list[Candidate]:
        """Return nodes that would take the pod if they took any. Labels of nodes aren't known here."""
        if one.choosy or not self._closed:
            return []
        found = []
        for name in self._fits.of(one.request, list(self._closed)).fitting:
            node = self._ledger.node(name)
            if node is not None:
                found.append(Candidate(node, True, self._closed[name]))
        return found

    async def _largest(self) -> int:
        """Return what the largest GPU of the cluster has, in MiB."""
        largest = 0
        for number, name in enumerate(list(self._ledger.nodes())):
            node = self._ledger.node(name)
            if node is not None:
                largest = max(largest, max((state.gpu.memory for state in node.gpus), default=0))
            if number % _PIECE == _PIECE - 1:
                await asyncio.sleep(0)
        return largest


def _choosy(spec: Mapping[str, Any]) -> bool:
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    return bool(spec.get("nodeSelector") or affinity.get("requiredDuringSchedulingIgnoredDuringExecution"))
