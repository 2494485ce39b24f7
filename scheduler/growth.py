"""Has the kube-scheduler try the pods again that wait, when a node joins or its totals grow.

The kube-scheduler does so by itself for pods in unigpu's own resources. For one that keeps its vendor's resources it
doesn't: see `scheduler.retries`. Without this, such a pod waits up to five minutes although a node has joined for it.
One pod is nominated to the node and the nomination taken back at once: with it, every pod of no higher priority is
tried again. So the most important one that waits is chosen. Each extender does this, also where another's
kube-scheduler leads: once too often does no harm.

A pod that the API server doesn't let be nominated costs nobody but itself: the next one stands for the others, and that
pod is tried again by itself for as long as that is quicker than the kube-scheduler's own five minutes.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from scheduler import retries
from unigpu import errors, logs
from unigpu.api_objects import NodeFacts, PodFacts
from unigpu_kube import errors as kube_errors
from unigpu_kube.client import Client
from unigpu_kube.objects import Ref

logger = logging.getLogger(__name__)

SETTLE = 1.0
"""Seconds from a node's growth to the attempts: kube-scheduler sees the node by a watch of its own, and nodes that join
together need one round."""
AGAIN = 5.0
"""Seconds after which the API server is asked again that didn't answer, or refused something."""
LONGER = 3
"""How many times longer each next such pause of one pod is."""
TRIES = 5
"""How many times a pod is tried that is refused: the last time after three and a half minutes."""
MOST_REFUSED = 8
"""Pods that are refused one after the other before the next ones have to wait, too: the fault isn't the pods'."""
LONGEST = 60.0
"""Seconds at most from one attempt to take a nomination back to the next: it keeps room from others."""


@dataclass(slots=True)
class _Refused:
    """A pod that the API server doesn't let be nominated. Kept while the pod waits, so that it is logged once."""

    tries: int
    due: float
    """When it is tried again by itself, if it is."""


@dataclass(slots=True)
class _Open:
    """A nomination that may have been written, and not been taken back."""

    pod: Ref
    node: str
    pause: float = 0.0
    due: float = float("-inf")
    """When it is to be taken back."""


class Growth:
    """Follows the totals of all nodes, and which pods wait."""

    def __init__(self, api: Client, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` has seconds."""
        self._api = api
        self._clock = clock
        self._totals: dict[str, Mapping[str, int]] = {}
        self._waiting: dict[str, PodFacts] = {}
        self._node = ""
        """The node that grew last."""
        self._grown = asyncio.Event()
        self._rest = False
        """Whether pods are left that haven't been tried since."""
        self._open: dict[str, _Open] = {}
        self._refused: dict[str, _Refused] = {}

    def nodes_listed(self, nodes: Iterable[NodeFacts]) -> None:
        """Take over all nodes that there are."""
        listed = list(nodes)
        for name in self._totals.keys() - {facts.name for facts in listed}:
            del self._totals[name]
        for facts in listed:
            self.node_changed(facts)

    def node_changed(self, facts: NodeFacts) -> None:
        """Take over a node that is new or has changed."""
        before = self._totals.get(facts.name, {})
        self._totals[facts.name] = facts.totals
        if any(amount > before.get(resource, 0) for resource, amount in facts.totals.items()):
            self._node = facts.name
            self._grown.set()

    def node_gone(self, name: str) -> None:
        """Forget a node."""
        self._totals.pop(name, None)

    def pods_listed(self, pods: Iterable[PodFacts]) -> None:
        """Take over all pods that there are."""
        self._waiting.clear()
        for facts in pods:
            self.pod_changed(facts)

    def pod_changed(self, facts: PodFacts) -> None:
        """Take over a pod that is new or has changed. One for which others leave waits for that."""
        if facts.node or facts.ended or facts.nominated:
            self._waiting.pop(facts.uid, None)
        else:
            self._waiting[facts.uid] = facts

    def pod_gone(self, uid: str) -> None:
        """Forget a pod."""
        self._waiting.pop(uid, None)

    async def run(self, *known: asyncio.Event) -> None:
        """Have pods tried again whenever nodes have grown. Never returns. `known`: set once nodes and pods are."""
        for event in known:
            await event.wait()
        while True:
            grown = await self._wait()
            if grown:
                await asyncio.sleep(SETTLE)
                self._grown.clear()
            try:
                await self._end_nominations()
                self._rest = not await self._try_again(self._node, grown=grown)
                away = self._rest
            except errors.UnigpuError as error:
                logs.event(logger, "pods not tried again", logging.WARNING, node=self._node, reason=error)
                if grown:
                    self._grown.set()
                away = True
            if away:
                await asyncio.sleep(AGAIN)

    async def _wait(self) -> bool:
        """Wait until a node has grown, or there is something to be done again; return whether a node has grown."""
        dues = [one.due for one in self._open.values()]
        dues += [one.due for one in self._refused.values() if one.tries < TRIES]
        now = self._clock()
        if not self._rest and not any(due <= now for due in dues):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(dues) - now if dues else None):
                    await self._grown.wait()
        return self._grown.is_set()

    async def _try_again(self, node: str, *, grown: bool) -> bool:
        """Have one pod stand for all, and those tried that it doesn't stand for. Return False where some are left.

        Raises Unavailable where the API server doesn't answer.
        """
        for uid in self._refused.keys() - self._waiting.keys() - self._open.keys():
            del self._refused[uid]
        in_a_row = 0
        for facts in self._candidates(grown=grown):
            tried = await self._try_one(facts, node)
            if tried:
                logs.event(logger, "pods tried again", node=node, pod=facts.key, pod_uid=facts.uid)
                self._stand_for_others(facts)
                return True
            in_a_row = in_a_row + 1 if tried is None else 0
            if in_a_row >= MOST_REFUSED:
                return False
        return True

    def _candidates(self, *, grown: bool) -> list[PodFacts]:
        """Return the pods that are tried until one isn't refused, the most important first, and refused ones last."""
        now, refused = self._clock(), self._refused

        def is_tried(uid: str) -> bool:
            one = refused.get(uid)
            if one is None:
                return grown or self._rest
            return grown if one.tries >= TRIES else one.due <= now

        found = [facts for uid, facts in self._waiting.items() if uid not in self._open and is_tried(uid)]
        return sorted(found, key=lambda facts: (facts.uid in refused, -facts.priority, facts.uid))

    def _stand_for_others(self, facts: PodFacts) -> None:
        """Note that all pods of no higher priority are tried with this one."""
        self._refused.pop(facts.uid, None)
        for uid, one in self._refused.items():
            other = self._waiting.get(uid)
            if other is None or other.priority <= facts.priority:
                one.tries = TRIES

    async def _try_one(self, facts: PodFacts, node: str) -> bool | None:
        """Return whether the pod is tried again; None where the API server refuses it. Raises Unavailable."""
        namespace, _, name = facts.key.partition("/")
        pod = Ref(namespace, name, facts.uid)
        begun = self._open[facts.uid] = _Open(pod, node)
        try:
            tried = await retries.try_now(self._api, pod, node)
        except (kube_errors.Rejected, kube_errors.ServerError) as error:
            former = self._refused.get(facts.uid)
            tries = 1 if former is None else former.tries + 1
            due = self._clock() + AGAIN * LONGER ** (min(tries, TRIES) - 1)
            self._refused[facts.uid] = _Refused(tries, due)
            begun.due = self._clock() + AGAIN
            if former is None:
                _log("pod not tried again", pod, node, error)
            return None
        del self._open[facts.uid]
        return tried

    async def _end_nominations(self) -> None:
        """Take back what may have been written. Raises Unavailable where the API server doesn't answer."""
        now = self._clock()
        for uid, one in list(self._open.items()):
            if one.due > now:
                continue
            try:
                await retries.take_back(self._api, one.pod, one.node)
            except (kube_errors.Rejected, kube_errors.ServerError) as error:
                if not one.pause:
                    _log("nomination not taken back yet", one.pod, one.node, error)
                one.pause = min(LONGEST, LONGER * one.pause or AGAIN)
                one.due = self._clock() + one.pause
                continue
            del self._open[uid]


def _log(what: str, pod: Ref, node: str, error: errors.UnigpuError) -> None:
    logs.event(logger, what, logging.WARNING, pod=pod.title, pod_uid=pod.uid, node=node, reason=error)
