"""Keeps the driver's own memory limits of pods' control groups equal to the grants, where the driver has such limits.

A pod's group gets its limit before a container of it starts; containers' groups, and changed limits, follow within a
second. Nothing depends on it: what fails here is said and tried again, and libvgpu's limits hold.
`unigpu.driver_limits` decides.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence

from deviceplugin.allocation import grant_totals
from deviceplugin.allocation.grant_ledger import GrantLedger
from deviceplugin.node.control_groups import ControlGroups
from deviceplugin.node.driver import Driver
from deviceplugin.node.limit_caller import Call, LimitCaller
from deviceplugin.node.node_state import NodeState
from deviceplugin.pod_cache import PodCache
from unigpu import driver_limits, errors, logs
from unigpu.driver_limits import Amounts, Hard, PodGroup, PodShares, Step
from unigpu.units import Bytes, GpuUuid, to_bytes
from unigpu_service import ticks

logger = logging.getLogger(__name__)

_INTERVAL = 0.5
"""Seconds between two comparisons: half of what a changed limit may take."""
_INTERVAL_NONE = 5.0
"""The same, where the driver has no limits: seconds until another driver is noticed."""
_PREPARE = 2.0
"""Seconds for which a container's start waits for its pod's limit."""
_DEADLINE = 5.0
_READ_AGAIN = 30.0
"""Seconds between two readings of the limits themselves: another program may have changed them."""
_ASK_AGAIN = 30.0
"""Seconds after which a driver is asked again whether it has such limits: an administrator may have set MIG mode."""
_ASK_AGAIN_NONE = 300.0
"""The same, where it has none: each time costs a process, and another driver is noticed anyway."""
_NO_GROUPS = "the node's control groups are of version 1; the driver's memory limits need version 2"
_UNSEEN = "the node agent doesn't see the node's control groups: it has no --cgroup-root"
_NOT_ASKED = "the driver hasn't been asked yet"


class DriverWall:
    """The second wall of one node."""

    def __init__(
        self,
        groups: ControlGroups | None,
        why_not: str,
        parts: Driver,
        node: NodeState,
        grants: GrantLedger,
        cache: PodCache,
        changed: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`groups` is None where there are none that the driver could limit, for the reason `why_not`.

        `changed` is called when `missing` has changed.
        """
        self.missing = _NOT_ASKED if groups is not None else why_not
        """Why the node lacks this wall; empty: it has it, on every GPU."""
        self._groups = groups
        self._driver = parts
        self._node = node
        self._grants = grants
        self._cache = cache
        self._changed = changed
        self._clock = clock
        self._calls = LimitCaller(parts, _DEADLINE)
        self._lock = asyncio.Lock()
        self._able: frozenset[GpuUuid] = frozenset()
        """GPUs whose driver has limits."""
        self._asked: tuple[str, frozenset[GpuUuid]] | None = None
        """Of which life of the driver, and of which GPUs, `_able` says so."""
        self._asked_at = self._read_at = float("-inf")
        self._in_force: dict[str, Hard] = {}
        self._settled: tuple[object, ...] = ()
        """Of what the limits were made that are in force, all of them."""
        self._problem = ""

    async def run(self) -> None:
        """Compare and set. Never returns; ends the process with the NVML session when it is cancelled."""
        if self._groups is None:
            self._tell()
        try:
            while True:
                await self._compare()
                known_to_lack = self._groups is None or (self._asked is not None and not self._able)
                await ticks.tick(_INTERVAL_NONE if known_to_lack else _INTERVAL)
        finally:
            await self._calls.close()

    async def prepare(self) -> None:
        """Set the limits of all pods before a container starts, unless that takes too long."""
        if self._groups is None or (self._asked is not None and not self._able):
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PREPARE):
                await self._compare()

    async def _compare(self) -> None:
        if self._groups is None:
            return
        async with self._lock:
            try:
                await self._ask(self._groups)
                if self._able:
                    await self._set(self._groups)
                    self._said("")
            except errors.Unavailable as error:
                self._said(str(error))

    async def _ask(self, groups: ControlGroups) -> None:
        """Find out which GPUs have limits. Raises Unavailable."""
        gpus = frozenset(gpu.uuid for gpu in self._node.now.gpus.values() if gpu.healthy)
        now, subject = self._clock(), (self._driver.instance(), gpus)
        patience = _ASK_AGAIN if self._able else _ASK_AGAIN_NONE
        if not gpus or (subject == self._asked and now - self._asked_at < patience):
            return
        if self._asked is not None and self._asked[0] != subject[0]:
            await self._calls.close()  # its session belongs to a driver that is gone
        ordered = sorted(gpus)
        why = await self._calls.carry_out([("ask", gpu, str(groups.root)) for gpu in ordered])
        if None in why:
            raise errors.Unavailable("NVML doesn't say whether a GPU has memory limits for control groups")
        reasons = {gpu: str(reason) for gpu, reason in zip(ordered, why, strict=True) if reason}
        self._able = gpus - reasons.keys()
        self._asked, self._asked_at, self._read_at = subject, now, float("-inf")
        if not self._able:
            await self._calls.close()
        self._found(_summary(reasons, len(gpus)))

    async def _set(self, groups: ControlGroups) -> None:
        """Raises Unavailable."""
        there = await asyncio.to_thread(groups.read)
        made_of = there, self._grants.version, self._cache.version, self._node.now
        again = not self._calls.running or self._clock() - self._read_at >= _READ_AGAIN
        if not again and made_of == self._settled:
            return
        present = [folder for group in there for folder in (group.folder, *group.containers.values())]
        if again:
            self._in_force = await self._read(present)
            self._read_at = self._clock()
        wanted = driver_limits.wanted(there, self._shares(there), self._totals())
        steps = list(driver_limits.steps(wanted, self._in_force, frozenset(present)))
        outcomes = await self._calls.carry_out([("set", step.gpu, step.folder, step.hard) for step in steps])
        done = [step for step, problem in zip(steps, outcomes, strict=True) if not problem]
        self._in_force = driver_limits.after(self._in_force, done, frozenset(present))
        self._log(done)
        problems = [str(problem) for problem in outcomes if problem]
        self._settled = () if problems else made_of
        if problems:
            await self._recheck(groups, steps, outcomes)

    async def _recheck(self, groups: ControlGroups, steps: Sequence[Step], outcomes: Sequence[object]) -> None:
        """Raise Unavailable where a limit couldn't be set for a group that is still there."""
        there = await asyncio.to_thread(groups.read)
        present = {folder for group in there for folder in (group.folder, *group.containers.values())}
        for step, problem in zip(steps, outcomes, strict=True):
            if problem and step.folder in present:
                self._asked = None
                raise errors.Unavailable(f"the driver refuses a memory limit of {step.folder}: {problem}")

    async def _read(self, folders: Sequence[str]) -> dict[str, Hard]:
        asked = [(folder, gpu) for folder in folders for gpu in sorted(self._able)]
        calls: list[Call] = [("read", gpu, folder) for folder, gpu in asked]
        found: dict[str, dict[GpuUuid, Bytes]] = {}
        for (folder, gpu), hard in zip(asked, await self._calls.carry_out(calls), strict=True):
            if isinstance(hard, int):
                found.setdefault(folder, {})[gpu] = Bytes(hard)
        return dict(found)

    def _totals(self) -> dict[GpuUuid, Bytes]:
        known = self._node.now.gpus
        return {uuid: to_bytes(known[uuid].memory) for uuid in self._able if uuid in known}

    def _shares(self, groups: Sequence[PodGroup]) -> Mapping[str, PodShares]:
        labels = self._node.now.labels
        found = {}
        for uid in {group.uid for group in groups} & self._grants.pod_uids():
            grants = {name: stored.grant for name, stored in self._grants.of_pod(uid).items()}
            containers: dict[str, Amounts] = {
                name: grant_totals.enforced_memory(grant, labels) for name, grant in grants.items()
            }
            free = {gpu for amounts in containers.values() for gpu, amount in amounts.items() if amount is None}
            usage = grant_totals.by_pod(grants.values()).get(uid, {})
            together = {gpu: None if gpu in free else to_bytes(use.memory) for gpu, use in usage.items()}
            pod = self._cache.get(uid)
            found[uid] = PodShares(containers, together, pod.ids if pod is not None else {})
        return found

    def _found(self, missing: str) -> None:
        if missing != self.missing:
            self.missing = missing
            self._tell()
            self._changed()

    def _tell(self) -> None:
        logs.event(logger, "driver's memory limits", present=not self.missing, reason=self.missing or "none")

    def _said(self, problem: str) -> None:
        if problem and problem != self._problem:
            logs.event(logger, "driver's memory limits not set", logging.ERROR, reason=problem)
        self._problem = problem

    def _log(self, done: Sequence[Step]) -> None:
        for step in done:
            limit = "none" if step.hard is None else step.hard
            logs.event(logger, "driver's memory limit set", logging.DEBUG, group=step.folder, gpu=step.gpu, bytes=limit)


def why_not(root: object) -> str:
    """Return why a node agent without control groups has none: it wasn't told where, or they are too old."""
    return _UNSEEN if root is None else _NO_GROUPS


def _summary(reasons: Mapping[GpuUuid, str], gpus: int) -> str:
    """Why the node lacks limits, a sentence for each reason, with the GPUs unless it holds for all of them."""
    by_reason: dict[str, list[GpuUuid]] = {}
    for gpu, reason in sorted(reasons.items()):
        by_reason.setdefault(reason, []).append(gpu)
    return "; ".join(
        reason if len(which) == gpus else f"{', '.join(which)}: {reason}" for reason, which in by_reason.items()
    )
