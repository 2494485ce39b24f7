"""Offers what containers could do without, and gives back what was lowered to make room for a more important pod.

What is lowered is decided by the scheduler's extender, which writes it on the pods; the limit reconciler puts it in
force. This module publishes what can be had, and how much of the node's capacity lowered limits have freed. A record on
each pod says what it had, so nothing needs to be remembered.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from deviceplugin import pods
from deviceplugin.allocation.grant_ledger import GrantLedger
from deviceplugin.limits import lowered
from deviceplugin.limits.lowered import Counted
from deviceplugin.node.node_state import NodeState
from deviceplugin.node_api import NodeApi
from deviceplugin.pod_cache import PodCache
from deviceplugin.pods import Pod
from deviceplugin.store.container_store import ContainerStore
from unigpu import errors, logs, lowering, names
from unigpu.lowering import Freed, Keep, Lowerable, Record
from unigpu.units import MiB
from unigpu_kube.objects import Ref
from unigpu_node.containers import Key, StoredGrant
from unigpu_service import ticks

logger = logging.getLogger(__name__)

_LOOK = 1.0
"""Seconds between two looks at lowered pods."""
_MEASURE = 10.0
"""Seconds between two readings of what containers hold, and the longest of them where the pause is shorter."""


class LoweringWatch:
    """Keeps the node's offer current, and gives back."""

    def __init__(
        self,
        api: NodeApi,
        cache: PodCache,
        grants: GrantLedger,
        node: NodeState,
        containers: ContainerStore,
        publish: Callable[[str | None, Freed], None],
        *,
        offer: Keep | None,
        pause: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`publish` is called with the text of the offer and with what lowered limits have freed. `offer`: what
        containers keep; None: nothing is offered. `pause`: seconds that a container runs before it is offered, between
        two offers of the same containers, and before limits are raised again. `clock`: seconds since the epoch."""
        self._api, self._cache, self._grants, self._node, self._containers = api, cache, grants, node, containers
        self._publish = publish
        self._offer = offer
        self._pause = pause
        self._clock = clock
        self._offered: list[Lowerable] = []
        self._offered_at = float("-inf")
        self._measured_at = float("-inf")
        self._later: dict[str, float] = {}
        """By pod UID: before when limits that were refused aren't tried again."""
        self._refused: dict[str, str] = {}
        """By pod UID: why they were refused last, which is logged once."""
        self._lowered: set[str] = set()
        """UIDs of pods whose limits were lowered."""
        self._wake = asyncio.Event()
        cache.subscribe(self._changed, self._gone)

    async def work(self, listed: asyncio.Event) -> None:
        """Look when a pod or GPU changes, and every second. Never returns. `listed`: set once all pods are known."""
        await listed.wait()
        while True:
            await self._look()
            try:
                async with asyncio.timeout_at(ticks.due(_LOOK)):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    def gpus_changed(self) -> None:
        """Look at once: a GPU that failed leaves the node's capacity only when it is known what limits have freed."""
        self._wake.set()

    async def _look(self) -> None:
        await self._renew_offer()
        found = [pod for uid in sorted(self._lowered) if (pod := self._cache.get(uid)) is not None]
        gpus = list(self._node.now.gpus.values())
        if not gpus:
            return
        self._publish(lowering.dump(self._offered, gpus), lowered.freed(found, gpus))
        for pod in lowered.void(found):
            await self._write(pod, {names.ANNOTATION_LOWERED: None}, "record of lowered limits dropped")
        due = lowered.due(found, self._clock(), self._pause)
        if due:
            counted = lowered.Counted(self._cache.all())
            for pod, record in due:
                await self._give_back(pod, record, counted)

    async def _renew_offer(self) -> None:
        now = self._clock()
        if self._offer is None or 0 <= now - self._measured_at < min(_MEASURE, self._pause):
            return
        self._measured_at = now
        offered: list[Lowerable] = []
        # A container that has just started may be about to fill up.
        grown = [
            (key, stored) for key, stored in self._grants.items() if not now - self._pause < stored.prepared <= now
        ]
        for uid, used in (await asyncio.to_thread(self._used, grown)).items():
            pod = self._cache.get(uid)
            if pod is not None and not pod.finished:
                offered += lowered.offers(pod, self._node.now.labels, used, self._offer)
        if lowered.urgent(self._offered, offered) or not 0 <= now - self._offered_at < self._pause:
            self._offered, self._offered_at = offered, now

    def _used(self, grown: Sequence[tuple[Key, StoredGrant]]) -> dict[str, dict[str, list[MiB]]]:
        """Return what these containers hold, by pod UID and container."""
        found: dict[str, dict[str, list[MiB]]] = {}
        for (uid, container), stored in grown:
            used = self._containers.used(uid, container, len(stored.grant.shares))
            found.setdefault(uid, {})[container] = used
        return found

    async def _give_back(self, pod: Pod, record: Record, counted: Counted) -> None:
        now = self._clock()
        if now < self._later.get(pod.uid, 0.0):
            return
        node = self._node.now
        if not counted.has_room(node, pod, record):
            return
        if not lowered.granted_room(node, pod, record, self._grants.grants(), self._grants.overuse):
            return
        annotations = {names.ANNOTATION_LIMITS: record.before, names.ANNOTATION_LOWERED: None}
        if await self._write(pod, annotations, "lowered limits given back"):
            counted.raised(self._cache.get(pod.uid) or pod)
        else:
            # The webhook has the last word: it may know of a pod that was bound a moment ago.
            self._later[pod.uid] = now + min(_MEASURE, self._pause)

    async def _write(self, pod: Pod, annotations: dict[str, str | None], what: str) -> bool:
        """Return whether it was written, and have everybody see it; a pod that has changed since is looked at again."""
        ref = Ref(pod.namespace, pod.name, pod.uid)
        try:
            changed = await self._api.set_limits(ref, str(pod.version or ""), annotations)
        except errors.UnigpuError as error:
            if self._refused.get(pod.uid) != str(error):
                self._refused[pod.uid] = str(error)
                logs.event(logger, "lowered limits stay", pod=pod.title, pod_uid=pod.uid, reason=error)
            return False
        self._refused.pop(pod.uid, None)
        if changed is not None:
            self._cache.observe(pods.read(changed))
            logs.event(logger, what, pod=pod.title, pod_uid=pod.uid)
        return changed is not None

    def _changed(self, uid: str) -> None:
        pod = self._cache.get(uid)
        if pod is not None and names.ANNOTATION_LOWERED in pod.annotations:
            self._lowered.add(uid)
            self._wake.set()
        else:
            self._lowered.discard(uid)

    def _gone(self, uid: str) -> None:
        self._lowered.discard(uid)
        self._later.pop(uid, None)
        self._refused.pop(uid, None)
        self._wake.set()
