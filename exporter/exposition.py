"""Prometheus' text format for the containers' metrics.

prometheus-client builds an object for each sample and spells its labels again on each scrape; with thousands of shares
that is most of the work. Here a container's lines are text as soon as they are known, and stay so until one of its
values changes. The tests check the text against prometheus-client's own parser.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from unigpu import names
from unigpu.grants import Grant
from unigpu.policy import GpuLimit, Policy
from unigpu.requests import ComputePolicy
from unigpu.units import BYTES_PER_MIB
from unigpu.usage import GpuTotals
from unigpu.walls import Wall


@dataclass(frozen=True, slots=True)
class Family:
    """One metric."""

    name: str
    kind: str
    help: str

    @property
    def head(self) -> bytes:
        """Its first two lines."""
        return f"# HELP {self.name} {self.help}\n# TYPE {self.name} {self.kind}\n".encode()


USED = Family(names.METRIC_MEMORY_USED, "gauge", "GPU memory in use by the container's living processes.")
KIND = Family(
    names.METRIC_MEMORY_KIND,
    "gauge",
    "The same by what it is: data, context, code, or taken by the driver unasked; the kinds add up to what is in use.",
)
PEAK = Family(names.METRIC_MEMORY_PEAK, "gauge", "Most GPU memory that was in use since the container got its share.")
FAILURES = Family(
    names.METRIC_ALLOCATION_FAILURES, "counter", "Allocations refused for the container's limit since it got its share."
)
LIMIT = Family(names.METRIC_MEMORY_LIMIT, "gauge", "GPU memory that the container may have; 0: not limited.")
CORES = Family(
    names.METRIC_CORES_LIMIT, "gauge", "The container's share of the GPU's compute time, 0 to 1; 0: not limited."
)
CEILING = Family(
    names.METRIC_CORES_CEILING,
    "gauge",
    "Part of the GPU's compute time that the container may have while others idle, 0 to 1; 0: not limited.",
)
CURRENT = Family(
    names.METRIC_CORES_CURRENT,
    "gauge",
    "Part of the GPU's compute time that the container may have now, 0 to 1; 0: not limited.",
)
SECONDS = Family(
    names.METRIC_COMPUTE_SECONDS,
    "counter",
    "GPU time charged to the container since it got its share; its rate is the part of the GPU that it uses.",
)
THROTTLED = Family(
    names.METRIC_THROTTLED_SECONDS,
    "counter",
    "Time that launches waited for the container's share, summed over launches.",
)
WAITS = Family(names.METRIC_THROTTLED_LAUNCHES, "counter", "Launches that waited for the container's share.")
LAUNCHES = Family(names.METRIC_LAUNCHES, "counter", "Launches of kernels and graphs since the container got its share.")
INFO = Family(names.METRIC_CONTAINER_INFO, "gauge", "A container's share of a GPU and where it comes from; always 1.")
PROCESSES = Family(
    names.METRIC_CONTAINER_PROCESSES, "gauge", "Living processes of the container that use its GPUs, as libvgpu counts."
)
WALL = Family(
    names.METRIC_CONTAINER_WALL, "gauge", "Whether a wall of the node holds the container to its memory, 0 or 1."
)
UNREADABLE = Family(names.METRIC_CONTAINER_UNREADABLE, "gauge", "A file of the container that can't be read; always 1.")

NANO = 1_000_000_000
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def labels(pairs: Mapping[str, str]) -> str:
    """Return `{name="value",…}`."""
    return "{" + ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in pairs.items()) + "}"


@dataclass(frozen=True, slots=True)
class Granted:
    """A container's lines that change only with its grant or its policy."""

    container: str
    """Labels of the container alone."""
    gpus: tuple[str, ...]
    """Labels of each GPU."""
    limit: bytes
    cores: bytes
    ceiling: bytes
    info: bytes


class Used(NamedTuple):
    """A container's lines that change with its account, in the order of MOVING."""

    memory: bytes = b""
    kinds: bytes = b""
    peak: bytes = b""
    failures: bytes = b""
    seconds: bytes = b""
    throttled: bytes = b""
    waits: bytes = b""
    launches: bytes = b""
    processes: bytes = b""


MOVING = (USED, KIND, PEAK, FAILURES, SECONDS, THROTTLED, WAITS, LAUNCHES, PROCESSES)
"""The families of a `Used`."""


def granted(grant: Grant, policy: Policy | None, node: str) -> Granted:
    """Return lines of limits and of what is known about the share; without a policy, limits are those of the grant."""
    gpus, limits, cores, ceilings, infos = [], [], [], [], []
    live = {gpu.gpu: gpu for gpu in policy.gpus} if policy is not None else {}
    for share in grant.shares:
        pairs = {
            **_container(grant, node),
            "gpu": str(grant.indexes.get(share.gpu, "")),
            "uuid": share.gpu,
            "model": grant.models.get(share.gpu, ""),
        }
        spelled = labels(pairs)
        gpu = live.get(share.gpu)
        memory = gpu.memory if gpu is not None else share.memory * BYTES_PER_MIB
        percent = gpu.cores if gpu is not None else share.cores
        enforced = {
            "memory_enforced": _flag(policy is not None and policy.memory_enforced),
            "cores_enforced": _flag(policy is not None and policy.cores_enforced),
        }
        about = {"pod_uid": grant.pod_uid, "dialect": grant.dialect, "isolated": _flag(grant.isolated)}
        gpus.append(spelled)
        limits.append(f"{LIMIT.name}{spelled} {memory}\n")
        cores.append(f"{CORES.name}{spelled} {percent / 100:g}\n")
        highest = ceiling(policy, gpu) if gpu is not None else percent
        ceilings.append(f"{CEILING.name}{spelled} {highest / 100:g}\n")
        infos.append(f"{INFO.name}{labels({**pairs, **about, **enforced, 'whole': _flag(share.whole)})} 1\n")
    return Granted(
        labels(_container(grant, node)),
        tuple(gpus),
        _text(limits),
        _text(cores),
        _text(ceilings),
        _text(infos),
    )


def ceiling(policy: Policy | None, gpu: GpuLimit) -> int:
    """Return percent that the container may have of the GPU while no other wants it; 0: not limited."""
    if policy is None or not gpu.cores or policy.compute is ComputePolicy.UNLIMITED:
        return 0
    return gpu.ceiling if policy.compute is ComputePolicy.SOFT else gpu.cores


def current(gpus: Iterable[str], policy: Policy, rates: Iterable[float]) -> bytes:
    """Return lines of what the container may have now; `rates` are the node agent's, percent, 0: it sets none."""
    return _text(
        f"{CURRENT.name}{spelled} {_current(policy, gpu, percent) / 100:g}\n"
        for spelled, gpu, percent in zip(gpus, policy.gpus, rates, strict=True)
    )


def _current(policy: Policy, gpu: GpuLimit, rate: float) -> float:
    if not policy.cores_enforced:
        return 0
    if rate:
        return rate
    return 0 if policy.compute is ComputePolicy.UNLIMITED else gpu.cores


def used(granted: Granted, usages: Iterable[GpuTotals], processes: int) -> Used:
    """Return lines of what was taken, refused and waited for, and by how many processes."""
    gpus = granted.gpus
    both = tuple(zip(gpus, usages, strict=True))
    return Used(
        _text(f"{USED.name}{spelled} {gpu.used}\n" for spelled, gpu in both),
        _text(
            f'{KIND.name}{spelled[:-1]},kind="{kind}"}} {amount}\n'
            for spelled, gpu in both
            for kind, amount in _kinds(gpu)
        ),
        _text(f"{PEAK.name}{spelled} {gpu.peak}\n" for spelled, gpu in both),
        _text(f"{FAILURES.name}{spelled} {gpu.refused}\n" for spelled, gpu in both),
        _text(f"{SECONDS.name}{spelled} {gpu.compute_ns / NANO}\n" for spelled, gpu in both),
        _text(f"{THROTTLED.name}{spelled} {gpu.waited_ns / NANO}\n" for spelled, gpu in both),
        _text(f"{WAITS.name}{spelled} {gpu.waits}\n" for spelled, gpu in both),
        _text(f"{LAUNCHES.name}{spelled} {gpu.launches}\n" for spelled, gpu in both),
        f"{PROCESSES.name}{granted.container} {processes}\n".encode(),
    )


def _kinds(gpu: GpuTotals) -> tuple[tuple[str, int], ...]:
    return ("data", gpu.data), ("context", gpu.context), ("code", gpu.code), ("driver", gpu.unasked)


def walls(grant: Grant, node: str, standing: Collection[Wall], *, held: bool) -> bytes:
    """Return a line for each wall. `standing`: those of the node; `held`: whether the container's memory is limited.

    The comparison looks at every container; the other walls only have something to hold where there is a limit.
    """
    pairs = _container(grant, node)
    return _text(
        f"{WALL.name}{labels({**pairs, 'wall': wall})} {int(wall in standing and (held or wall is Wall.COMPARISON))}\n"
        for wall in Wall
    )


def unreadable(node: str, pod_uid: str, container: str, file: str) -> bytes:
    """Return the line of a file that can't be read. Only the folder's names are known for sure."""
    pairs = {"node": node, "pod_uid": pod_uid, "container": container, "file": file}
    return f"{UNREADABLE.name}{labels(pairs)} 1\n".encode()


def _container(grant: Grant, node: str) -> dict[str, str]:
    return {"namespace": grant.namespace, "pod": grant.pod, "container": grant.container, "node": node}


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _text(lines: Iterable[str]) -> bytes:
    return "".join(lines).encode()
