"""Keeps the grants equal to the node's living pods: releases what pods no longer need.

A grant outlives its pod while a program of it still runs: one that holds a lock on the usage file. A program of another
pod can take such a lock too, if it was passed a descriptor of the file. Where the agent sees the node's processes, only
those of the pod itself count; where it doesn't, a grant lingers for LINGER_SECONDS at most.
Nothing is remembered that isn't on the node's disk or in the API server too: the agent may be killed at any moment.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence

from deviceplugin import pods
from deviceplugin.allocation.grant_ledger import GrantLedger
from deviceplugin.allocation.spec_writer import SpecWriter
from deviceplugin.kubelet import slot_owner
from deviceplugin.node_api import NodeApi
from deviceplugin.pod_cache import PodCache
from deviceplugin.pods import Pod
from deviceplugin.store.container_store import ContainerStore
from unigpu import errors, logs
from unigpu.requests import Role
from unigpu_kube.objects import Ref
from unigpu_kube.reflector import Listing, Reflector, Sink
from unigpu_node.containers import Key, StoredGrant
from unigpu_service import ticks

logger = logging.getLogger(__name__)

LINGER_SECONDS = 300.0
"""How long a program may outlive its pod. The kubelet kills the containers of a pod deleted by force within seconds."""
_OUTLIVED = "pod is gone, and a program has held its usage file for too long since"
_POD_GONE = "pod is gone"
_INIT_ENDED = "init container has ended"


class GrantCollector:
    """Observes pods and releases grants."""

    def __init__(
        self,
        api: NodeApi,
        cache: PodCache,
        grants: GrantLedger,
        containers: ContainerStore,
        specs: SpecWriter,
        notify_lending: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        runs: Callable[[str, str], bool] | None = None,
    ) -> None:
        """`runs` tells, by pod UID and container, whether a program of that container uses its GPUs."""
        self._clock = clock
        self._runs = runs or containers.in_use
        self._api = api
        self._cache = cache
        self._grants = grants
        self._containers = containers
        self._specs = specs
        self.notify_lending = notify_lending
        """Tells the lending loop that a container, or a policy, has changed."""
        self._lingering: dict[Key, float] = {}
        """When each of them is released, whatever holds its usage file."""
        self._problem = ""

    @property
    def lingering(self) -> bool:
        """Whether a pod is gone while one of its programs still runs; its grants count until that ends."""
        return bool(self._lingering)

    def reflector(self) -> Reflector[Pod]:
        """Return what keeps the cache and the grants current."""

        async def listed(listing: Listing[Pod]) -> None:
            await self.sync(listing.items, listing.asked, frozenset(ref.uid for ref in listing.unreadable))

        async def gone(ref: Ref) -> None:
            await self._pod_gone(ref.uid)

        return self._api.pod_reflector(Sink(parse=pods.read, listed=listed, changed=self._pod_changed, gone=gone))

    async def resync(self) -> None:
        """List the node's pods now, and release the grants of others. Raises Unavailable."""
        asked = time.time()
        present, unreadable = pods.read_all(await self._api.pods())
        await self.sync(present, asked, unreadable)

    async def sync(self, present: Sequence[Pod], asked: float, unreadable: frozenset[str] = frozenset()) -> None:
        """Release the grants of all pods but these, which were all there were when they were `asked` for.

        `asked`: seconds since the epoch. Grants that are younger stay, and so do those of `unreadable` pods, by UID.
        """
        self._cache.replace(pod for pod in present if not pod.finished)
        living = self._cache.uids() | unreadable
        now = time.time()
        gone = [
            key
            for key, stored in self._grants.items()
            if key[0] not in living and (slot_owner.known_time(stored.prepared, now) or 0.0) < asked
        ]
        await self._release(gone)
        for pod in self._cache.all():
            await self._release_ended_init(pod)
        for key in self._containers.names():
            if key not in self._grants and key[0] not in living:
                self._containers.remove(*key)
        self._gc_cdi_specs()
        self.notify_lending()

    async def _pod_changed(self, pod: Pod) -> None:
        if pod.finished:
            await self._pod_gone(pod.uid)
        elif self._cache.observe(pod):
            await self._release_ended_init(pod)

    async def _pod_gone(self, uid: str) -> None:
        self._cache.forget(uid)
        await self._release([key for key in self._grants.keys() if key[0] == uid])  # noqa: SIM118
        self._gc_cdi_specs()

    async def release_lingering(self) -> None:
        """Release the grants of gone pods whose last program has ended since."""
        await self._release(list(self._lingering))

    async def tidy(self, interval: float) -> None:
        """Every `interval` seconds release lingering grants, and remove the CDI specs of running containers.

        A spec has served once its container runs. It must not be read for another container, and runtimes read all
        specs whenever one changes. Never returns.
        """
        while True:
            await ticks.tick(interval)
            await self.release_lingering()
            if self._problem:
                self._gc_cdi_specs()
            self._remove_served_specs()

    def _remove_served_specs(self) -> None:
        present = self._specs.slots()
        if not present:
            return  # as on most nodes most of the time: the grants needn't be gone through
        now = time.time()
        for (uid, container), stored in self._grants.items():
            if present.isdisjoint(stored.grant.slots):
                continue
            pod = self._cache.get(uid)
            progress = pod.progress.get(container) if pod is not None else None
            since = progress.running_since if progress is not None else None
            prepared = slot_owner.known_time(stored.prepared, now) or 0.0
            if now - prepared > slot_owner.SETTLE and since is not None and since >= math.floor(prepared):
                self._remove_spec(stored)

    def _gc_cdi_specs(self) -> None:
        try:
            self._specs.gc(self._cache.uids() | self._grants.pod_uids())
            self._problem = ""
        except errors.Unavailable as error:
            self._report(error)

    def _remove_spec(self, stored: StoredGrant) -> None:
        try:
            self._specs.remove(stored.grant)
            self._problem = ""
        except errors.Unavailable as error:
            self._report(error)

    def _report(self, error: errors.Unavailable) -> None:
        """Log a spec that can't be removed, once; `tidy` and the next change try again."""
        if str(error) != self._problem:
            self._problem = str(error)
            logs.event(logger, "CDI spec not removed", logging.ERROR, reason=error)

    async def _release_ended_init(self, pod: Pod) -> None:
        ended = [
            (pod.uid, container)
            for container, stored in self._grants.of_pod(pod.uid).items()
            if _has_ended_well(pod, container, stored)
        ]
        await self._remove(ended, _INIT_ENDED)

    async def _release(self, keys: Sequence[Key]) -> None:
        """Release grants of pods that are gone; those whose programs still run linger."""
        ended, outlived = [], []
        for key in keys:
            stored = self._grants.get(key)
            if stored is None or not await asyncio.to_thread(self._runs, *key):
                self._lingering.pop(key, None)
                ended.append(key)
            elif key in self._lingering and self._clock() >= self._lingering[key]:
                del self._lingering[key]
                outlived.append(key)
            elif key not in self._lingering:
                self._lingering[key] = self._clock() + LINGER_SECONDS
                self._remove_spec(stored)
                logs.event(
                    logger, "pod is gone, and a program of it still runs", logging.INFO, **stored.grant.log_fields
                )
        await self._remove(ended, _POD_GONE)
        await self._remove(outlived, _OUTLIVED, logging.WARNING)

    async def _remove(self, keys: Sequence[Key], reason: str, level: int = logging.INFO) -> None:
        for key in keys:
            stored = self._grants.remove(key)
            if stored is not None:
                self._remove_spec(stored)
                await asyncio.to_thread(self._containers.remove, *key)
                logs.event(logger, "released", level, **stored.grant.log_fields, reason=reason)
        if keys:
            self.notify_lending()


def _has_ended_well(pod: Pod, container: str, stored: StoredGrant) -> bool:
    """Whether an init container has ended with success since it was prepared."""
    progress = pod.progress.get(container)
    prepared = slot_owner.known_time(stored.prepared, time.time()) or 0.0
    return (
        stored.grant.role is Role.INIT
        and progress is not None
        and progress.running_since is None
        and progress.ended_at is not None
        and progress.ended_at >= math.floor(prepared)
        and progress.exit_code == 0
    )
