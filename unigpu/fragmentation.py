"""How much of what is free could still be used: by one more typical share, and by a container that wants a whole GPU.

For a purpose p, a share or a whole GPU, and a resource, memory or compute time:

    fragmentation(p) = 1 − usable(p) / free(p)

    free(p)    what is free on the GPUs that take p by their node's mode; unhealthy and cordoned GPUs have nothing free
    usable(p)  the part of it on GPUs that take one more p now: the typical share fits, or the GPU is empty

It is 0 where nothing is free. An empty GPU is never fragmented, and neither is a full one. The measure is that of
fragmentation gradient descent (Weng et al., USENIX ATC 2023), for the two purposes that matter most here instead of all
of a workload.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from unigpu import fit, modes
from unigpu.allocations import GpuUsage
from unigpu.fit import GpuState, Node
from unigpu.units import MiB, Percent

MEMORY_STEP = 256
CORES_STEP = 5
"""The typical share is rounded to these, so that it stays the same while pods come and go."""
QUARTER = Percent(25)


class ShareSize(NamedTuple):
    """What one share takes of a GPU."""

    memory: MiB
    cores: Percent


@dataclass(frozen=True, slots=True)
class Fragmentation:
    """What is free for a purpose, and how much of that is usable; of a GPU, a node or the fleet."""

    free_memory: int = 0
    """MiB."""
    free_cores: int = 0
    """Percent of one GPU."""
    usable_memory: int = 0
    usable_cores: int = 0

    @property
    def memory(self) -> float:
        """Fragmentation of memory, 0 to 1."""
        return 1 - self.usable_memory / self.free_memory if self.free_memory else 0.0

    @property
    def cores(self) -> float:
        """Fragmentation of compute time, 0 to 1."""
        return 1 - self.usable_cores / self.free_cores if self.free_cores else 0.0

    def plus(self, other: "Fragmentation", times: int = 1) -> "Fragmentation":
        """Return both together; with `times` -1, this without the other."""
        return Fragmentation(
            self.free_memory + times * other.free_memory,
            self.free_cores + times * other.free_cores,
            self.usable_memory + times * other.usable_memory,
            self.usable_cores + times * other.usable_cores,
        )


class Both(NamedTuple):
    """Fragmentation for each purpose."""

    share: Fragmentation
    gpu: Fragmentation


_NONE = ShareSize(MiB(0), Percent(0))
NOTHING = Both(Fragmentation(), Fragmentation())


def free(state: GpuState) -> ShareSize:
    """Return what is free of a GPU: nothing of one that is unhealthy, cordoned or given whole."""
    gpu, taken = state.gpu, state.taken
    if not gpu.healthy or state.cordoned or taken.whole:
        return _NONE
    return ShareSize(MiB(max(gpu.memory - taken.memory, 0)), Percent(max(fit.FULL - taken.cores, 0)))


def takes(state: GpuState, left: ShareSize, typical: ShareSize, shares_per_gpu: int) -> bool:
    """Return whether a GPU with this much left takes one more typical share."""
    return left.memory >= typical.memory and left.cores >= typical.cores and state.taken.shares < shares_per_gpu


def of_gpu(state: GpuState, typical: ShareSize, shares_per_gpu: int) -> Fragmentation:
    """Return the fragmentation of one GPU for a typical share."""
    left = free(state)
    usable = left if takes(state, left, typical, shares_per_gpu) else _NONE
    return Fragmentation(*left, *usable)


def of_node(node: Node, typical: ShareSize, shares_per_gpu: int) -> Both:
    """Return the fragmentation of a node for a typical share and for whole GPUs."""
    memory = cores = usable_memory = usable_cores = whole_memory = whole_cores = 0
    for state in node.gpus:
        left = free(state)
        memory += left.memory
        cores += left.cores
        if takes(state, left, typical, shares_per_gpu):
            usable_memory += left.memory
            usable_cores += left.cores
        if not (state.taken.shares or state.taken.memory):
            whole_memory += left.memory
            whole_cores += left.cores
    return Both(
        NOTHING.share
        if node.mode in modes.WHOLE_GPUS_ONLY
        else Fragmentation(memory, cores, usable_memory, usable_cores),
        NOTHING.gpu if node.mode in modes.SHARES_ONLY else Fragmentation(memory, cores, whole_memory, whole_cores),
    )


def total(parts: Iterable[Both]) -> Both:
    """Return the fragmentation of several nodes together."""
    share, gpu = NOTHING
    for part in parts:
        share, gpu = share.plus(part.share), gpu.plus(part.gpu)
    return Both(share, gpu)


class ShareSizes:
    """How many shares there are of each size, rounded; whole GPUs are left out."""

    def __init__(self) -> None:
        self._memory: Counter[int] = Counter()
        self._cores: Counter[int] = Counter()

    def count(self, use: GpuUsage, times: int) -> None:
        """Add what one pod takes of a GPU; with `times` -1, remove it."""
        if use.shares and not use.whole:
            self._memory[_rounded(use.memory // use.shares, MEMORY_STEP)] += times * use.shares
            self._cores[_rounded(use.cores // use.shares, CORES_STEP)] += times * use.shares

    def typical(self, gpus: Mapping[MiB, int], former: ShareSize) -> ShareSize:
        """Return the median memory and the median cores; each stays what it was while that is close to the median.

        Where there are no shares, it is a quarter of the most frequent GPU; `gpus` has the number of GPUs with each
        memory.
        """
        memory, cores = _median(self._memory, former.memory), _median(self._cores, former.cores)
        if memory is None or cores is None:
            most = max(gpus, key=lambda memory: (gpus[memory], memory), default=MiB(0))
            return ShareSize(MiB(most // 4), QUARTER)
        return ShareSize(MiB(memory), Percent(min(cores, fit.FULL)))


def _median(counts: Mapping[int, int], former: int) -> int | None:
    """Return the lower median of the values, or `former` while it is between the 45th and 55th percentile.

    Return None if there are no values.
    """
    all_ = sum(counts.values())
    if not all_:
        return None
    values = sorted(value for value, count in counts.items() if count)
    reached = list(itertools.accumulate(counts[value] for value in values))
    if counts.get(former):
        place = values.index(former)
        if reached[place] - counts[former] <= 0.55 * all_ and reached[place] >= 0.45 * all_:
            return former
    return next(value for value, total in zip(values, reached, strict=True) if total >= all_ / 2)


def _rounded(value: int, step: int) -> int:
    """Return the nearest multiple; for anything above 0 at least one step."""
    return max((value + step // 2) // step, 1) * step if value else 0
