"""Carries out the scheduler's choice when the kubelet allocates slots and starts a container with them."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence

from deviceplugin.allocation import allocate
from deviceplugin.allocation.allocate import Decision
from deviceplugin.allocation.grant_collector import GrantCollector
from deviceplugin.allocation.grant_ledger import GrantLedger
from deviceplugin.allocation.spec_writer import SpecWriter
from deviceplugin.kubelet.owner_lookup import PATIENCE, OwnerLookup
from deviceplugin.limits.limit_reconciler import LimitReconciler
from deviceplugin.node.node_state import NodeState
from deviceplugin.pod_cache import PodCache
from deviceplugin.pods import Pod
from deviceplugin.store.container_store import ContainerStore
from unigpu import errors, logs

logger = logging.getLogger(__name__)

_PAUSE = 0.1
_PREWRITE_DELAYS = (0.02, 0.1, 0.3, 1.0)
"""Seconds before each attempt to find the owner of slots that were just allocated."""


class Allocator:
    """Answers the kubelet's Allocate and PreStartContainer."""

    def __init__(
        self,
        node: NodeState,
        owners: OwnerLookup,
        cache: PodCache,
        grants: GrantLedger,
        containers: ContainerStore,
        specs: SpecWriter,
        limits: LimitReconciler,
        collector: GrantCollector,
    ) -> None:
        self._node = node
        self._owners = owners
        self._cache = cache
        self._grants = grants
        self._containers = containers
        self._specs = specs
        self._limits = limits
        self._collector = collector
        self._tasks: set[asyncio.Task[None]] = set()
        """Holds tasks that nobody awaits: the event loop keeps only weak references."""

    async def allocated(self, slots: Sequence[str]) -> None:
        """Drop earlier specs of these slots, and write the new one as soon as their owner is known.

        That is long before the container is created: a runtime takes a while to read specs when many change.
        """
        mark = self._specs.allocated(slots)
        task = asyncio.create_task(self._prewrite_spec(frozenset(slots), mark))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def prestart(self, slots: Sequence[str]) -> None:
        """Write what the container that holds these slots gets; the kubelet creates it afterwards.

        Raises UnigpuError with one sentence for the pod's events; the kubelet then doesn't create the container, and
        calls again.
        """
        began = time.monotonic()
        self._specs.starting(slots)
        try:
            pod, container = await self._owners.starting(frozenset(slots))
            pod = await self._limits.settle(pod)
            labels = self._node.now.labels
            decision = await self._decide(pod, container, slots)
            await self._carry_out(decision)
            known = self._cache.get(pod.uid) or pod
            if self._node.now.labels != labels or known.annotations != pod.annotations:
                await self._limits.write(pod.uid)
        except errors.UnigpuError as error:
            logs.event(logger, "allocation refused", logging.WARNING, slots=",".join(sorted(slots)), reason=error)
            raise
        grant, policy = decision.grant, decision.policy
        logs.event(
            logger,
            "allocated",
            pod=pod.title,
            pod_uid=pod.uid,
            container=container,
            slots=",".join(grant.slots),
            gpus=",".join(share.gpu for share in grant.shares),
            memory_mib=",".join(str(share.memory) for share in grant.shares),
            cores=",".join(str(share.cores) for share in grant.shares),
            dialect=grant.dialect,
            memory_enforced=policy.memory_enforced,
            cores_enforced=policy.cores_enforced,
            milliseconds=round((time.monotonic() - began) * 1000, 1),
        )

    async def _decide(self, pod: Pod, container: str, slots: Sequence[str]) -> Decision:
        """Decide, and enter the grant in the same step: a decision that waits already counts it."""
        deadline = time.monotonic() + PATIENCE
        with contextlib.suppress(errors.Denied):
            return self._enter(pod, container, slots)
        # A pod that is gone may still be in the ledger.
        await self._collector.resync()
        while True:
            try:
                return self._enter(pod, container, slots)
            except errors.Denied:
                if not self._collector.lingering or time.monotonic() > deadline:
                    raise
            # A pod deleted by force is gone before its programs are: their GPUs can't be given away yet.
            await asyncio.sleep(_PAUSE)
            await self._collector.release_lingering()

    def _enter(self, pod: Pod, container: str, slots: Sequence[str]) -> Decision:
        decision = allocate.decide(self._node.now, pod, container, slots, self._grants.counted())
        self._grants.enter(decision.grant)
        return decision

    async def _carry_out(self, decision: Decision) -> None:
        await asyncio.to_thread(self._containers.write, decision.grant, decision.policy)
        self._collector.notify_lending()
        if not await self._specs.write(decision):
            slot = min(decision.grant.slots)
            raise errors.Unavailable(f"slot {slot} was allocated again before its container started")

    async def _prewrite_spec(self, slots: frozenset[str], mark: object) -> None:
        for delay in _PREWRITE_DELAYS:
            await asyncio.sleep(delay)
            with contextlib.suppress(errors.UnigpuError):
                owner = await self._owners.expected(slots)
                if owner is not None:
                    decision = allocate.decide(self._node.now, *owner, sorted(slots), self._grants.counted())
                    await self._specs.write(decision, mark)
                    return
