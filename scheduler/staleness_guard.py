"""Keeps the ledger of a node from being relied on after a time in which another replica may have bound pods.

Only the extender next to the leading kube-scheduler gets requests. An extender without requests for a while may have
lost the lead and got it back, and its watch may lag behind what the other replica wrote. So the first binding to a node
after such a time reads the node's pods from the API server: one small request, shared by all that wait for it.

The same is done for a pod that preemption nominated to a node where it finds no room: its victims may be gone for the
kube-scheduler and not yet for the extender, and a refusal would evict others.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from scheduler.cache import ClusterCache
from unigpu import api_objects
from unigpu_kube.client import Json

IDLE = 5.0
"""Seconds without a request after which another replica may have led; a lease takes longer than that to change hands
unless it is given back, and then its former holder ends."""
LANDING = 1.0
"""Seconds that what was sent may still take to be carried out once its sender has given up."""

Read = Callable[[str], Awaitable[Sequence[Json]]]


class StalenessGuard:
    """Which nodes have been read since the last pause."""

    def __init__(self, read: Read, cache: ClusterCache, clock: Callable[[], float]) -> None:
        self._read = read
        self._cache = cache
        self._clock = clock
        self._requested = self._since = float("-inf")
        self._fresh: dict[str, asyncio.Future[None]] = {}
        self.led = asyncio.Event()
        """Set when requests come after a pause: another replica may have led. The task that waits for it clears it."""

    def note_request(self) -> None:
        """Note that the kube-scheduler sends a request of any kind."""
        now = self._clock()
        if now - self._requested > IDLE:
            self._fresh = {}
            self._since = now
            self.led.set()
        self._requested = now

    def now(self) -> float:
        """Return the time by which `uninterrupted` counts."""
        return self._clock()

    def uninterrupted(self, since: float) -> bool:
        """Return whether no other replica can have led since then: requests have come all the time."""
        return self._since <= since and self._clock() - self._requested <= IDLE

    def time_left(self) -> float:
        """Return for how many seconds a sending may go on, so that no other replica leads before it has ended.

        0 or less: none may begin.
        """
        return self._requested + IDLE - LANDING - self._clock()

    async def ensure_fresh(self, node: str) -> None:
        """Wait until the node's ledger shows what was true at some time after the last pause.

        Raises Unavailable, Rejected.
        """
        known = self._fresh.get(node)
        if known is None:
            known = self._fresh[node] = asyncio.ensure_future(self.refresh(node))
            known.add_done_callback(lambda done: self._done(node, done))
        await asyncio.shield(known)

    async def refresh(self, node: str) -> None:
        """Wait until the node's ledger shows what is true now.

        Raises Unavailable, Rejected.
        """
        before = self._cache.ledger.confirmed_on(node)
        facts, unreadable = api_objects.pods(await self._read(node))
        self._cache.node_read([uid for uid in before if uid not in unreadable], facts)

    def _done(self, node: str, done: asyncio.Future[None]) -> None:
        if (done.cancelled() or done.exception() is not None) and self._fresh.get(node) is done:
            del self._fresh[node]
