"""Adds up what is granted of each GPU, before another container gets a share of it. No I/O.

The scheduler has placed every pod already; this check defends against a scheduler that is wrong, or two of them.
"""

import dataclasses
from collections.abc import Iterable, Mapping

from unigpu import allocations, modes
from unigpu.allocations import Allocation, GpuUsage
from unigpu.gpus import Gpu
from unigpu.grants import Grant
from unigpu.requests import Request
from unigpu.units import Bytes, GpuUuid, MiB, to_bytes

GPU_CORES = 100

Overuse = Mapping[tuple[str, str], Mapping[GpuUuid, MiB]]
"""MiB that containers, by pod UID and name, have in use on GPUs where that exceeds their limit."""


def by_pod(grants: Iterable[Grant]) -> dict[str, dict[GpuUuid, GpuUsage]]:
    """Return what each pod, by UID, holds of each GPU."""
    of_pod: dict[str, list[Grant]] = {}
    for grant in grants:
        of_pod.setdefault(grant.pod_uid, []).append(grant)
    return {
        uid: allocations.pod_usage(
            Allocation("", {grant.container: grant.shares for grant in held}),
            {grant.container: grant.role for grant in held},
        )
        for uid, held in of_pod.items()
    }


def excess(gpus: Mapping[GpuUuid, Gpu], grants: Iterable[Grant], new: Grant) -> str | None:
    """Return why the new grant doesn't fit next to the others, None if it does.

    It replaces its container's earlier grant. Where it asks for more memory than that, memory that nobody was granted
    counts as taken; a container that merely restarts has its memory already.
    """
    held_before = list(grants)
    others = [grant for grant in held_before if (grant.pod_uid, grant.container) != (new.pod_uid, new.container)]
    had = {share.gpu: share for grant in held_before if grant not in others for share in grant.shares}
    held = by_pod([*others, new])
    for share in new.shares:
        gpu = gpus[share.gpu]
        uses = {uid: use[share.gpu] for uid, use in held.items() if share.gpu in use}
        total = GpuUsage()
        for use in uses.values():
            total = total.plus(use)
        if total.whole and total.shares > 1:
            holder = "the whole GPU is asked for" if share.whole else "another has the whole GPU"
            return f"GPU {gpu.uuid} can't be shared: {holder}, and {total.shares} containers would be on it"
        before = had.get(share.gpu)
        grows = before is None or share.memory > before.memory or share.whole > before.whole
        if grows and gpu.foreign and total.memory + gpu.foreign > gpu.memory:
            return (
                f"GPU {gpu.uuid} has {gpu.memory} MiB, of which {gpu.foreign} MiB are in use and granted to nobody, "
                f"and {total.memory} MiB would be granted on it ({share.memory} MiB of that to this container)"
            )
        if total.memory > gpu.memory:
            return (
                f"GPU {gpu.uuid} has {gpu.memory} MiB, and {total.memory} MiB would be granted on it "
                f"({share.memory} MiB of that to this container)"
            )
        if total.cores > GPU_CORES:
            return f"GPU {gpu.uuid} would have {total.cores} % of its compute granted"
    return None


def granted_memory(grant: Grant) -> dict[GpuUuid, Bytes | None]:
    """Return the bytes of each GPU that the container was granted; None: all of it."""
    return {share.gpu: None if share.whole or not share.memory else to_bytes(share.memory) for share in grant.shares}


def is_enforced(grant: Grant, labels: Mapping[str, str]) -> bool:
    """Return whether the container is held to its memory, on a node with these labels."""
    return modes.enforcement(modes.from_labels(labels), labels, Request(1, isolated=grant.isolated)).memory


def enforced_memory(grant: Grant, labels: Mapping[str, str]) -> dict[GpuUuid, Bytes | None]:
    """Return the bytes of each GPU to which the container is held; None: to none."""
    amounts = granted_memory(grant)
    return amounts if is_enforced(grant, labels) else dict.fromkeys(amounts)


def with_overuse(grants: Iterable[Grant], overuse: Overuse) -> list[Grant]:
    """Return the grants, each with the memory in use where that is more than granted."""
    return [_with(grant, overuse.get((grant.pod_uid, grant.container), {})) for grant in grants]


def _with(grant: Grant, used: Mapping[GpuUuid, MiB]) -> Grant:
    if not used:
        return grant
    shares = (
        dataclasses.replace(share, memory=max(share.memory, used.get(share.gpu, MiB(0)))) for share in grant.shares
    )
    return dataclasses.replace(grant, shares=tuple(shares))
