"""Whether the books of a node may be relied on, after a time in which another replica may have bound pods.

Only the leading kube-scheduler's extender is asked anything. Who has not been asked for a while may have lost the lead
and got it back, and its watch may lag behind what the other one wrote. So the first binding to a node after such a time
reads the node's pods from the API server; that is one small request, shared by all that wait for it.

The same is done for a pod that was promised a node by preemption and finds no room there: its victims may be gone for
the kube-scheduler and not yet for us, and a refusal would cost others their life.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from scheduler import objects
from scheduler.cluster import Cluster

IDLE = 5.0
"""Seconds without a question after which another replica may have led; a lease takes longer than that to change hands
unless it is given back, and then its former holder ends."""

Read = Callable[[str], Awaitable[Sequence[objects.Json]]]


class Freshness:
    """Which nodes have been read since the last pause."""

    def __init__(self, read: Read, cluster: Cluster, clock: Callable[[], float]) -> None:
        self._read = read
        self._cluster = cluster
        self._clock = clock
        self._asked = float("-inf")
        self._fresh: dict[str, asyncio.Future[None]] = {}

    def asked(self) -> None:
        """The kube-scheduler asks something, whatever it is."""
        now = self._clock()
        if now - self._asked > IDLE:
            self._fresh = {}
        self._asked = now

    async def of(self, node: str) -> None:
        """Wait until the node's books show what was true at some time after the last pause.

        Raises Unavailable, Rejected.
        """
        known = self._fresh.get(node)
        if known is None:
            known = self._fresh[node] = asyncio.ensure_future(self._renew(node))
            known.add_done_callback(lambda done: self._done(node, done))
        await asyncio.shield(known)

    async def now(self, node: str) -> None:
        """Wait until the node's books show what is true now.

        Raises Unavailable, Rejected.
        """
        await self._renew(node)

    async def _renew(self, node: str) -> None:
        before = self._cluster.books.confirmed_on(node)
        documents = await self._read(node)
        self._cluster.node_read(before, map(objects.pod, documents))

    def _done(self, node: str, done: asyncio.Future[None]) -> None:
        if (done.cancelled() or done.exception() is not None) and self._fresh.get(node) is done:
            del self._fresh[node]
