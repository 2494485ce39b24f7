"""What events say of breaches, strangers and GPUs that fail or recover. No I/O."""

import hashlib
from collections.abc import Mapping, Sequence

from unigpu.breaches import Finding, Kind, Process
from unigpu.gpus import Fault, Gpu
from unigpu.units import GpuUuid, to_mib

_SHOWN = 5
"""Processes that are named."""


def began(finding: Finding, gpus: Mapping[GpuUuid, Gpu]) -> str:
    """Return what is wrong."""
    key, gpu = finding.key, gpu_title(finding.key.gpu, gpus)
    used = f"{to_mib(finding.memory)} MiB of {gpu}"
    blamed = processes(finding.processes)
    match key.kind:
        case Kind.MEMORY | Kind.UNENFORCED:
            return f"{_container(finding)} uses {used}, and {to_mib(finding.allowed)} MiB are granted; {blamed}"
        case Kind.GPU:
            return f"{_container(finding)} uses {used}, a GPU that isn't granted to it; {blamed}"
        case Kind.UNMANAGED:
            return f"{_container(finding)} uses {gpu} without libvgpu, which holds a lock for each process; {blamed}"
        case Kind.UNCLAIMED:
            return f"{used} are in use and no process holds them: one may have handed them on, and ended"
        case Kind.STRANGER if key.pod_uid:
            return f"{_container(finding)} has no grant on this node and holds {used}; {blamed}"
        case Kind.STRANGER:
            return f"{used} are held outside every container with a grant; {blamed}"


def ended(finding: Finding, since: str, gpus: Mapping[GpuUuid, Gpu]) -> str:
    """Return what is no longer wrong, and since when it was."""
    gpu = gpu_title(finding.key.gpu, gpus)
    match finding.key.kind:
        case Kind.MEMORY | Kind.UNENFORCED:
            what = f"{_container(finding)} no longer uses more memory of {gpu} than granted"
        case Kind.GPU:
            what = f"{_container(finding)} no longer uses {gpu}, which isn't granted to it"
        case Kind.UNMANAGED:
            what = f"{_container(finding)} no longer uses {gpu} without libvgpu"
        case Kind.UNCLAIMED:
            what = f"no memory of {gpu} is in use any more that no process holds"
        case Kind.STRANGER if finding.key.pod_uid:
            what = f"{_container(finding)} without a grant no longer holds memory of {gpu}"
        case Kind.STRANGER:
            what = f"no memory of {gpu} is held outside containers with a grant any more"
    return f"{what}; it began at {since}"


def killed(finding: Finding, victims: Sequence[Process], gpus: Mapping[GpuUuid, Gpu]) -> str:
    """Return which processes were ended, and why."""
    return f"ended {processes(victims)}: {began(finding, gpus)}"


def unhealthy(gpu: Gpu, fault: Fault) -> str:
    """Return that a GPU has failed, and why."""
    return f"{_title(gpu)} is unhealthy since {fault.since}: {fault.reason}"


def healthy(gpu: Gpu, fault: Fault) -> str:
    """Return that a GPU has recovered from a fault."""
    return f"{_title(gpu)} is healthy again; since {fault.since} it was not: {fault.reason}"


def processes(found: Sequence[Process]) -> str:
    """Return the processes, `process 7 (python)`."""
    if not found:
        return "no process is known"
    named = ", ".join(f"{one.pid} ({one.name})" if one.name else str(one.pid) for one in found[:_SHOWN])
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"{'process' if len(found) == 1 else 'processes'} {named}{more}"


def gpu_title(uuid: GpuUuid, gpus: Mapping[GpuUuid, Gpu]) -> str:
    """Return how people find the GPU."""
    gpu = gpus.get(uuid)
    return f"GPU {uuid}" if gpu is None else _title(gpu)


def event_name(about: str, *identity: str) -> str:
    """Return a name that is the same for the same incident, so that its event is written once."""
    digest = hashlib.sha256("\0".join((about, *identity)).encode()).hexdigest()
    return f"{about[:200].rstrip('.-')}.{digest[:16]}"


def _title(gpu: Gpu) -> str:
    return f"GPU {gpu.index} ({gpu.uuid})"


def _container(finding: Finding) -> str:
    name = finding.key.container
    return f"container {name}" if name else "a container whose name isn't known yet"
