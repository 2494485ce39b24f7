"""Check whether one GPU has room for one container, and if it doesn't, why."""

import enum
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from unigpu import allocations
from unigpu.allocations import GpuUsage, Share
from unigpu.gpus import Gpu
from unigpu.modes import NodeMode
from unigpu.requests import PlacementPolicy, Preferences, Request, Role
from unigpu.units import GpuUuid, MiB, Percent

FULL = 100
"""Percent of a GPU's compute time that all its shares together can guarantee."""
UNUSED = GpuUsage()


class UnfitReason(enum.Enum):
    """Why a GPU can't take a share. The text follows `2 of 4 ` or `GPUs `."""

    UNHEALTHY = "unhealthy"
    CORDONED = "cordoned"
    MODEL = "excluded by model"
    UUID = "excluded by UUID"
    SMALL = "too small"
    WHOLE = "allocated whole"
    OCCUPIED = "not empty"
    MEMORY = "with too little free memory"
    CORES = "with too little free compute time"
    SHARES = "with all shares taken"


@dataclass(frozen=True, slots=True)
class GpuState:
    """A GPU, and what is taken of it."""

    gpu: Gpu
    taken: GpuUsage = UNUSED
    """By pods, and memory that is in use without a grant."""
    cordoned: bool = False
    """Whether nothing new is placed on it; see unigpu.cordons."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node, as placement sees it."""

    name: str
    gpus: tuple[GpuState, ...]
    mode: NodeMode = NodeMode.MIXED
    gpu_policy: PlacementPolicy | None = None
    """The policy that the node's label sets; None: no label."""


PodShares = Sequence[tuple[Role, Share]]
"""One pod's shares of one GPU, in the order in which its containers start."""


def share_of(gpu: Gpu, request: Request) -> Share:
    """Return the share that the request amounts to on this GPU: percentages become MiB, rounded down."""
    if request.whole:
        return Share(gpu.uuid, gpu.memory, Percent(FULL), whole=True)
    memory = request.memory or MiB(gpu.memory * request.memory_percent // 100)
    return Share(gpu.uuid, memory, request.cores)


def check_fit(state: GpuState, request: Request, preferences: Preferences, shares_per_gpu: int) -> UnfitReason | None:
    """Return why the GPU can't take a share of this size along with what other pods take, or None if it can.

    This runs for every GPU of every candidate node, so checks that are cheap and often fail come first.
    """
    gpu, taken = state.gpu, state.taken
    if not gpu.healthy:
        return UnfitReason.UNHEALTHY
    if state.cordoned:
        return UnfitReason.CORDONED
    if preferences.selective and (reason := _unwanted(gpu, preferences)) is not None:
        return reason
    memory = request.memory
    if memory > gpu.memory:
        return UnfitReason.SMALL
    if taken.whole:
        return UnfitReason.WHOLE
    if request.whole:
        return UnfitReason.OCCUPIED if taken.shares or taken.memory else None
    if request.memory_percent:
        memory = share_of(gpu, request).memory
    if taken.memory + memory > gpu.memory:
        return UnfitReason.MEMORY
    if taken.cores + request.cores > FULL:
        return UnfitReason.CORES
    return UnfitReason.SHARES if taken.shares >= shares_per_gpu else None


def accepts_model(preferences: Preferences, model: str) -> bool:
    """Return whether the preferences allow GPUs of the model, as NVML names it."""
    model = model.lower()
    if preferences.use_types and not any(part.lower() in model for part in preferences.use_types):
        return False
    return not any(part.lower() in model for part in preferences.avoid_types)


def _unwanted(gpu: Gpu, preferences: Preferences) -> UnfitReason | None:
    if (preferences.use_types or preferences.avoid_types) and not accepts_model(preferences, gpu.model):
        return UnfitReason.MODEL
    if preferences.use_uuids and gpu.uuid not in preferences.use_uuids:
        return UnfitReason.UUID
    return UnfitReason.UUID if gpu.uuid in preferences.avoid_uuids else None


def check_fit_together(state: GpuState, own: PodShares, shares_per_gpu: int) -> UnfitReason | None:
    """Return why a GPU that can take each share of `own` can't take all of them, or None if it can."""
    gpu, taken = state.gpu, state.taken
    for use in allocations.usage_phases(own):
        if use.whole:
            if taken.shares or taken.memory or use.shares > 1:
                return UnfitReason.OCCUPIED
        elif taken.memory + use.memory > gpu.memory:
            return UnfitReason.MEMORY
        elif taken.cores + use.cores > FULL:
            return UnfitReason.CORES
        elif taken.shares + use.shares > shares_per_gpu:
            return UnfitReason.SHARES
    return None


def has_room(node: Node, uses: Mapping[GpuUuid, GpuUsage], shares_per_gpu: int) -> bool:
    """Return whether each of these GPUs of the node has room for what one pod takes of it."""
    states = {state.gpu.uuid: state for state in node.gpus}
    for gpu, use in uses.items():
        state = states.get(gpu)
        if state is None:
            return False
        taken = state.taken
        if taken.whole or (use.whole and (taken.shares or taken.memory)):
            return False
        if taken.memory + use.memory > state.gpu.memory or taken.cores + use.cores > FULL:
            return False
        if taken.shares + use.shares > shares_per_gpu:
            return False
    return True


def fullness(state: GpuState) -> int:
    """Return how full the GPU is, 0 to 1000: the larger of its taken parts of memory and of compute time."""
    taken = state.taken
    if taken.whole:
        return 1000
    return max(taken.memory * 1000 // max(state.gpu.memory, 1), taken.cores * 10)


def leftover(total: int, memory: int, cores: int, taken_memory: int, taken_cores: int) -> int:
    """Return what a share would leave of a GPU: thousandths of memory and of compute time, added up.

    Memory counts three times where the share leaves too little for another one: less than an eighth of the GPU's memory
    or of its compute time. Memory that is of so little use already counts once.
    """
    free_memory, free_cores = total - taken_memory, FULL - taken_cores
    left_memory, left_cores = free_memory - memory, free_cores - cores
    found = left_memory * 1000 // total + left_cores * 10
    if left_memory * 8 < total or left_cores * 8 < FULL:
        found += left_memory * 2000 // total
    if free_memory * 8 < total or free_cores * 8 < FULL:
        found -= free_memory * 2000 // total
    return found


def link(one: Gpu, other: Gpu) -> int:
    """Return the quality of the link between two GPUs (see `Gpu.links`); 0 if it is unknown."""
    return max(one.links.get(other.uuid, 0), other.links.get(one.uuid, 0))


def describe(request: Request) -> str:
    """Return the request in words: `2 GPUs with 3000 MiB and 30 percent of compute time free on each`.

    There is no percent sign, because kube-scheduler uses an extender's text as a format string and would garble it in
    the pod's events.
    """
    if request.whole:
        return "1 whole GPU" if request.gpus == 1 else f"{request.gpus} whole GPUs"
    amounts = [
        text
        for present, text in (
            (request.memory, f"{request.memory} MiB"),
            (request.memory_percent, f"{request.memory_percent} percent of memory"),
            (request.cores, f"{request.cores} percent of compute time"),
        )
        if present
    ]
    count = "1 GPU" if request.gpus == 1 else f"{request.gpus} GPUs"
    if not amounts:
        return f"a share of {count}"
    return f"{count} with {' and '.join(amounts)} free" + (" on each" if request.gpus > 1 else "")


def count_reasons(reasons: Iterable[UnfitReason], total: int) -> str:
    """Return the reasons with their counts, the most frequent first: `3 of 4 too small, 1 unhealthy`."""
    parts = [
        f"{count} of {total} {reason.value}" if position == 0 else f"{count} {reason.value}"
        for position, (reason, count) in enumerate(_sorted(reasons))
    ]
    return ", ".join(parts)


def list_reasons(reasons: Iterable[UnfitReason]) -> str:
    """Return the reasons without counts, so that equal texts of many nodes add up: `too small or unhealthy`."""
    present = set(reasons)
    return " or ".join(reason.value for reason in UnfitReason if reason in present)


def _sorted(reasons: Iterable[UnfitReason]) -> list[tuple[UnfitReason, int]]:
    order = list(UnfitReason)
    return sorted(Counter(reasons).items(), key=lambda item: (-item[1], order.index(item[0])))
