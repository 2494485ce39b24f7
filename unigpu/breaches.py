"""Compare what processes really use of a node's GPUs with what was granted: who uses more, and for how long.

`examine` judges one sample, `follow` tells a race at a process's start or end from a finding that lasts. No I/O.
"""

import dataclasses
import enum
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from unigpu.units import BYTES_PER_MIB, Bytes, GpuUuid, MiB, to_bytes

CONFIRM = 1.5
"""Seconds for which a finding must be there, or be gone, in every sample before it counts."""
TOLERANCE = to_bytes(MiB(64))
"""Bytes by which NVML may count more than libvgpu on one GPU, whatever the share."""
TOLERANCE_PERCENT = 2
"""The same, as percent of the share; the larger of the two counts."""
TOLERANCE_PROCESS = to_bytes(MiB(2))
"""Bytes besides for each process: the driver rounds each one's memory up to a page."""
UNCLAIMED = to_bytes(MiB(512))
"""Bytes that may be in use on a GPU without a process that holds them: what the driver takes besides."""
_STEP = 64
"""MiB to which foreign memory is rounded up, so that the node object isn't rewritten for each small allocation."""

ContainerKey = tuple[str, str]
"""Pod UID and container. An empty container stands for all of the pod's containers together."""
Identity = tuple[int, int]
"""Pid and start time of a process, clock ticks since the boot."""


class Kind(enum.StrEnum):
    """What is wrong."""

    MEMORY = "memory"
    """A container uses more memory of a GPU than it was granted."""
    GPU = "gpu"
    """A container uses a GPU that it wasn't granted."""
    UNMANAGED = "unmanaged"
    """A container's process uses a GPU without libvgpu: it holds no lock on the usage file."""
    STRANGER = "stranger"
    """A process outside every container with a grant holds memory."""
    UNCLAIMED = "unclaimed"
    """Memory is in use that no process holds: one has handed it on as a descriptor, and ended."""
    UNENFORCED = "unenforced"
    """As MEMORY, where nothing is enforced: it counts as taken, and nobody is to blame."""


BREACHES = frozenset({Kind.MEMORY, Kind.GPU, Kind.UNMANAGED})


@dataclass(frozen=True, slots=True)
class Process:
    """One process on one GPU."""

    pid: int
    gpu: GpuUuid
    memory: Bytes | None
    """None: the driver doesn't say."""
    pod_uid: str = ""
    """Empty: it runs outside every pod."""
    container: str = ""
    """Empty: in none of the pod's containers, or the container isn't known yet."""
    locked: bool = False
    """Whether it holds a lock on its container's usage file."""
    started: int = 0
    """Start time, clock ticks since the boot: with the pid it names one process."""
    name: str = ""
    """For people."""

    @property
    def identity(self) -> Identity:
        """What tells it from every other process of this boot."""
        return self.pid, self.started


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one container may use."""

    memory: Mapping[GpuUuid, Bytes | None]
    """By GPU; None: all of it."""
    enforced: bool = True
    """False: its memory isn't limited here, by its author's or the node's choice."""
    locks: bool = True
    """Whether its processes' locks were read; False: nothing is known of them."""


@dataclass(frozen=True, slots=True)
class Key:
    """Tells one finding from others."""

    kind: Kind
    gpu: GpuUuid
    pod_uid: str = ""
    container: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong, in one sample."""

    key: Key
    memory: Bytes
    """Memory of the container, or of the strangers, on the GPU."""
    allowed: Bytes = Bytes(0)
    """How much of that was granted."""
    processes: Sequence[Process] = ()
    """Those that are to blame, by pid."""

    @property
    def breach(self) -> bool:
        """Whether a container with a grant is to blame."""
        return self.key.kind in BREACHES


@dataclass(frozen=True, slots=True)
class Lasting:
    """A finding over time. Times are on a monotonic clock."""

    finding: Finding
    """As it was last seen."""
    first: float
    last: float
    confirmed: bool = False
    """Whether it lasted long enough to count."""
    since: str = ""
    """When it was first seen, UTC, for people."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What is known after a sample."""

    findings: Mapping[Key, Lasting] = field(default_factory=dict)
    ceilings: Mapping[ContainerKey, Mapping[GpuUuid, Bytes]] = field(default_factory=dict)
    """Memory that each container may keep: its share, or what it held when its limit was lowered. See `settle`."""

    @property
    def confirmed(self) -> list[Lasting]:
        """The findings that count."""
        return [one for one in self.findings.values() if one.confirmed]


def examine(processes: Iterable[Process], allowances: Mapping[ContainerKey, Allowance]) -> list[Finding]:
    """Return what is wrong in one sample.

    A process whose container has no allowance is judged with its pod's common one, key `(UID, "")`, where its container
    isn't known; else it is a stranger.
    """
    groups: dict[tuple[str, str, GpuUuid], list[Process]] = {}
    strangers: dict[Key, list[Process]] = {}
    for process in processes:
        if (process.pod_uid, process.container) in allowances:
            groups.setdefault((process.pod_uid, process.container, process.gpu), []).append(process)
        else:
            key = Key(Kind.STRANGER, process.gpu, process.pod_uid, process.container)
            strangers.setdefault(key, []).append(process)
    found = [Finding(key, _memory(group), processes=_sorted(group)) for key, group in strangers.items()]
    for (pod_uid, container, gpu), group in groups.items():
        found += _of_container(pod_uid, container, gpu, group, allowances[pod_uid, container])
    return found


def _of_container(
    pod_uid: str, container: str, gpu: GpuUuid, group: list[Process], allowance: Allowance
) -> Iterable[Finding]:
    used = _memory(group)
    if gpu not in allowance.memory:
        yield Finding(Key(Kind.GPU, gpu, pod_uid, container), used, processes=_sorted(group))
        return
    allowed = allowance.memory[gpu]
    unmanaged = [process for process in group if not process.locked] if allowance.locks else []
    if allowed is not None and used > allowed + tolerance(allowed, len(group)):
        kind = Kind.MEMORY if allowance.enforced else Kind.UNENFORCED
        yield Finding(Key(kind, gpu, pod_uid, container), used, allowed, _sorted(unmanaged or group))
    if unmanaged and allowance.enforced:
        yield Finding(Key(Kind.UNMANAGED, gpu, pod_uid, container), used, allowed or used, _sorted(unmanaged))


def beyond_processes(processes: Iterable[Process], used: Mapping[GpuUuid, Bytes]) -> set[GpuUuid]:
    """Return the GPUs on which more is in use than processes hold by UNCLAIMED; none where a process's memory isn't
    known. What containers have charged themselves decides then: see `unclaimed`."""
    held: dict[GpuUuid, int] = {}
    unknown = set()
    for process in processes:
        held[process.gpu] = held.get(process.gpu, 0) + (process.memory or 0) + TOLERANCE_PROCESS
        if process.memory is None:
            unknown.add(process.gpu)
    return {gpu for gpu, amount in used.items() if gpu not in unknown and amount > held.get(gpu, 0) + UNCLAIMED}


def unclaimed(
    gpu: GpuUuid,
    used: Bytes,
    processes: Iterable[Process],
    allowances: Mapping[ContainerKey, Allowance],
    charged: Mapping[ContainerKey, Bytes],
) -> Finding | None:
    """Return that memory of a GPU is in use which neither a process holds nor a container has charged itself.

    NVML counts managed memory to no process, and libvgpu charges it: so each container counts with the larger of the
    two. Its own account it may forge, but for no more than it was granted. On a GPU that is granted whole, all is its
    owner's.
    """
    held: dict[ContainerKey, int] = {}
    for process in processes:
        if process.gpu == gpu:
            owner = process.pod_uid, process.container
            held[owner] = held.get(owner, 0) + (process.memory or 0) + TOLERANCE_PROCESS
    for owner, allowance in allowances.items():
        if gpu in allowance.memory and owner[1]:
            granted = allowance.memory[gpu]
            if granted is None:
                return None
            own = charged.get(owner, Bytes(0))
            held[owner] = max(held.get(owner, 0), min(own, granted) if allowance.enforced else own)
    rest = Bytes(used - sum(held.values()))
    return Finding(Key(Kind.UNCLAIMED, gpu), rest) if rest > UNCLAIMED else None


def tolerance(allowed: Bytes, processes: int) -> Bytes:
    """Return the bytes by which NVML may count more than was granted before that is a breach."""
    return Bytes(max(TOLERANCE, allowed * TOLERANCE_PERCENT // 100) + processes * TOLERANCE_PROCESS)


def settle(
    ceilings: Mapping[ContainerKey, Mapping[GpuUuid, Bytes]],
    allowances: Mapping[ContainerKey, Allowance],
    processes: Iterable[Process],
) -> tuple[dict[ContainerKey, dict[GpuUuid, Bytes]], dict[ContainerKey, Allowance]]:
    """Return the new ceilings, and the allowances with them.

    A program may keep what it held when its limit was lowered, for memory can't be taken from it; what it frees it
    doesn't get back. A container's ceiling is therefore its share, or less than before and no more than it uses.
    """
    used: dict[tuple[str, str, GpuUuid], int] = {}
    for process in processes:
        key = process.pod_uid, process.container, process.gpu
        used[key] = used.get(key, 0) + (process.memory or 0)
    new: dict[ContainerKey, dict[GpuUuid, Bytes]] = {}
    settled: dict[ContainerKey, Allowance] = {}
    for owner, allowance in allowances.items():
        before = ceilings.get(owner, {})
        new[owner] = {
            gpu: Bytes(max(share, min(before.get(gpu, share), used.get((*owner, gpu), 0))))
            for gpu, share in allowance.memory.items()
            if share is not None
        }
        settled[owner] = dataclasses.replace(allowance, memory={**allowance.memory, **new[owner]})
    return new, settled


def follow(
    known: Mapping[Key, Lasting],
    found: Iterable[Finding],
    gpus: Collection[GpuUuid],
    living: Collection[Identity],
    now: float,
    time: str,
) -> tuple[dict[Key, Lasting], list[Lasting], list[Lasting]]:
    """Return the findings after a sample at `now` (`time` for people), those that begin to count, and those that ended.

    `gpus` could be read. Of the others nothing is known, and their findings stay for as long as one of their processes
    is among the `living`: a GPU that is gone for good never shows that its memory was released.
    A finding counts once it was in every sample for CONFIRM seconds, and has ended once it was in none for as long. One
    that wasn't confirmed is forgotten by the first sample without it.
    """
    findings: dict[Key, Lasting] = {}
    began, ended = [], []
    for finding in found:
        before = known.get(finding.key)
        if before is None:
            findings[finding.key] = Lasting(finding, now, now, since=time)
            continue
        confirmed = before.confirmed or now - before.first >= CONFIRM
        lasting = dataclasses.replace(before, finding=finding, last=now, confirmed=confirmed)
        findings[finding.key] = lasting
        if confirmed and not before.confirmed:
            began.append(lasting)
    for key, before in known.items():
        if key in findings:
            continue
        if key.gpu not in gpus and any(one.identity in living for one in before.finding.processes):
            findings[key] = before
        elif not before.confirmed:
            continue
        elif now - before.last >= CONFIRM:
            ended.append(before)
        else:
            findings[key] = before
    return findings, began, ended


def foreign_memory(findings: Iterable[Finding]) -> dict[GpuUuid, MiB]:
    """Return the memory of each GPU that is in use and granted to nobody, rounded up; GPUs without any are absent."""
    taken: dict[GpuUuid, int] = {}
    for finding in findings:
        if finding.key.kind is not Kind.UNMANAGED:
            taken[finding.key.gpu] = taken.get(finding.key.gpu, 0) + max(0, finding.memory - finding.allowed)
    return {gpu: MiB(-(-amount // (_STEP * BYTES_PER_MIB)) * _STEP) for gpu, amount in taken.items() if amount}


def _memory(processes: Iterable[Process]) -> Bytes:
    return Bytes(sum(process.memory or 0 for process in processes))


def _sorted(processes: Iterable[Process]) -> tuple[Process, ...]:
    return tuple(sorted(processes, key=lambda process: process.pid))
