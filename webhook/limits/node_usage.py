"""The usage of one node's GPUs, read from the API server when a raise of limits has to be checked.

An allowed change is remembered until the API server shows it, for some seconds at most, so that two raises at the same
moment can't get the same capacity. A change that another replica allows at that moment isn't known here; the node agent
puts raises in force one after another and checks last.

A review may come from anybody who reaches the webhook's port. So nothing is remembered, and nothing is said of a GPU,
before the API server has shown the pod as the review describes it.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from weakref import WeakValueDictionary

from unigpu import errors
from unigpu.ledger import CapacityLedger
from unigpu_kube import errors as kube_errors
from unigpu_kube import objects
from unigpu_kube.client import Client
from webhook.limits import limit_change
from webhook.limits.limit_change import AcceptedChange, Item

SECONDS = 3.0
"""For waiting and reading together: the API server waits 5 s for the whole review."""
PROOF_SECONDS = 1.5
"""For reading the pod itself, before."""
HOLD_SECONDS = 10.0
"""How long an allowed change counts although the API server doesn't show it: another webhook or a conflict may have
stopped it."""


class NodeUsage:
    """Reads the current usage of a node. Raises on one node are checked one after another."""

    def __init__(self, client: Client, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._client, self._seconds, self._clock = client, seconds, clock
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._accepted: dict[str, tuple[float, AcceptedChange]] = {}

    async def shows(self, pod: Item) -> bool:
        """Return whether the API server has this pod: the same UID, and the same of unigpu's annotations.

        Raises Unavailable where the API server doesn't answer in time.
        """
        about = objects.ref(pod)
        if not (about.uid and objects.is_name(about.namespace) and objects.is_name(about.name)):
            return False
        path = objects.pod(about.namespace, about.name)
        try:
            async with asyncio.timeout(min(PROOF_SECONDS, self._seconds)):
                found = await self._client.find(path)
        except TimeoutError:
            why = f"the API server didn't show pod {about.title} within {min(PROOF_SECONDS, self._seconds):g} s"
            raise errors.Unavailable(why) from None
        except kube_errors.Rejected as error:
            raise errors.Unavailable(f"reading {path}: {error}") from error
        return found is not None and limit_change.is_same(found, pod)

    def remembers(self, change: AcceptedChange) -> bool:
        """Return whether an earlier change of the pod is remembered, in whose place this one must come."""
        return change.uid in self._accepted

    @contextlib.asynccontextmanager
    async def of(self, node: str) -> AsyncIterator[CapacityLedger]:
        """Read the node's GPUs and its pods' shares, and hold other raises on this node until the block is left.

        Raises Unavailable where the API server doesn't answer in time.
        """
        lock = self._locks.setdefault(node, asyncio.Lock())
        async with contextlib.AsyncExitStack() as held:
            try:
                async with asyncio.timeout(self._seconds):
                    await held.enter_async_context(lock)
                    found = await self._read(node)
            except TimeoutError:
                why = f"the API server didn't list the pods of node {node} within {self._seconds:g} s"
                raise errors.Unavailable(why) from None
            yield found

    def remember(self, change: AcceptedChange) -> None:
        """Remember an allowed change of a pod's limits, in place of an earlier one."""
        self._accepted[change.uid] = (self._clock() + HOLD_SECONDS, change)

    async def _read(self, node: str) -> CapacityLedger:
        nodes, pods = await asyncio.gather(
            self._all(objects.NODES, f"metadata.name={node}"),
            self._all(objects.PODS, f"spec.nodeName={node},{objects.RUNNING}"),
        )
        now = self._clock()
        self._accepted = {uid: entry for uid, entry in self._accepted.items() if entry[0] > now}
        found = limit_change.build_ledger(node, nodes[0] if nodes else None, pods)
        limit_change.add_accepted(found, node, pods, [change for _, change in self._accepted.values()])
        return found

    async def _all(self, path: str, selector: str) -> list[Item]:
        try:
            return await self._client.items(path, {"fieldSelector": selector}, metadata_only=True)
        except kube_errors.Rejected as error:
            raise errors.Unavailable(f"listing {path}: {error}") from error
