"""Has the kube-scheduler try the pods again that wait, when a node joins or its totals grow.

The kube-scheduler does so by itself for pods in unigpu's own resources. For one that keeps its vendor's resources it
doesn't: see `scheduler.retries`. Without this, such a pod waits up to five minutes although a node has joined for it.
One pod is nominated to the node and the nomination taken back at once: with it, every pod of no higher priority is
tried again. So the most important one that waits is chosen. Each extender does this, also where another's
kube-scheduler leads: once too often does no harm.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping

from scheduler import retries
from unigpu import errors, logs
from unigpu.api_objects import NodeFacts, PodFacts
from unigpu_kube.client import Client
from unigpu_kube.objects import Ref

logger = logging.getLogger(__name__)

SETTLE = 1.0
"""Seconds from a node's growth to the attempts: kube-scheduler sees the node by a watch of its own, and nodes that join
together need one round."""
AGAIN = 5.0
"""Seconds after which the API server is asked again that didn't answer."""


class Growth:
    """Follows the totals of all nodes, and which pods wait."""

    def __init__(self, api: Client) -> None:
        self._api = api
        self._totals: dict[str, Mapping[str, int]] = {}
        self._waiting: dict[str, PodFacts] = {}
        self._node = ""
        """The node that grew last."""
        self._grown = asyncio.Event()
        self._open: tuple[Ref, str] | None = None
        """A nomination that may have been written, and not been taken back."""

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
            await self._grown.wait()
            await asyncio.sleep(SETTLE)
            self._grown.clear()
            try:
                await self._try_again(self._node)
            except errors.UnigpuError as error:
                logs.event(logger, "pods not tried again", logging.WARNING, node=self._node, reason=error)
                await asyncio.sleep(AGAIN)
                self._grown.set()

    async def _try_again(self, node: str) -> None:
        """Raises Unavailable, Rejected, Conflict."""
        if self._open is not None:
            await retries.take_back(self._api, *self._open)
            self._open = None
        for facts in sorted(self._waiting.values(), key=lambda facts: (-facts.priority, facts.uid)):
            namespace, _, name = facts.key.partition("/")
            pod = Ref(namespace, name, facts.uid)
            self._open = pod, node
            tried = await retries.try_now(self._api, pod, node)
            self._open = None
            if tried:
                logs.event(logger, "pods tried again", node=node, pod=facts.key, pod_uid=facts.uid)
                return
