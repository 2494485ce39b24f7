"""Writes damaged grants of living pods again, from the pods' annotations and the kubelet's checkpoint.

Without its grant a running container would count for nothing, and changes of its limits would pass it by.
"""

import asyncio
import logging
from collections.abc import Callable

from deviceplugin.allocation import allocate
from deviceplugin.allocation.grant_ledger import GrantLedger
from deviceplugin.kubelet.owner_lookup import OwnerLookup
from deviceplugin.node.node_state import NodeState
from deviceplugin.pod_cache import PodCache
from deviceplugin.pods import Pod
from deviceplugin.store.container_store import ContainerStore
from unigpu import errors, logs
from unigpu_node.containers import Key

logger = logging.getLogger(__name__)


class GrantRepair:
    """Restores grants that were damaged on the disk."""

    def __init__(
        self,
        node: NodeState,
        owners: OwnerLookup,
        cache: PodCache,
        grants: GrantLedger,
        containers: ContainerStore,
        notify_lending: Callable[[], None],
    ) -> None:
        self._node = node
        self._owners = owners
        self._cache = cache
        self._grants = grants
        self._containers = containers
        self._notify_lending = notify_lending
        self._problems: dict[Key, str] = {}

    async def run(self, interval: float) -> None:
        """Look for damaged grants every `interval` seconds. Never returns."""
        while True:
            await asyncio.sleep(interval)
            damaged = await asyncio.to_thread(self._containers.damaged)
            self._problems = {key: problem for key, problem in self._problems.items() if key in damaged}
            for key in damaged:
                pod = self._cache.get(key[0])
                if pod is not None:
                    await self._restore(key, pod)

    async def _restore(self, key: Key, pod: Pod) -> None:
        uid, container = key
        try:
            slots = await self._owners.slots_of(uid, container)
            decision = allocate.decide(self._node.now, pod, container, sorted(slots), self._grants.counted())
            self._grants.enter(decision.grant)
            await asyncio.to_thread(self._containers.write, decision.grant, decision.policy, running=True)
        except errors.UnigpuError as error:
            if self._problems.get(key) != str(error):
                self._problems[key] = str(error)
                logs.event(
                    logger,
                    "grant can't be restored",
                    logging.ERROR,
                    pod=pod.title,
                    pod_uid=uid,
                    container=container,
                    reason=error,
                )
            return
        self._notify_lending()
        logs.event(logger, "grant restored", pod=pod.title, pod_uid=uid, container=container)
