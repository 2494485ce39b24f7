"""What the node's containers have been granted of each GPU."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from unigpu import allocations, fragmentation
from unigpu.allocations import Allocation, GpuUsage
from unigpu.fit import GpuState
from unigpu.fragmentation import ShareSize
from unigpu.gpus import Gpu
from unigpu.grants import Grant
from unigpu.units import GpuUuid


@dataclass(frozen=True, slots=True)
class GrantedGpu:
    """One GPU as grants know it."""

    index: int | None = None
    """NVML's index."""
    model: str = ""
    """Empty where no grant says it."""
    usage: GpuUsage = field(default_factory=GpuUsage)
    """What containers may have of it together."""


def granted(grants: Iterable[Grant]) -> Mapping[GpuUuid, GrantedGpu]:
    """Return each GPU that is granted, with what is granted of it.

    An init container's share overlaps with those of its pod's other containers: the larger counts, as in scheduling.
    """
    pods: dict[str, list[Grant]] = {}
    for grant in grants:
        pods.setdefault(grant.pod_uid, []).append(grant)
    gpus: dict[GpuUuid, GrantedGpu] = {}
    for members in pods.values():
        indexes = {gpu: index for member in members for gpu, index in member.indexes.items()}
        models = {gpu: model for member in members for gpu, model in member.models.items()}
        allocation = Allocation("", {member.container: member.shares for member in members})
        roles = {member.container: member.role for member in members}
        for gpu, use in allocations.pod_usage(allocation, roles).items():
            before = gpus.get(gpu, GrantedGpu())
            gpus[gpu] = GrantedGpu(
                indexes.get(gpu, before.index), models.get(gpu, before.model), before.usage.plus(use)
            )
    return gpus


def left(gpu: Gpu, granted: GrantedGpu) -> ShareSize:
    """Return what could still be granted of a GPU, by the rule of placement; cordons are the scheduler's affair."""
    taken = granted.usage.plus(GpuUsage(memory=gpu.foreign))
    return fragmentation.free(GpuState(gpu, taken))
