"""Which GPUs are healthy, and why not: rules without I/O.

XIDs are the driver's error numbers, listed at https://docs.nvidia.com/deploy/xid-errors/. Some are caused by programs,
some pass, and some leave the GPU unusable until it was reset. A GPU is known by its UUID only: NVML's indexes move when
a GPU falls off the bus and NVML is initialized again.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from unigpu.gpus import Fault, Gpu
from unigpu.telemetry import GpuTelemetry
from unigpu.units import GpuUuid

XIDS_OF_PROGRAMS = frozenset({13, 31, 43, 45, 68, 109})
"""XIDs that a faulty program causes; the GPU is healthy."""
XIDS_UNTIL_RESET = frozenset({48, 64, 79, 95, 119, 120, 140, 143, 154})
"""XIDs after which a GPU is healthy only once it was reset, the driver was loaded again, or the node booted."""
NO_RECOVERY = 0
"""NVML's recovery action of a GPU that needs none."""
_RECOVERY = {
    1: "a reset of the GPU",
    2: "a reboot of the node",
    3: "draining the peer-to-peer traffic of the GPU",
    4: "draining and resetting the GPU",
    5: "recovery of the IMEX domain",
    6: "a reset of the GPU's bus",
    7: "a reboot of the system",
}
"""NVML_GPU_RECOVERY_ACTION_*, from R570 on."""
_MIG = "the GPU is in MIG mode, in which unigpu doesn't share it; accepted: MIG mode off (nvidia-smi -mig 0)"
_COMPUTE_MODES = {
    1: "compute mode Exclusive_Thread lets one thread use the GPU; accepted: Default (nvidia-smi -c 0)",
    2: "compute mode Prohibited lets no program use the GPU; accepted: Default (nvidia-smi -c 0)",
    3: "compute mode Exclusive_Process lets one process use the GPU; accepted: Default (nvidia-smi -c 0)",
}
"""NVML_COMPUTEMODE_*, but for the default, 0."""
_ROWS_FAILED = "a broken row of the GPU's memory couldn't be replaced by a spare one; accepted: another GPU"
_UNCORRECTED = "memory errors since the GPU's last reset that ECC couldn't correct"
_UNLISTED = "the driver no longer lists the GPU"


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One GPU in one sample."""

    gpu: Gpu | None
    """None: it can't be read."""
    problem: str = ""
    uuid: GpuUuid | None = None
    """Of a GPU that can't be read, where the NVML session could read it earlier."""
    recovery: int | None = None
    """NVML's recovery action; None where the driver has none."""
    mig: bool = False
    """Whether the GPU is in MIG mode."""
    compute_mode: int = 0
    """NVML's compute mode."""
    rows_failed: bool = False
    """Whether a broken row of memory couldn't be replaced by a spare one."""
    ecc_uncorrected: int = 0
    """Errors since the last reset that ECC couldn't correct, of a GPU that can't replace rows."""
    telemetry: GpuTelemetry | None = None
    """Load and sensors of a GPU that can be read."""


@dataclass(frozen=True, slots=True)
class Sample:
    """All GPUs, read once."""

    readings: Sequence[GpuReading] = ()
    xids: Mapping[GpuUuid, Sequence[int]] = field(default_factory=dict)
    """XIDs that each GPU reported since the sample before, in their order."""
    session: str = ""
    """Tells the NVML session from others. A GPU can't be reset while a session is open."""


@dataclass(frozen=True, slots=True)
class Moment:
    """When, and in which life of the driver, a sample was taken."""

    seconds: float
    """On a monotonic clock."""
    time: str
    """The same, UTC, for people."""
    epoch: str
    """Differs after a boot of the node, and after the driver was loaded again."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """What is known of the GPUs. Each unhealthy one has a fault that says why, and since when."""

    gpus: Sequence[Gpu] = ()
    """By index."""
    xid_at: Mapping[GpuUuid, float] = field(default_factory=dict)
    """When a GPU last reported a critical XID that passes, on the monotonic clock."""
    sessions: Mapping[GpuUuid, str] = field(default_factory=dict)
    """NVML session in which a GPU reported an XID that needs a reset, while that session can't show a reset."""
    epoch: str = ""
    """Of the last sample; empty before the first."""

    @property
    def faults(self) -> dict[GpuUuid, str]:
        """Why each unhealthy GPU is unhealthy."""
        return {gpu.uuid: gpu.fault.reason for gpu in self.gpus if gpu.fault is not None}


def after(known: Inventory, sample: Sample, at: Moment, quiet: float, unusable: str = "") -> Inventory:
    """Return what is known after a sample. `unusable`: why no GPU of the node can be used; empty: they can.

    A GPU that can't be read keeps its identity, and is unhealthy until it answers. One that reported a critical XID is
    unhealthy until it answers and has reported none for `quiet` seconds; where the XID needs a reset, until `at.epoch`
    changes or NVML shows that the GPU was reset. One that the driver no longer lists is unhealthy until the epoch
    changes, and then gone.
    """
    unlisted = [gpu for gpu in known.gpus if gpu.uuid not in {r.gpu.uuid for r in sample.readings if r.gpu is not None}]
    problems = _assign([reading for reading in sample.readings if reading.gpu is None], unlisted)
    if known.epoch == at.epoch:
        problems = {gpu.uuid: _UNLISTED for gpu in unlisted} | problems
    unfit = {r.gpu.uuid: why for r in sample.readings if r.gpu is not None and (why := _unfit(r) or unusable)}
    listed = [reading.gpu for reading in sample.readings if reading.gpu is not None]
    recovery = {r.gpu.uuid: r.recovery for r in sample.readings if r.gpu is not None}
    gpus = [*listed, *(gpu for gpu in unlisted if gpu.uuid in problems)]
    before = {gpu.uuid: gpu.fault for gpu in known.gpus}

    xid_at = {uuid: since for uuid, since in known.xid_at.items() if at.seconds - since < quiet}
    sessions = dict(known.sessions)
    found = []
    for gpu in gpus:
        uuid = gpu.uuid
        critical = [xid for xid in sample.xids.get(uuid, ()) if xid not in XIDS_OF_PROGRAMS]
        fatal = [xid for xid in critical if xid in XIDS_UNTIL_RESET]
        passing = [xid for xid in critical if xid not in XIDS_UNTIL_RESET]
        action = recovery.get(uuid)
        old = before.get(uuid)
        if fatal:
            sessions[uuid] = sample.session
        if passing:
            xid_at[uuid] = at.seconds
        if action is not None and action != NO_RECOVERY:
            sessions.pop(uuid, None)
        was_reset = action == NO_RECOVERY and sessions.get(uuid) != sample.session
        reason, epoch = "", ""
        if fatal:
            reason, epoch = f"XID {fatal[-1]}, which needs a reset of the GPU", at.epoch
        elif old is not None and old.epoch == at.epoch and not was_reset:
            reason, epoch = old.reason, old.epoch
        elif uuid in problems:
            reason = problems[uuid]
        elif uuid in unfit:
            reason = unfit[uuid]
        elif action is not None and action != NO_RECOVERY:
            reason = f"the driver asks for {_RECOVERY.get(action, f'recovery action {action}')}"
        elif uuid in xid_at:
            reason = f"XID {passing[-1]}" if passing else old.reason if old is not None else "XID"
        else:
            sessions.pop(uuid, None)
        found.append(_with_fault(gpu, reason, epoch, at.time, old))
    return Inventory(tuple(sorted(found, key=lambda gpu: gpu.index)), xid_at, sessions, at.epoch)


def lost(known: Inventory, problem: str, time: str) -> Inventory:
    """Return what is known when the driver doesn't answer at all: the same GPUs, all of them unhealthy."""
    gpus = tuple(
        gpu if gpu.fault is not None and gpu.fault.epoch else _with_fault(gpu, problem, "", time, gpu.fault)
        for gpu in known.gpus
    )
    return dataclasses.replace(known, gpus=gpus)


def _unfit(reading: GpuReading) -> str:
    """Why a GPU that answers can't be shared; empty: it can."""
    if reading.rows_failed:
        return _ROWS_FAILED
    if reading.ecc_uncorrected:
        return f"{_UNCORRECTED}: {reading.ecc_uncorrected}; accepted: 0, as after a reset"
    return _MIG if reading.mig else _COMPUTE_MODES.get(reading.compute_mode, "")


def _assign(unreadable: Sequence[GpuReading], unlisted: Sequence[Gpu]) -> dict[GpuUuid, str]:
    """Which known GPU has which problem. NVML can't name a GPU that it never read: it is identified by elimination."""
    problems = {reading.uuid: reading.problem for reading in unreadable if reading.uuid is not None}
    nameless = [reading.problem for reading in unreadable if reading.uuid is None]
    rest = [gpu.uuid for gpu in unlisted if gpu.uuid not in problems]
    if len(rest) > len(nameless) > 0:
        return problems | dict.fromkeys(rest, "; ".join(dict.fromkeys(nameless)))
    return problems | dict(zip(rest, nameless, strict=False))


def _with_fault(gpu: Gpu, reason: str, epoch: str, time: str, before: Fault | None) -> Gpu:
    if not reason:
        return dataclasses.replace(gpu, healthy=True, fault=None)
    same = before is not None and (before.reason, before.epoch) == (reason, epoch)
    fault = before if same else Fault(reason, time, epoch)
    return dataclasses.replace(gpu, healthy=False, fault=fault)
