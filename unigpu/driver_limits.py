"""Decide which memory limits the driver itself gets for the control groups of a node's pods. No I/O.

Drivers of branch R615 and later limit a control group's memory on each GPU, for every program in it
(`nvmlDeviceSetMemoryLimits_v1` in nvml.h 13.4). Only the hard limit is used. A soft limit would keep memory from
others, and one that outlives its group keeps it for nobody; a hard limit that does so harms nobody.

libvgpu refuses first, at the exact limit. The driver refuses where the comparison with NVML would begin to see a
breach, so that no honest program meets it: the driver counts a few MiB that libvgpu can't see.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from unigpu import breaches
from unigpu.units import Bytes, GpuUuid

Amounts = Mapping[GpuUuid, Bytes | None]
"""Bytes by GPU that a container, or a pod, may use; None: all of it."""
Hard = Mapping[GpuUuid, Bytes]
"""Hard limits of one control group."""


@dataclass(frozen=True, slots=True)
class PodGroup:
    """The control groups of one pod that are there now."""

    uid: str
    folder: str
    containers: Mapping[str, str] = field(default_factory=dict)
    """Folders by the runtime's ID of the container."""


@dataclass(frozen=True, slots=True)
class PodShares:
    """What one pod was granted."""

    containers: Mapping[str, Amounts]
    """By name, of those with a grant."""
    together: Amounts
    """All of them at the same time."""
    names: Mapping[str, str]
    """Names of containers by the runtime's ID, as far as they are known."""


@dataclass(frozen=True, slots=True)
class Step:
    """One call: set, or where `hard` is None clear, a group's limit on a GPU."""

    folder: str
    gpu: GpuUuid
    hard: Bytes | None


def hard_limit(amount: Bytes, total: Bytes) -> Bytes:
    """Return the hard limit for an amount: where a breach begins, and no more than the GPU has."""
    return Bytes(min(amount + breaches.tolerance(amount, 1), total))


def wanted(
    groups: Iterable[PodGroup], shares: Mapping[str, PodShares], totals: Mapping[GpuUuid, Bytes]
) -> dict[str, Hard]:
    """Return the hard limits that each control group should have; those without any are absent.

    A pod's group has what its containers may use together, from before the first of them starts. A container's group
    has the container's share as soon as its name is known, and until then what the pod has. `totals`: memory of the
    GPUs whose driver has such limits; others get none.
    """
    found: dict[str, Hard] = {}
    for group in groups:
        pod = shares.get(group.uid)
        if pod is None:
            continue
        whole = _hard(pod.together, totals)
        found[group.folder] = whole
        for identity, folder in group.containers.items():
            name = pod.names.get(identity)
            found[folder] = whole if name is None else _hard(pod.containers.get(name, {}), totals)
    return {folder: limits for folder, limits in found.items() if limits}


def _hard(amounts: Amounts, totals: Mapping[GpuUuid, Bytes]) -> Hard:
    return {
        gpu: hard_limit(amount, totals[gpu]) for gpu, amount in amounts.items() if amount is not None and gpu in totals
    }


def steps(wanted: Mapping[str, Hard], in_force: Mapping[str, Hard], present: Collection[str]) -> Iterator[Step]:
    """Yield the calls that make the limits `in_force` those that are `wanted`.

    Groups that aren't `present` are left out. Limits are set before others are cleared, so that a
    container is never without one in between.
    """
    for folder, limits in wanted.items():
        if folder in present:
            before = in_force.get(folder, {})
            yield from (Step(folder, gpu, hard) for gpu, hard in limits.items() if before.get(gpu) != hard)
    for folder, limits in in_force.items():
        if folder in present:
            after = wanted.get(folder, {})
            yield from (Step(folder, gpu, None) for gpu in limits if gpu not in after)


def after(in_force: Mapping[str, Hard], done: Iterable[Step], present: Collection[str]) -> dict[str, Hard]:
    """Return what is in force after these steps. Groups that are gone took their limits with them."""
    found = {folder: dict(limits) for folder, limits in in_force.items() if folder in present}
    for step in done:
        limits = found.setdefault(step.folder, {})
        if step.hard is None:
            limits.pop(step.gpu, None)
        else:
            limits[step.gpu] = step.hard
    return {folder: limits for folder, limits in found.items() if limits}
