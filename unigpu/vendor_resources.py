"""Every vendor's resource that translation reads, and what a node has of each. Pure.

Translated pods keep these resources. The kube-scheduler must leave them out of its arithmetic, another device plugin
must not serve them a second time, and a node may publish them as capacity: all three follow this one list.
"""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from unigpu import names
from unigpu.gpus import Gpu
from unigpu.lowering import Freed
from unigpu.units import BYTES_PER_MIB, FULL, MiB

NVIDIA_GPU: Final = "nvidia.com/gpu"


class Counts(enum.StrEnum):
    """What the units of a resource are. By each of these a node's capacity bounds what can be granted on it."""

    GPUS = "gpus"
    """Whole GPUs."""
    SLOTS = "slots"
    """Shares: each GPU as often as containers may share it."""
    TENTHS = "tenths"
    """Tenths of a GPU's time."""
    PERCENT = "percent"
    """Percent of one GPU's memory or time."""
    MEMORY = "memory"
    """Memory in units of a fixed size."""
    NOTHING = "nothing"
    """A wish, such as a priority: no node has an amount of it."""


@dataclass(frozen=True, slots=True)
class Choices:
    """Units that are a cluster's choice."""

    aliyun_unit: MiB = MiB(1024)
    volcano_factor: int = 1
    vgpu_manager_factor: int = 1


@dataclass(frozen=True, slots=True)
class VendorResource:
    """One resource."""

    counts: Counts
    unit_bytes: int = BYTES_PER_MIB
    """Of MEMORY."""


def _memory(unit: int = 1) -> VendorResource:
    return VendorResource(Counts.MEMORY, unit * BYTES_PER_MIB)


_NOTHING = Freed()
_GPUS, _SLOTS, _PERCENT = (VendorResource(counts) for counts in (Counts.GPUS, Counts.SLOTS, Counts.PERCENT))
_WISH = VendorResource(Counts.NOTHING)

ALIYUN_UNIT: Final = (names.ALIYUN_GPU_MEM,)
"""Resources in the unit of `aliyun.com/gpu-mem`."""
VGPU_MANAGER_UNIT: Final = ("nvidia.com/vgpu-memory",)
"""Resources in the unit of vgpu-manager."""
VOLCANO_UNIT: Final = ("volcano.sh/gpu-memory", "volcano.sh/vgpu-memory")
"""Resources in the unit of Volcano's device plugins."""

RESOURCES: Final[Mapping[str, VendorResource]] = {
    names.ALIYUN_GPU_MEM: _memory(),
    "aliyun.com/gpu-core.percentage": _PERCENT,
    "aliyun.com/gpu": _GPUS,
    names.ALIYUN_GPU_COUNT: _GPUS,
    "tencent.com/vcuda-core": _PERCENT,
    "tencent.com/vcuda-memory": _memory(256),
    "tke.cloud.tencent.com/qgpu-core": _PERCENT,
    "tke.cloud.tencent.com/qgpu-memory": _memory(1024),
    NVIDIA_GPU: _SLOTS,
    "nvidia.com/vgpu": _SLOTS,
    "nvidia.com/gpumem": _memory(),
    "nvidia.com/gpumem-percentage": _PERCENT,
    "nvidia.com/gpucores": _PERCENT,
    "nvidia.com/priority": _WISH,
    "volcano.sh/vgpu-number": _SLOTS,
    "volcano.sh/vgpu-memory": _memory(),
    "volcano.sh/vgpu-memory-percentage": _PERCENT,
    "volcano.sh/vgpu-cores": _PERCENT,
    "volcano.sh/vgpu-priority": _WISH,
    "volcano.sh/gpu-memory": _memory(),
    "volcano.sh/gpu-number": _GPUS,
    "volcano.sh/gpu-mem.128Mi": _memory(128),
    "volcano.sh/gpu-core.percentage": _PERCENT,
    "koordinator.sh/gpu": _PERCENT,
    "koordinator.sh/gpu-core": _PERCENT,
    "koordinator.sh/gpu-memory": VendorResource(Counts.MEMORY, 1),
    "koordinator.sh/gpu-memory-ratio": _PERCENT,
    "koordinator.sh/gpu.shared": _SLOTS,
    "elasticgpu.io/gpu-core": _PERCENT,
    "elasticgpu.io/gpu-memory": _memory(),
    "nvidia.com/vgpu-number": _SLOTS,
    "nvidia.com/vgpu-memory": _memory(),
    "nvidia.com/vgpu-cores": _PERCENT,
    "nvshare.com/gpu": VendorResource(Counts.TENTHS),
}
"""By name. Units that are a cluster's choice stand as 1 MiB here; see ALIYUN_UNIT and the next two."""


def capacity(
    node_gpus: Sequence[Gpu],
    resources: Mapping[str, VendorResource],
    shares_per_gpu: int,
    choices: Choices,
    freed: Freed = _NOTHING,
) -> dict[str, int]:
    """Return how much a node with these GPUs has of each resource; wishes are left out.

    Each amount is at least the sum of what can be granted there, so that no kubelet refuses a pod for it. `freed` is
    what pods with lowered limits request and don't have: it can be granted to others.
    """
    healthy = [gpu for gpu in node_gpus if gpu.healthy]
    smallest = min((gpu.memory for gpu in healthy), default=MiB(1))
    percent = max(freed.cores, -(-freed.memory * FULL // smallest))
    amounts = {
        Counts.GPUS: len(healthy),
        Counts.SLOTS: len(healthy) * shares_per_gpu,
        Counts.TENTHS: len(healthy) * 10 + -(-percent // 10),
        Counts.PERCENT: len(healthy) * FULL + percent,
    }
    found = {name: amounts[each.counts] for name, each in resources.items() if each.counts in amounts}
    for name, each in resources.items():
        if each.counts is Counts.MEMORY:
            unit = each.unit_bytes * _factor(name, choices)
            more = -(-freed.memory * BYTES_PER_MIB // unit)
            found[name] = sum(gpu.memory * BYTES_PER_MIB // unit for gpu in healthy) + more
    return found


def _factor(name: str, choices: Choices) -> int:
    if name in ALIYUN_UNIT:
        return choices.aliyun_unit
    if name in VGPU_MANAGER_UNIT:
        return choices.vgpu_manager_factor
    return choices.volcano_factor if name in VOLCANO_UNIT else 1


def offered(status: Mapping[str, object], annotations: Mapping[str, str]) -> frozenset[str]:
    """Return the extended resources in a node's status that unigpu didn't put there.

    An amount of 0 counts too: the kubelet refuses a pod that asks for more.
    """
    present: set[str] = set()
    for part in ("capacity", "allocatable"):
        found = status.get(part)
        present |= found.keys() if isinstance(found, dict) else set()
    ours = published(annotations)
    return frozenset(
        name for name in present if "/" in name and name not in ours and not name.startswith(f"{names.DOMAIN}/")
    )


def published(annotations: Mapping[str, str]) -> frozenset[str]:
    """Return the vendors' resources whose capacity the node agent wrote, by the node's annotations."""
    return frozenset(filter(None, annotations.get(names.ANNOTATION_PUBLISHED, "").split(",")))
