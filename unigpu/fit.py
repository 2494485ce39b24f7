"""Whether one GPU has room for one container, and if not, what it reasons."""

import enum
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from unigpu import allocations, modes
from unigpu.allocations import GpuUsage, Share
from unigpu.gpus import Gpu
from unigpu.modes import NodeMode
from unigpu.requests import PlacementPolicy, Preferences, Request, Role
from unigpu.units import MiB, Percent

FULL = 100
"""Percent of a GPU that can be guaranteed, over all its shares."""
UNUSED = GpuUsage()


class UnfitReason(enum.Enum):
    """Why a GPU doesn't take a share; the text goes on from `2 of 4 `."""

    UNHEALTHY = "unhealthy"
    MODEL = "of a model that is not wanted"
    UUID = "with a UUID that is not wanted"
    SMALL = "too small"
    WHOLE = "taken whole"
    OCCUPIED = "not empty"
    MEMORY = "with too little free memory"
    CORES = "with too little free compute"
    SHARES = "with all shares taken"


@dataclass(frozen=True, slots=True)
class GpuState:
    """A GPU and what the pods on its node take of it."""

    gpu: Gpu
    taken: GpuUsage = UNUSED


FreeCapacity = tuple[int, int, int]
"""What is free of a GPU: MiB, percent of compute, and how many shares it carries."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node as placement sees it."""

    name: str
    gpus: tuple[GpuState, ...]
    mode: NodeMode = NodeMode.MIXED
    gpu_policy: PlacementPolicy | None = None
    """What the node's label says; None: nothing."""
    free: tuple[FreeCapacity, ...] = ()
    """GPUs that take shares, for a quick yes; empty where nobody worked them out."""


PodShares = Sequence[tuple[Role, Share]]
"""Shares that the same pod has on the GPU already, in the order in which its containers start."""


def free_capacities(seen: Sequence[GpuState], mode: NodeMode) -> tuple[FreeCapacity, ...]:
    """The free for shares of any pod, the one with the most memory first."""
    if mode in modes.WHOLE_GPUS_ONLY:
        return ()
    found = [
        (state.gpu.memory - state.taken.memory, FULL - state.taken.cores, state.taken.shares)
        for state in seen
        if state.gpu.healthy and not state.taken.whole
    ]
    found.sort(reverse=True)
    return tuple(found)


def share_of(gpu: Gpu, request: Request) -> Share:
    """What the request means on this GPU."""
    if request.whole:
        return Share(gpu.uuid, gpu.memory, Percent(FULL), whole=True)
    memory = request.memory or MiB(gpu.memory * request.memory_percent // 100)
    return Share(gpu.uuid, memory, request.cores)


def check_fit(state: GpuState, request: Request, preferences: Preferences, shares_per_gpu: int) -> UnfitReason | None:
    """What the GPU reasons to carry one share of the request beside what other pods take; None: nothing.

    Asked for every GPU of every node that is a candidate, hence the order: what is cheap and frequent comes first.
    """
    gpu, taken = state.gpu, state.taken
    if not gpu.healthy:
        return UnfitReason.UNHEALTHY
    if preferences.selective and (reason := _unwanted(gpu, preferences)) is not None:
        return reason
    memory = request.memory
    if memory > gpu.memory:
        return UnfitReason.SMALL
    if taken.whole:
        return UnfitReason.WHOLE
    if request.whole:
        return UnfitReason.OCCUPIED if taken.shares else None
    if request.memory_percent:
        memory = share_of(gpu, request).memory
    if taken.memory + memory > gpu.memory:
        return UnfitReason.MEMORY
    if taken.cores + request.cores > FULL:
        return UnfitReason.CORES
    return UnfitReason.SHARES if taken.shares >= shares_per_gpu else None


def _unwanted(gpu: Gpu, preferences: Preferences) -> UnfitReason | None:
    if preferences.use_types or preferences.avoid_types:
        model = gpu.model.lower()
        if preferences.use_types and not any(part.lower() in model for part in preferences.use_types):
            return UnfitReason.MODEL
        if any(part.lower() in model for part in preferences.avoid_types):
            return UnfitReason.MODEL
    if preferences.use_uuids and gpu.uuid not in preferences.use_uuids:
        return UnfitReason.UUID
    return UnfitReason.UUID if gpu.uuid in preferences.avoid_uuids else None


def check_fit_together(state: GpuState, own: PodShares, shares_per_gpu: int) -> UnfitReason | None:
    """What a GPU that suits each share of `own` reasons to carry all of them; None: nothing."""
    gpu, taken = state.gpu, state.taken
    for use in allocations.usage_phases(own):
        if use.whole:
            if taken.shares or use.shares > 1:
                return UnfitReason.OCCUPIED
        elif taken.memory + use.memory > gpu.memory:
            return UnfitReason.MEMORY
        elif taken.cores + use.cores > FULL:
            return UnfitReason.CORES
        elif taken.shares + use.shares > shares_per_gpu:
            return UnfitReason.SHARES
    return None


def fullness(state: GpuState) -> int:
    """How full the GPU is, 0 to 1000: the larger of its memory's and its compute's taken part."""
    taken = state.taken
    if taken.whole:
        return 1000
    return max(taken.memory * 1000 // max(state.gpu.memory, 1), taken.cores * 10)


def link(one: Gpu, other: Gpu) -> int:
    """Quality of the link between two GPUs; 0 where neither knows."""
    return max(one.links.get(other.uuid, 0), other.links.get(one.uuid, 0))


def describe(request: Request) -> str:
    """The request in words: `2 GPUs with 3000 MiB and 30 percent compute free on each`.

    No percent sign: kube-scheduler takes an extender's words for a format, and garbles them in the pod's events.
    """
    if request.whole:
        return "1 whole GPU" if request.gpus == 1 else f"{request.gpus} whole GPUs"
    amounts = [
        text
        for present, text in (
            (request.memory, f"{request.memory} MiB"),
            (request.memory_percent, f"{request.memory_percent} percent memory"),
            (request.cores, f"{request.cores} percent compute"),
        )
        if present
    ]
    count = "1 GPU" if request.gpus == 1 else f"{request.gpus} GPUs"
    if not amounts:
        return f"a share of {count}"
    return f"{count} with {' and '.join(amounts)} free" + (" on each" if request.gpus > 1 else "")


def count_reasons(reasons: Iterable[UnfitReason], total: int) -> str:
    """The causes with their numbers, the most frequent first: `3 of 4 with too little free memory, 1 unhealthy`."""
    parts = [
        f"{count} of {total} {reason.value}" if position == 0 else f"{count} {reason.value}"
        for position, (reason, count) in enumerate(_sorted(reasons))
    ]
    return ", ".join(parts)


def list_reasons(reasons: Iterable[UnfitReason]) -> str:
    """The causes without numbers, so that the reasons of many nodes read the same and add up."""
    present = set(reasons)
    return ", ".join(reason.value for reason in UnfitReason if reason in present)


def _sorted(reasons: Iterable[UnfitReason]) -> list[tuple[UnfitReason, int]]:
    order = list(UnfitReason)
    return sorted(Counter(reasons).items(), key=lambda item: (-item[1], order.index(item[0])))
