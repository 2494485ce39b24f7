"""Tells a pod's people what happens to its GPUs, by events on the pod and on its controller.

`GpuAssigned` names the GPUs, `GpuMemoryRefused` comes at the first refusal and then at most every ten minutes, and
`LimitsEnded` says that limits ended with the pod on which they were set.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from deviceplugin.allocation.allocate import Decision
from deviceplugin.allocation.grant_ledger import GrantLedger
from deviceplugin.node import pod_words
from deviceplugin.node.incident_reports import IncidentReports
from deviceplugin.node.node_state import NodeState
from deviceplugin.pod_cache import PodCache
from deviceplugin.pods import Pod
from deviceplugin.store import usage_heads
from deviceplugin.store.container_store import ContainerStore
from deviceplugin.store.usage_heads import UsageHeads
from unigpu import errors, grants, names, usage
from unigpu_kube import events
from unigpu_kube.events import Severity
from unigpu_kube.objects import Ref
from unigpu_node import usage_file
from unigpu_node.containers import Key
from unigpu_service import ticks

PACE, MAX_PACE = 1.0, 5.0
"""Seconds between two readings of what was refused, at least and at most."""
MAX_CORE_SHARE = 0.003
"""Part of a core that the readings may take before they become rarer."""
QUIET = 600.0
"""Seconds after an event about a container's refusals in which there is no other."""


def pause(spent: float) -> float:
    """Return the seconds until the next reading, after one that took `spent` seconds of a core."""
    return min(MAX_PACE, max(PACE, spent / MAX_CORE_SHARE))


def _refused(gpus: int) -> usage_heads.Part:
    """Return the part of a usage file's header that has the counters of refusals."""
    first = usage.TOTALS_OFFSET + usage.REFUSED_OFFSET
    return first, first + (gpus - 1) * usage.TOTAL_SIZE + usage.REFUSED_SIZE


class PodEvents:
    """Watches what is worth an event on a pod."""

    def __init__(
        self,
        reports: IncidentReports,
        cache: PodCache,
        grants: GrantLedger,
        node: NodeState,
        containers: ContainerStore,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reports, self._cache, self._grants, self._node = reports, cache, grants, node
        self._containers, self._clock = containers, clock
        self._refused: dict[Key, Sequence[int]] = {}
        """By container: the counters of refusals that were last read, by GPU."""
        self._told: dict[Key, float] = {}
        """By container: when its refusals were last an event."""
        self._heads = UsageHeads(_refused)
        self._folders: Mapping[Key, tuple[Path, int]] = {}
        """By container: its folder, and its number of GPUs."""
        self._version = -1
        """Of the grants that `_folders` was made of."""
        self._limited: dict[str, Pod] = {}
        """By UID: pods with limits of their own."""
        cache.subscribe(self._observe, self._gone)

    def assigned(self, decision: Decision) -> None:
        """Name the GPUs of a container that starts now."""
        grant = decision.grant
        text = pod_words.assigned(grant, decision.policy, self._node.now.gpus)
        identity = (grant.container, *(f"{share.gpu}/{share.memory}/{share.cores}" for share in grant.shares))
        self._reports.about_pod(grant.pod_uid, names.EVENT_GPU_ASSIGNED, text, Severity.NORMAL, *identity)

    def files_written(self) -> None:
        """Take in that the agent has written containers' files: they may be others now."""
        self._heads.check()

    def cut_back(self, grant: grants.Grant, amount: int) -> None:
        """Say that a container's usage file took more of the disk than it may."""
        text = pod_words.cut_back(grant.container, amount)
        identity = (grant.container, str(int(time.time())))
        self._reports.about_pod(grant.pod_uid, names.EVENT_USAGE_FILE_CUT, text, Severity.WARNING, *identity)

    async def run(self) -> None:
        """Watch for refusals. Never returns."""
        spent = 0.0
        try:
            while True:
                await ticks.tick(pause(spent))
                if self._version != self._grants.version:
                    self._version = self._grants.version
                    self._folders = {
                        key: (self._containers.of(*key), len(stored.grant.shares))
                        for key, stored in self._grants.items()
                    }
                    self._refused = {key: counts for key, counts in self._refused.items() if key in self._folders}
                    self._told = {key: told for key, told in self._told.items() if key in self._folders}
                changed, spent = self._changed(opening=False)
                if changed is None or changed:
                    # One hop to a thread for all containers: a hop takes several times as long as a reading.
                    found, reading = await asyncio.to_thread(self._read_all, changed)
                    spent += reading
                    for key, totals in found.items():
                        stored = self._grants.get(key)
                        if stored is not None:
                            self._compare(key, stored.grant, totals)
                await self._grants.filled()
        finally:
            self._heads.close()

    def _changed(self, *, opening: bool) -> tuple[list[Key] | None, float]:
        """Return the containers whose counters may have changed, and the seconds of a core that it took to find out.

        `opening`: whether files may be opened for it. None: they must be.
        """
        began, now = time.thread_time(), time.monotonic_ns()
        if not opening and not self._heads.settled(self._folders, now):
            return None, 0.0
        return list(self._heads.changed(self._folders, now)), time.thread_time() - began

    def _read_all(self, changed: Sequence[Key] | None) -> tuple[dict[Key, Sequence[usage.GpuTotals]], float]:
        """Return the totals of these containers that can be read, and the seconds of a core that it took; None: of
        those that have changed."""
        began = time.thread_time()
        if changed is None:
            changed = self._changed(opening=True)[0] or ()
        read = ((key, self._read(key, self._folders[key][1])) for key in changed)
        found = {key: counts for key, counts in read if counts is not None}
        return found, time.thread_time() - began

    def _read(self, key: Key, gpus: int) -> Sequence[usage.GpuTotals] | None:
        """The counters of a container's usage file; None where it can't be read, or says what can't be."""
        with contextlib.suppress(OSError, errors.Malformed):
            descriptor = usage_file.open_for_reading(self._containers.of(*key) / grants.USAGE_FILE)
            try:
                return usage.headers(os.pread(descriptor, usage.SLOTS_OFFSET, 0), gpus)
            finally:
                os.close(descriptor)
        return None

    def _compare(self, key: Key, grant: grants.Grant, found: Sequence[usage.GpuTotals]) -> None:
        counts = [one.refused for one in found]
        before = self._refused.get(key)
        self._refused[key] = counts
        grown = pod_words.newly_refused(before, counts)
        now = self._clock()
        if not grown or now - self._told.get(key, -QUIET) < QUIET:
            return
        # An agent that has just started doesn't know what was written: the first event has the same name again.
        first = before is None or not any(before)
        self._told[key] = now
        text = pod_words.refused(grant, grown[0], found[grown[0]].used, self._node.now.gpus)
        identity = (grant.container, "first" if first else str(sum(counts)))
        self._reports.about_pod(grant.pod_uid, names.EVENT_MEMORY_REFUSED, text, Severity.WARNING, *identity)

    def _observe(self, uid: str) -> None:
        pod = self._cache.get(uid)
        if pod is not None and pod.annotations.get(names.ANNOTATION_LIMITS, "").strip():
            self._limited[uid] = pod
        else:
            self._limited.pop(uid, None)

    def _gone(self, uid: str) -> None:
        """Say that the pod's limits ended with it, where nobody has taken them away before."""
        pod = self._limited.pop(uid, None)
        if pod is None:
            return
        try:
            request = pod.request()
            wanted = pod.wanted(request)
        except errors.UnigpuError:
            return
        about = Ref(pod.namespace, pod.name, pod.uid)
        reason, identity = names.EVENT_LIMITS_ENDED, (uid,)
        owner = pod.owner
        text = pod_words.ended(pod.name, wanted, request, owner.title if owner is not None else "")
        self._reports.event(about, events.Kind.POD, reason, text, Severity.NORMAL, identity)
        if owner is not None:
            whose = Ref(pod.namespace, owner.name, owner.uid)
            self._reports.event(whose, owner.kind, reason, text, Severity.NORMAL, identity, owner.api_version)
