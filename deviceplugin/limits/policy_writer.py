"""Writes the limits of running containers to the node: policies and grants, and what programs hold beyond them."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from deviceplugin.allocation import allocate
from deviceplugin.allocation.grant_ledger import GrantLedger
from deviceplugin.limits import changes
from deviceplugin.limits.changes import Held
from deviceplugin.node.node_state import NodeState
from deviceplugin.pods import Pod
from deviceplugin.store import usage_heads
from deviceplugin.store.container_store import ContainerStore
from deviceplugin.store.usage_heads import UsageHeads
from unigpu import limits, logs, usage
from unigpu.units import GpuUuid, MiB
from unigpu_node.containers import Key

logger = logging.getLogger(__name__)


def _in_use(gpus: int) -> usage_heads.Part:
    """Return the part of a usage file's header that says how much memory of each GPU is in use."""
    return usage.TOTALS_OFFSET, usage.TOTALS_OFFSET + (gpus - 1) * usage.TOTAL_SIZE + usage.MEMORY_SIZE


class PolicyWriter:
    """The node's side of a change of limits."""

    def __init__(
        self,
        containers: ContainerStore,
        grants: GrantLedger,
        node: NodeState,
        notify_lending: Callable[[], None],
    ) -> None:
        self._containers = containers
        self._grants = grants
        self._node = node
        self._notify_lending = notify_lending
        self._heads = UsageHeads(_in_use)
        self._watched: Mapping[Key, tuple[Path, int]] = {}
        self._watching: tuple[frozenset[str], int] = frozenset(), -1
        """Of which pods, and of which grants, `_watched` is."""

    def files_written(self) -> None:
        """Take in that the agent has written containers' files: they may be others now."""
        self._heads.check()

    async def moved(self, uids: frozenset[str]) -> frozenset[str]:
        """Return those of these pods of which the memory in use may have changed since the last call."""
        watching = uids, self._grants.version
        if watching != self._watching:
            self._watching = watching
            self._watched = {
                (uid, container): (self._containers.of(uid, container), len(stored.grant.shares))
                for uid in uids
                for container, stored in self._grants.of_pod(uid).items()
            }
        now = time.monotonic_ns()
        if self._heads.settled(self._watched, now):
            changed = self._heads.changed(self._watched, now)
        else:
            changed = await asyncio.to_thread(self._heads.changed, self._watched, now)
        return frozenset(uid for uid, _ in changed)

    async def decrease(self, pod: Pod, container: str, before: Held, after: Held) -> None:
        """Put in force the tighter of both. A container that hasn't started is left alone. Raises Unavailable."""
        if (pod.uid, container) in self._grants:
            tighter = changes.lowered(self._node.now, before, after)
            if await asyncio.to_thread(self._containers.limit, pod.uid, container, tighter):
                self._notify_lending()

    async def write(self, pod: Pod, container: str, to: Held) -> None:
        """Put these limits in force, and make the grant say so, where it doesn't yet.

        Raises Unavailable, Malformed.
        """
        key = pod.uid, container
        stored = self._grants.get(key)
        if stored is None or len(stored.grant.shares) != len(to.shares):
            return
        if tuple(stored.grant.shares) != tuple(to.shares):
            self._grants.amend(key, shares=tuple(to.shares), changes=stored.grant.changes + 1)
        stored = self._grants.get(key) or stored
        policy = allocate.limit(self._node.now, to.request, to.shares)
        written = await asyncio.to_thread(
            self._containers.change, *key, stored.grant.shares, stored.grant.changes, policy
        )
        if written:
            self._notify_lending()
            logs.event(
                logger,
                "policy written",
                pod=pod.title,
                pod_uid=pod.uid,
                container=container,
                memory_mib=",".join(str(share.memory) for share in to.shares),
                cores=",".join(str(gpu.cores) for gpu in policy.gpus),
                ceiling=",".join(str(gpu.ceiling) for gpu in policy.gpus),
                policy=policy.compute,
                memory_enforced=policy.memory_enforced,
                cores_enforced=policy.cores_enforced,
            )

    async def exceeds(self, pod: Pod, held: Mapping[str, Held]) -> str:
        """Return in words what the pod's containers have in use beyond these limits; empty if nothing."""
        found = []
        for container, to in held.items():
            if (pod.uid, container) in self._grants and limits.limitable(to.request):
                used = await asyncio.to_thread(self._containers.beyond, pod.uid, container, to.shares)
                if text := changes.in_use(to.shares, used):
                    found.append(f"{container}: {text}")
        return "; ".join(found)

    async def measure(self, pod: Pod, held: Mapping[str, Held]) -> dict[str, dict[GpuUuid, MiB]]:
        """Return what the pod's containers have in use beyond these limits, MiB by container and GPU; the ledger
        counts it from now on.

        It is never more than they were granted, by the pod's last report. Raises Denied, Malformed.
        """
        found: dict[str, dict[GpuUuid, MiB]] = {}
        applied = pod.applied()
        before = changes.held(pod, applied.limits, self._node.now.labels)
        for container, to in held.items():
            key = pod.uid, container
            if key in self._grants and limits.limitable(to.request):
                used = await asyncio.to_thread(self._containers.beyond, *key, to.shares)
                reported = applied.held.get(container, {})
                over = limits.granted_memory(to.shares, before[container].shares, reported, used)
                self._grants.set_overuse(key, over)
                if over:
                    found[container] = over
        return found
