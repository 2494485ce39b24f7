"""Compares what processes really use of the GPUs with what was granted, at each of the probe's samples.

NVML names processes by their pid on the host. /proc says in which pod and container each runs, the pod's status which
container has that ID, the grants what it may use, and the locks on its usage file which processes have libvgpu loaded.
`unigpu.breaches` judges.
"""

import asyncio
import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

from deviceplugin.allocation import grant_totals
from deviceplugin.allocation.grant_ledger import GrantLedger
from deviceplugin.node.incident_reports import IncidentReports
from deviceplugin.node.inventory import Processes
from deviceplugin.node.node_state import NodeState
from deviceplugin.node.offenders import Offenders
from deviceplugin.node.process_table import ProcessInfo, ProcessTable
from deviceplugin.pod_cache import PodCache
from deviceplugin.store.container_store import ContainerStore
from unigpu import breaches, grants
from unigpu.breaches import Allowance, Finding, Identity, Lasting, Process, Watched
from unigpu.grants import Grant
from unigpu.node_report import Entry
from unigpu.units import Bytes, GpuUuid, MiB, to_bytes
from unigpu_kube.objects import Ref
from unigpu_node import locks, usage_file
from unigpu_node.containers import Key, StoredGrant


class GrantWatch:
    """The agent's eyes."""

    def __init__(
        self,
        table: ProcessTable,
        node: NodeState,
        grants: GrantLedger,
        cache: PodCache,
        containers: ContainerStore,
        reports: IncidentReports,
        changed: Callable[[], None],
    ) -> None:
        """`changed` is called when foreign memory or the findings have changed."""
        self._table = table
        self._node = node
        self._grants = grants
        self._cache = cache
        self._containers = containers
        self._reports = reports
        self._changed = changed
        self._watched = Watched()
        self._known: frozenset[Key] = frozenset()
        self._examined: tuple[object, ...] = ()
        """What the last examination was made of, but for locks and processes' ends."""
        self._skipped = False
        self.offenders: Offenders | None = None
        """Ends the processes of a breach that lasts; None: they are only reported."""

    @property
    def foreign(self) -> dict[GpuUuid, MiB]:
        """Memory of each GPU that is in use and granted to nobody."""
        return breaches.foreign_memory(one.finding for one in self._watched.confirmed)

    @property
    def entries(self) -> list[Entry]:
        """The findings that count, for the exporter."""
        return [self._entry(one) for one in self._watched.confirmed]

    def restore(self, earlier: Iterable[Entry]) -> None:
        """Go on with an earlier agent's findings: what was said of them isn't said again."""
        now = time.monotonic()
        findings = {}
        for entry in earlier:
            key = entry.key
            processes = [
                Process(pid, key.gpu, None, key.pod_uid, key.container, started=started)
                for pid, started in entry.processes
            ]
            finding = Finding(key, entry.memory, entry.allowed, processes)
            findings[key] = Lasting(finding, now, now, True, entry.since)
            self._reports.keep(Ref(entry.namespace, entry.pod, key.pod_uid))
        self._watched = Watched(findings)

    async def observe(self, sample: Processes) -> None:
        """Judge one sample of the processes on the GPUs."""
        if self._same(sample):
            return
        pids = {one.pid for listed in sample.listed.values() for one in listed}
        findings = [lasting.finding for lasting in self._watched.findings.values()]
        pids |= {one.pid for finding in findings if finding.key.gpu not in sample.listed for one in finding.processes}
        infos = await asyncio.to_thread(self._table.read, pids)
        owners = {pid: self._owner(info) for pid, info in infos.items()}
        stored = dict(self._grants.items())
        new = [key for key in stored if key not in self._known and stored[key].grant.changes]
        locked, held = await asyncio.to_thread(self._read_files, set(owners.values()) & stored.keys(), new)
        processes = [
            Process(
                one.pid,
                gpu,
                one.memory,
                *owners[one.pid],
                one.pid in (locked.get(owners[one.pid]) or ()),
                infos[one.pid].started,
                infos[one.pid].name,
            )
            for gpu, listed in sample.listed.items()
            for one in listed
            if one.pid in infos
        ]
        self._known = frozenset(stored)
        allowances = self._allowances({key: one.grant for key, one in stored.items()}, locked)
        living = {info.identity for info in infos.values()}
        # Those that have just ended may hold memory for a moment yet.
        ended = [
            Process(one.pid, gpu, one.memory)
            for gpu, listed in sample.listed.items()
            for one in listed
            if one.pid not in infos
        ]
        unclaimed = await self._unclaimed(sample, [*processes, *ended], allowances, stored)
        self._judge(processes, allowances, held, set(sample.listed), living, unclaimed)
        if self.offenders is not None:
            self.offenders.forget(living)

    def _same(self, sample: Processes) -> bool:
        """Return whether an examination can only find what the last one found, which was nothing.

        A process may have ended and another have its pid, one may have given up its lock, or a container may have
        charged itself less. So of two samples in a row that are the same one is always examined, unless nobody uses a
        GPU.
        """
        now = sample, self._grants.version, self._cache.version, self._node.now
        used = any(sample.listed.values()) or breaches.beyond_processes((), sample.used)
        if now != self._examined or self._watched.findings or (self._skipped and used):
            self._examined, self._skipped = now, False
            return False
        self._skipped = True
        return True

    async def _unclaimed(
        self,
        sample: Processes,
        processes: Sequence[Process],
        allowances: Mapping[Key, Allowance],
        stored: Mapping[Key, StoredGrant],
    ) -> list[Finding]:
        """What no process holds and no container has charged itself. Files are read only where something seems so.

        A GPU with a fault isn't judged: in MIG mode, for one, its processes aren't those of its instances.
        """
        kept = {key: _at_least(one, self._grants.overuse.get(key, {})) for key, one in allowances.items()}
        sound = {gpu: used for gpu, used in sample.used.items() if gpu in sample.listed and self._sound(gpu)}
        found = []
        for gpu in sorted(breaches.beyond_processes(processes, sound)):
            places = {
                key: (place, len(one.grant.shares))
                for key, one in stored.items()
                for place, share in enumerate(one.grant.shares)
                if share.gpu == gpu
            }
            charged = await asyncio.to_thread(self._charged, places)
            finding = breaches.unclaimed(gpu, sound[gpu], processes, kept, charged)
            if finding is not None:
                found.append(finding)
        return found

    def _sound(self, gpu: GpuUuid) -> bool:
        known = self._node.now.gpus.get(gpu)
        return known is not None and known.fault is None

    def _charged(self, places: Mapping[Key, tuple[int, int]]) -> dict[Key, Bytes]:
        """What each container has charged itself for the GPU that is at this place among so many of its own."""
        return {key: to_bytes(self._containers.used(*key, gpus)[place]) for key, (place, gpus) in places.items()}

    def container_of(self, info: ProcessInfo) -> Key | None:
        """Return the container with a grant in which a process runs, by the container's ID; None: not known."""
        if info.place is None:
            return None
        pod = self._cache.get(info.place.pod_uid)
        name = pod.ids.get(info.place.container_id) if pod is not None else None
        return (info.place.pod_uid, name) if name and (info.place.pod_uid, name) in self._grants else None

    def _owner(self, info: ProcessInfo) -> Key:
        """Pod UID and container of a process. Both are empty outside every pod.

        The pod's status shows a container's ID seconds after it starts, or never while the API server is away. Until
        then the process counts as one of the pod's only container with a grant, or of all those that have one.
        """
        if info.place is None:
            return "", ""
        uid = info.place.pod_uid
        pod = self._cache.get(uid)
        name = pod.ids.get(info.place.container_id) if pod is not None else None
        if name is not None:
            return uid, name
        granted = self._grants.of_pod(uid)
        return uid, next(iter(granted)) if len(granted) == 1 else ""

    def _read_files(
        self, used: Iterable[Key], new: Iterable[Key]
    ) -> tuple[dict[Key, frozenset[int] | None], dict[Key, Mapping[GpuUuid, MiB]]]:
        """Who holds locks on these usage files (None: unknown), and what `new` containers hold beyond their shares."""
        locked = {key: self._holders(key) for key in used}
        held: dict[Key, Mapping[GpuUuid, MiB]] = {}
        for key in new:
            found = self._grants.get(key)
            if found is not None:
                held[key] = self._containers.beyond(*key, found.grant.shares)
        return locked, held

    def _holders(self, key: Key) -> frozenset[int] | None:
        try:
            descriptor = usage_file.open_for_reading(self._containers.of(*key) / grants.USAGE_FILE)
        except BlockingIOError:
            return frozenset()  # a lease of the container's own keeps readers out
        except OSError:
            return None  # not there: the grant is being released
        try:
            return locks.holders(descriptor)
        except OSError:
            return None
        finally:
            os.close(descriptor)

    def _allowances(
        self, granted: Mapping[Key, Grant], locked: Mapping[Key, frozenset[int] | None]
    ) -> dict[Key, Allowance]:
        labels = self._node.now.labels
        found: dict[Key, Allowance] = {}
        of_pod: dict[str, list[Allowance]] = {}
        for key, grant in granted.items():
            enforced = grant_totals.is_enforced(grant, labels)
            found[key] = Allowance(grant_totals.granted_memory(grant), enforced, locked.get(key) is not None)
            of_pod.setdefault(key[0], []).append(found[key])
        for uid, several in of_pod.items():
            if len(several) > 1:
                found[uid, ""] = _together(several)
        return found

    def _judge(
        self,
        processes: Sequence[Process],
        allowances: Mapping[Key, Allowance],
        held: Mapping[Key, Mapping[GpuUuid, MiB]],
        gpus: set[GpuUuid],
        living: set[Identity],
        unclaimed: Sequence[Finding],
    ) -> None:
        before = dict(self._watched.ceilings)
        before |= {key: {gpu: to_bytes(memory) for gpu, memory in used.items()} for key, used in held.items()}
        ceilings, settled = breaches.settle(before, allowances, processes)
        found = [*breaches.examine(processes, settled), *unclaimed]
        now = time.monotonic()
        shown = self.entries
        findings, began, ended = breaches.follow(self._watched.findings, found, gpus, living, now, _utc())
        self._watched = Watched(findings, ceilings)
        self._reports.keep_only({key.pod_uid for key in findings} | {one.finding.key.pod_uid for one in ended})
        for lasting in began:
            self._reports.began(lasting)
        for lasting in ended:
            self._reports.ended(lasting)
        if self.entries != shown:
            self._changed()
        if self.offenders is None:
            return
        for lasting in self._watched.confirmed:
            if self.offenders.due(lasting, now) and (victims := self.offenders.end(lasting)):
                self._reports.killed(lasting, victims)

    def _entry(self, lasting: Lasting) -> Entry:
        finding = lasting.finding
        pod = self._reports.pod(finding.key.pod_uid) if finding.key.pod_uid else None
        return Entry(
            finding.key,
            finding.memory,
            finding.allowed,
            lasting.since,
            pod.namespace if pod is not None else "",
            pod.name if pod is not None else "",
            tuple(one.identity for one in finding.processes),
        )


def _at_least(allowance: Allowance, held: Mapping[GpuUuid, MiB]) -> Allowance:
    """The allowance with what programs held when their limit was lowered, and hold still."""
    if not held:
        return allowance
    memory = {
        gpu: None if amount is None else Bytes(max(amount, to_bytes(held.get(gpu, MiB(0)))))
        for gpu, amount in allowance.memory.items()
    }
    return dataclasses.replace(allowance, memory=memory)


def _together(several: Sequence[Allowance]) -> Allowance:
    """What containers may use together. Whose process it is isn't known, so locks say nothing."""
    memory: dict[GpuUuid, Bytes | None] = {}
    for allowance in several:
        for gpu, amount in allowance.memory.items():
            before = memory.get(gpu, Bytes(0))
            memory[gpu] = None if before is None or amount is None else Bytes(before + amount)
    return dataclasses.replace(several[0], memory=memory, enforced=all(one.enforced for one in several), locks=False)


def _utc() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
