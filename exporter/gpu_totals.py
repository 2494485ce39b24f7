"""What the node's containers have been granted of each GPU."""

from collections.abc import Iterable, Mapping

from unigpu import allocations
from unigpu.allocations import Allocation, GpuUsage
from unigpu.grants import Grant
from unigpu.units import GpuUuid


def granted(grants: Iterable[Grant]) -> Mapping[GpuUuid, tuple[int | None, GpuUsage]]:
    """NVML's index of each GPU that is granted, and what is taken of it.

    An init container's share overlaps with those of its pod's other containers: the larger counts, as in scheduling.
    """
    pods: dict[str, list[Grant]] = {}
    for grant in grants:
        pods.setdefault(grant.pod_uid, []).append(grant)
    gpus: dict[GpuUuid, tuple[int | None, GpuUsage]] = {}
    for members in pods.values():
        indexes = {gpu: index for member in members for gpu, index in member.indexes.items()}
        allocation = Allocation("", {member.container: member.shares for member in members})
        roles = {member.container: member.role for member in members}
        for gpu, use in allocations.pod_usage(allocation, roles).items():
            index, before = gpus.get(gpu, (None, GpuUsage()))
            gpus[gpu] = indexes.get(gpu, index), before.plus(use)
    return gpus
