"""Puts changed limits in force while containers run, and keeps three records of them equal.

The records are the annotation that says what is in force, the containers' policies and grants, and the pod's events.
The order is: apply decreases, emit the event, update the annotation, apply increases. The agent may be killed between
any two steps. The cluster's ledger never counts less than a container may have, and the next agent continues from
what it finds.
"""

import asyncio
import logging

from deviceplugin.allocation.grant_ledger import GrantLedger
from deviceplugin.limits import changes
from deviceplugin.limits.changes import Change
from deviceplugin.limits.limit_reports import LimitReports
from deviceplugin.limits.policy_writer import PolicyWriter
from deviceplugin.node.node_state import NodeState
from deviceplugin.pod_cache import PodCache
from deviceplugin.pods import Pod
from unigpu import errors, logs, lowering, names
from unigpu.limits import Applied
from unigpu_service import ticks

logger = logging.getLogger(__name__)

_RECHECK = 1.0
"""Seconds between two checks of memory that is held beyond its limit, and of changes that had to wait."""


class LimitReconciler:
    """Decides when a pod's limits are changed, and in which order; one change of a pod at a time."""

    def __init__(
        self,
        cache: PodCache,
        grants: GrantLedger,
        node: NodeState,
        policies: PolicyWriter,
        reports: LimitReports,
    ) -> None:
        self._cache = cache
        self._grants = grants
        self._node = node
        self._policies = policies
        self._reports = reports
        self._locks: dict[str, asyncio.Lock] = {}
        self._wake = asyncio.Event()
        self._outdated: set[str] = set()
        """UIDs of pods whose policies may no longer follow from what is known."""
        self._limited: set[str] = set()
        """UIDs of pods with limits of their own."""
        self._settled: set[str] = set()
        """Those of them whose limits are in force, and that hold nothing beyond them."""
        cache.subscribe(self._mark, self._forget)

    def mark_all(self) -> None:
        """Have every policy rewritten: the node's labels, and with them its mode, have changed."""
        self._outdated |= self._grants.pod_uids()
        self._wake.set()

    async def work(self) -> None:
        """Carry out changes as they come. Never returns."""
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    async with asyncio.timeout_at(ticks.due(_RECHECK)):
                        await self._wake.wait()
                except TimeoutError:
                    pass
                self._wake.clear()
                outdated, self._outdated = self._outdated, set()
                for uid in await self._due(outdated):
                    group.create_task(self._guarded(uid, rewrite=uid in outdated))

    async def settle(self, pod: Pod) -> Pod:
        """Carry out the pod's limits before a container of it starts; return the pod as it is then."""
        self._cache.observe(pod)
        known = self._cache.get(pod.uid) or pod
        if _has_limits(known):
            await self._reconcile(pod.uid, rewrite=False)
        return self._cache.get(pod.uid) or pod

    async def write(self, uid: str) -> None:
        """Write a pod's policies as they follow from what is known, once a change that is under way has ended.

        While a change is half done nothing is written: its decreases must hold until it goes on.
        """
        await self._reconcile(uid, rewrite=True)

    async def _due(self, outdated: set[str]) -> list[str]:
        """Return the pods to reconcile: a settled one only if programs' memory in use has changed since."""
        here = self._grants.pod_uids()
        limited = here & self._limited
        moved = await self._policies.moved(limited) if limited else frozenset()
        due = (outdated & here) | (limited - self._settled) | moved
        return [uid for uid in due if uid in self._cache]

    def _mark(self, uid: str) -> None:
        self._outdated.add(uid)
        self._settled.discard(uid)
        pod = self._cache.get(uid)
        (self._limited.add if pod is not None and _has_limits(pod) else self._limited.discard)(uid)
        self._wake.set()

    def _forget(self, uid: str) -> None:
        self._limited.discard(uid)
        self._settled.discard(uid)
        self._reports.forget(uid)
        self._grants.clear_overuse(uid)
        if uid in self._locks and not self._locks[uid].locked():
            del self._locks[uid]

    async def _guarded(self, uid: str, *, rewrite: bool) -> None:
        """Reconcile a pod; a defect that it brings to light must not cost the other pods their limits."""
        try:
            await self._reconcile(uid, rewrite=rewrite)
        except Exception as error:
            pod = self._cache.get(uid)
            if pod is not None and self._reports.problem(pod, "limits not reconciled", error):
                logger.error("limits of one pod failed", exc_info=error)

    async def _reconcile(self, uid: str, *, rewrite: bool) -> None:
        """Make the three records of one pod equal. What prevents it is logged, and tried again."""
        async with self._locks.setdefault(uid, asyncio.Lock()):
            self._settled.discard(uid)
            pod = self._cache.get(uid)
            if pod is None:
                return
            refused = False
            try:
                change = changes.pending(pod, self._node.now.labels) if _has_limits(pod) else None
                if change is not None:
                    await self._carry_out(pod, change)
                self._reports.clear(uid)
            except errors.Unavailable as error:
                # The change may be half done: its decreases stay in force.
                self._reports.problem(pod, "limits wait", error)
                return
            except (errors.Denied, errors.Malformed) as error:
                change, refused = None, True
                await self._reports.refuse(pod, str(error), self._changes_so_far(pod))
            pod = self._cache.get(uid) or pod
            if rewrite or change is not None:
                await self._write(pod)
            if _has_limits(pod) and await self._update_held(pod) and not refused and uid not in self._outdated:
                self._settled.add(uid)

    async def _write(self, pod: Pod) -> None:
        try:
            held = changes.held(pod, pod.applied().limits, self._node.now.labels)
        except errors.UnigpuError as error:
            self._reports.problem(pod, "policy not written", error)
            return
        for container, to in held.items():
            try:
                await self._policies.write(pod, container, to)
            except errors.UnigpuError as error:
                self._reports.problem(pod, "policy not written", error)

    async def _carry_out(self, pod: Pod, change: Change) -> None:
        """Raises Denied, Malformed, Unavailable."""
        record = lowering.record(pod.annotations)
        if record is not None:
            problem = await self._policies.exceeds(pod, changes.held(pod, change.wanted, self._node.now.labels))
            if problem:
                raise errors.Denied(f"they were to be lowered to make room for pod {record.purpose}; {problem}")
        reason = changes.refusal(self._node.now, pod, change, self._grants.grants(), self._grants.overuse)
        if reason is not None:
            raise errors.Denied(reason)
        # Entered in the same step as the check: a decision that waits already counts the larger amounts.
        for container, (before, after) in change.containers.items():
            self._grants.amend((pod.uid, container), shares=changes.larger(before, after))
        for container, pair in change.containers.items():
            await self._policies.decrease(pod, container, *pair)
        over = await self._policies.measure(pod, changes.held(pod, change.wanted, self._node.now.labels))
        done = self._changes_so_far(pod)
        if change.containers:
            await self._reports.changed(pod, change, over, done)
        logs.event(logger, "limits changed", pod=pod.title, pod_uid=pod.uid, change=change.text or "none")
        await self._annotate(pod, Applied(change.wanted, over))
        for container in self._grants.of_pod(pod.uid):
            self._grants.amend((pod.uid, container), changes=done + 1)
        for container, (_, after) in change.containers.items():
            self._grants.amend((pod.uid, container), shares=tuple(after.shares))
        if change.containers:
            self._reports.count("changed")

    async def _update_held(self, pod: Pod) -> bool:
        """Keep the annotation equal to what is held beyond the limits, until that memory is free; return whether it
        is."""
        try:
            applied = pod.applied()
            if not applied.limits and not applied.held:
                return True
            over = await self._policies.measure(pod, changes.held(pod, applied.limits, self._node.now.labels))
            if over != applied.held:
                await self._annotate(pod, Applied(applied.limits, over))
        except errors.UnigpuError as error:
            self._reports.problem(pod, "memory held beyond its limit not reported", error)
            return False
        return not over

    async def _annotate(self, pod: Pod, applied: Applied) -> None:
        self._cache.observe(await self._reports.annotate(pod, applied))

    def _changes_so_far(self, pod: Pod) -> int:
        """How many times the pod's limits have changed."""
        return max((stored.grant.changes for stored in self._grants.of_pod(pod.uid).values()), default=0)


def _has_limits(pod: Pod) -> bool:
    return names.ANNOTATION_LIMITS in pod.annotations or names.ANNOTATION_LIMITS_APPLIED in pod.annotations
