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
from unigpu_node.containers import Key, Stamp
from unigpu_service import ticks

logger = logging.getLogger(__name__)

AT_ONCE = 128
"""Pods that are looked at together: of a thousand, each gets its turn within a minute."""


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
        self._damaged: set[Key] = set()
        self._sound: dict[Key, Stamp] = {}
        """Grants that were in order when they were last read."""
        self._turn: list[str] = []
        """Pods whose turn is still to come."""

    async def run(self, interval: float) -> None:
        """Look for damaged grants every `interval` seconds, of so many pods at a time. Never returns."""
        while True:
            await ticks.tick(interval)
            damaged = await asyncio.to_thread(self._look)
            self._problems = {key: problem for key, problem in self._problems.items() if key in damaged}
            for key in damaged:
                pod = self._cache.get(key[0])
                if pod is not None:
                    await self._restore(key, pod)

    def _look(self) -> set[Key]:
        """Return the grants that are known to be damaged, after a look at the pods whose turn it is."""
        if not self._turn:
            self._turn = self._containers.pods()
            present = set(self._turn)
            self._sound = {key: stamp for key, stamp in self._sound.items() if key[0] in present}
        now, self._turn = self._turn[:AT_ONCE], self._turn[AT_ONCE:]
        again = {*now, *(uid for uid, _ in self._damaged)}
        self._damaged = set(self._containers.damaged(sorted(again), self._sound))
        return self._damaged

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
