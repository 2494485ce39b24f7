"""Carries out the scheduler's choice when the kubelet allocates slots and starts a container with them."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from deviceplugin.allocation import allocate, restart
from deviceplugin.allocation.allocate import Decision
from deviceplugin.allocation.grant_collector import GrantCollector
from deviceplugin.allocation.grant_ledger import GrantLedger
from deviceplugin.allocation.spec_writer import SpecWriter
from deviceplugin.kubelet.owner_lookup import PATIENCE, RESTART_PATIENCE, OwnerLookup
from deviceplugin.kubelet.slot_owner import Claim
from deviceplugin.limits.limit_reconciler import LimitReconciler
from deviceplugin.node.node_state import NodeState
from deviceplugin.node_api import ServerAway
from deviceplugin.pod_cache import PodCache
from deviceplugin.pods import Pod
from deviceplugin.store.container_store import ContainerStore
from unigpu import errors, logs
from unigpu.grants import Grant

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
        assigned: Callable[[Decision], None],
        prepare_wall: Callable[[], Awaitable[None]],
    ) -> None:
        """`assigned` gets each decision once it is carried out. `prepare_wall` is called before a container starts,
        when its grant is known; it never fails."""
        self._node = node
        self._owners = owners
        self._cache = cache
        self._grants = grants
        self._containers = containers
        self._specs = specs
        self._limits = limits
        self._collector = collector
        self._assigned = assigned
        self._prepare_wall = prepare_wall
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
            decision = await self._prepare(slots)
            await self._prepare_wall()
        except errors.UnigpuError as error:
            await self._log_refusal(slots, error)
            raise
        self._assigned(decision)
        grant, policy = decision.grant, decision.policy
        logs.event(
            logger,
            "allocated",
            **grant.log_fields,
            slots=",".join(grant.slots),
            gpus=",".join(share.gpu for share in grant.shares),
            memory_mib=",".join(str(share.memory) for share in grant.shares),
            cores=",".join(str(share.cores) for share in grant.shares),
            dialect=grant.dialect,
            memory_enforced=policy.memory_enforced,
            cores_enforced=policy.cores_enforced,
            milliseconds=round((time.monotonic() - began) * 1000, 1),
        )

    async def _log_refusal(self, slots: Sequence[str], error: errors.UnigpuError) -> None:
        owner = await self._owners.expected(frozenset(slots))
        logs.event(
            logger,
            "allocation refused",
            logging.WARNING,
            pod=owner[0].title if owner is not None else "unknown",
            pod_uid=owner[0].uid if owner is not None else "unknown",
            slots=",".join(sorted(slots)),
            reason=error,
        )

    async def _prepare(self, slots: Sequence[str]) -> Decision:
        """Decide and write what the container gets. Raises UnigpuError."""
        claim = await self._owners.claim(frozenset(slots))
        earlier = self._earlier(claim)
        # Its limits can be those that it had: the limit reconciler changes them once the API server is back. Which of
        # several containers with the same slots starts, the API server knows better than what was watched of it.
        alone = len(claim.containers) == 1
        may_restart = alone and earlier is not None and restart.obstacle(earlier, slots) is None
        try:
            pod, container = await self._owners.starting(claim, RESTART_PATIENCE if may_restart else None)
        except ServerAway as away:
            decision = await self._again(slots, claim, away)
            await self._carry_out(decision)
            return decision
        await self._owners.check_alone(pod, container)
        pod = await self._limits.settle(pod)
        labels = self._node.now.labels
        decision = await self._decide(pod, container, slots)
        await self._carry_out(decision)
        known = self._cache.get(pod.uid) or pod
        if self._node.now.labels != labels or known.annotations != pod.annotations:
            await self._limits.write(pod.uid)
        return decision

    def _earlier(self, claim: Claim) -> Grant | None:
        """What the container that is about to start was granted when it ran before, where the node knows that."""
        key = self._owners.restarting(claim)
        stored = self._grants.get(key) if key is not None else None
        return stored.grant if stored is not None else None

    async def _again(self, slots: Sequence[str], claim: Claim, away: ServerAway) -> Decision:
        """Decide for a container that ran here before: it needs nobody but its node. Raises UnigpuError."""
        earlier = self._earlier(claim)
        if earlier is None:
            raise errors.Unavailable(f"the node knows no earlier run of the container, so it waits: {away}") from away
        policy = await asyncio.to_thread(self._containers.policy, earlier.pod_uid, earlier.container)
        try:
            decision = restart.decide(self._node.now, earlier, policy, slots)
        except errors.Denied as error:
            raise errors.Unavailable(f"{error}; and the API server can't be asked: {away}") from error
        self._grants.enter(decision.grant)
        logs.event(logger, "started again without the API server", **decision.grant.log_fields, reason=away)
        return decision

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
