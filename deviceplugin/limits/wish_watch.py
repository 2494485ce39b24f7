"""Grants or refuses what containers' programs ask for from inside: higher limits, through their usage files.

A wish becomes a change of the pod's annotation `unigpu.dev/limits`, which the webhook checks and the limit reconciler
puts in force, as it does for everybody. The program that asked waits for the answer, for `wishes.PATIENCE_NS`.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from deviceplugin import pods
from deviceplugin.allocation.grant_ledger import GrantLedger
from deviceplugin.limits import wish_check
from deviceplugin.limits.limit_reconciler import LimitReconciler
from deviceplugin.limits.wish_check import Raise
from deviceplugin.node.node_state import NodeState
from deviceplugin.node_api import NodeApi
from deviceplugin.pod_cache import PodCache
from deviceplugin.pods import Pod
from deviceplugin.store.container_store import ContainerStore
from deviceplugin.store.wish_reader import WishReader
from unigpu import errors, limits, logs, names
from unigpu.allocations import Share
from unigpu.wishes import Pace, Wish
from unigpu_kube.objects import Ref
from unigpu_node.containers import Key
from unigpu_service import ticks

logger = logging.getLogger(__name__)

PACE = 0.1
"""Seconds between two readings of all usage files."""
MAX_CORE_SHARE = 0.003
"""Most of a processor core that reading may cost; with more containers it happens less often,"""
MAX_PACE = 0.4
"""but at least once in so many seconds: a program waits for its answer."""
REST_PACE = 0.25
"""The same, but at least, while nobody has asked"""
LIVELY_NS = 10_000_000_000
"""for so long, and no container has come: most programs ask when they start."""
_AVERAGE = 20
"""Readings over which the cost is averaged."""
AT_ONCE = 8
"""Wishes that are carried out at the same time: each is a write to the API server, which asks the webhook."""
_TRIES = 3
_ABOVE = "this cluster lets programs only lower their limits"
_GONE = "the pod is being removed; accepted: a wish of the next one"


def pause(cost: float) -> float:
    """Return seconds to wait after a reading that takes so much of a core, in seconds."""
    return max(PACE, min(cost / MAX_CORE_SHARE, MAX_PACE))


class WishWatch:
    """Reads wishes, decides, and answers each once."""

    def __init__(
        self,
        api: NodeApi,
        cache: PodCache,
        grants: GrantLedger,
        node: NodeState,
        containers: ContainerStore,
        reconciler: LimitReconciler,
        *,
        raises: bool,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`raises`: whether programs may raise limits. `clock` must be CLOCK_MONOTONIC, which containers read too."""
        self._api, self._cache, self._grants, self._node = api, cache, grants, node
        self._containers, self._reconciler = containers, reconciler
        self._raises = raises
        self._clock = clock
        self._reader = WishReader()
        self._paces: dict[Key, Pace] = {}
        self._promised: dict[Key, tuple[Share, ...]] = {}
        """What containers have once the raises that are under way are in force: later wishes count it."""
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """By pod: its containers' wishes change one annotation."""
        self._room = asyncio.Semaphore(AT_ONCE)

    async def work(self) -> None:
        """Answer wishes as they come. Never returns."""
        known: Mapping[Key, tuple[Path, int]] = {}
        version, cost, asked = -1, 0.0, 0
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    if version != self._grants.version:
                        version, known = self._grants.version, self._known()
                        self._paces = {key: pace for key, pace in self._paces.items() if key in known}
                        asked = self._clock()
                    # Most of the time nobody has asked, and that is no more than one system call.
                    began = time.thread_time()
                    idle, spent = self._reader.idle(known, self._clock()), time.thread_time() - began
                    found: Mapping[Key, Wish] = {}
                    if not idle:
                        found, reading = await asyncio.to_thread(self._read, known)
                        spent += reading
                        for key, wish in found.items():
                            if not wish.stale(self._clock()):
                                group.create_task(self._guarded(key, wish))
                    cost += (spent - cost) / _AVERAGE
                    if found:
                        asked = self._clock()
                    if known:
                        lively = self._clock() - asked < LIVELY_NS
                        await ticks.tick(pause(cost) if lively else max(REST_PACE, pause(cost)))
                    else:
                        await self._grants.filled()
        finally:
            self._reader.close()

    def files_written(self) -> None:
        """Take in that the agent has written containers' files: they may be others now."""
        self._reader.check()

    def _known(self) -> dict[Key, tuple[Path, int]]:
        """Each container's folder and number of GPUs."""
        return {key: (self._containers.of(*key), len(one.grant.shares)) for key, one in self._grants.items()}

    def _read(self, known: Mapping[Key, tuple[Path, int]]) -> tuple[dict[Key, Wish], float]:
        """Return the new wishes, and the seconds of a core that it took to find them."""
        began = time.thread_time()
        found = self._reader.read(known, self._clock())
        return found, time.thread_time() - began

    async def _guarded(self, key: Key, wish: Wish) -> None:
        """Answer one wish; a defect that it brings to light must not cost other containers theirs."""
        pod = self._cache.get(key[0])
        try:
            refusal = await self._refusal(key, wish)
        except errors.Unavailable as error:
            refusal = f"it can't be decided now ({error}); accepted: the same later"
        except errors.UnigpuError as error:
            refusal = str(error)
        except Exception as error:
            logger.error("wish of one container failed", exc_info=error)
            refusal = "the node agent failed; accepted: the same later"
        whose: dict[str, Any] = {
            "pod": pod.title if pod is not None else "unknown",
            "pod_uid": key[0],
            "container": key[1],
        }
        if wish.stale(self._clock()):
            logs.event(logger, "wish came to nothing", logging.WARNING, **whose, reason=refusal)
            return
        logs.event(logger, "wish answered", **whose, refused=refusal or "no")
        try:
            await asyncio.to_thread(self._containers.answer, *key, wish.number, refusal)
        except errors.UnigpuError as error:
            logs.event(logger, "wish not answered", logging.ERROR, **whose, reason=error)

    async def _refusal(self, key: Key, wish: Wish) -> str:
        """Carry the wish out; return why it isn't, empty where its limits are in force.

        Raises Denied, Malformed, Unavailable.
        """
        if not self._paces.setdefault(key, Pace()).take(self._clock()):
            return "the container's programs ask too often; accepted: one such program a second"
        uid, container = key
        async with self._locks.setdefault(uid, asyncio.Lock()):
            try:
                for _ in range(_TRIES):
                    pod = self._cache.get(uid)
                    if pod is None:
                        return _GONE
                    raised = wish_check.change(pod, container, wish, self._node.now.labels)
                    if raised is None:
                        return await self._in_force(pod, container, wish)
                    refusal = self._own_refusal(key, pod, raised)
                    if refusal:
                        return refusal
                    self._promised[key] = tuple(raised.held.shares)
                    async with self._room:
                        if wish.stale(self._clock()):
                            return "nobody waits for the answer any more"
                        changed = await self._write(pod, limits.dump(raised.limits))
                    if changed is not None:
                        return await self._settle(pod, changed, container, wish)
                    await self._read_again(pod)
                return "the pod changes all the time; accepted: the same later"
            finally:
                self._promised.pop(key, None)

    def _own_refusal(self, key: Key, pod: Pod, raised: Raise) -> str:
        """Return why the node agent refuses a raise before anybody else is asked; empty: it doesn't."""
        by_hand = wish_check.command(pod, key[1], raised)
        if not self._raises:
            return f"{_ABOVE} (limits.fromContainer: tighten-only); accepted: lower limits, or from outside: {by_hand}"
        granted = wish_check.with_promised(self._grants.grants(), self._promised)
        return wish_check.shortage(self._node.now, key, raised, granted, self._grants.overuse)

    async def _write(self, pod: Pod, text: str | None) -> Pod | None:
        changed = await self._api.set_limits(_ref(pod), str(pod.version or ""), {names.ANNOTATION_LIMITS: text})
        return None if changed is None else pods.read(changed)

    async def _read_again(self, pod: Pod) -> None:
        found = await self._api.pod(pod.namespace, pod.name)
        if found is None or pods.read(found).uid != pod.uid:
            raise errors.Denied(_GONE)
        self._cache.observe(pods.read(found))

    async def _settle(self, before: Pod, changed: Pod, container: str, wish: Wish) -> str:
        """Put the change in force. Where that isn't possible, set the annotation back: nobody would use it later."""
        pod = await self._reconciler.settle(changed)
        refusal = await self._in_force(pod, container, wish)
        if refusal:
            await self._write(pod, before.annotations.get(names.ANNOTATION_LIMITS))
        return refusal

    async def _in_force(self, pod: Pod, container: str, wish: Wish) -> str:
        """Return why the limits in force don't allow the wish; empty: they do, and its policy says so."""
        pod = await self._reconciler.settle(pod)
        if limits.dump(pod.applied().limits) == limits.dump(pod.wanted(pod.request())):
            await self._reconciler.write(pod.uid)
            return ""
        return "the node agent finds too little free on the GPU; accepted: the same later"


def _ref(pod: Pod) -> Ref:
    return Ref(pod.namespace, pod.name, pod.uid)
