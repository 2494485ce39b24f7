"""Look over nodes that have no GPU with room for a pod: what is free there, and which of them come closest. Pure."""

import functools
import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from unigpu import fit
from unigpu.allocations import GpuUsage
from unigpu.api_objects import READY
from unigpu.fit import GpuState, Node
from unigpu.ledger import Booking, CapacityLedger
from unigpu.requests import PodRequest
from unigpu.units import GpuUuid

MAX_NODES = 200
"""Nodes that are looked at closely: those that come closest by memory, and by compute time."""
MAX_CLOSED = 20
"""Nodes with a GPU that is unhealthy or cordoned, which are looked at in any case."""


@dataclass(frozen=True, slots=True)
class Leaver:
    """A pod that has shares of a node's GPUs, and may be named as one whose end would help."""

    uses: Mapping[GpuUuid, GpuUsage]
    priority: int = 0

    @property
    def size(self) -> int:
        """MiB that it has there."""
        return sum(use.memory for use in self.uses.values())


def _nobody() -> Mapping[str, Leaver]:
    return {}


def _nothing() -> Sequence[str]:
    return ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node on which the pod might be placed."""

    node: Node
    fits: bool = False
    """Whether its GPUs take the pod."""
    condition: str = READY
    """As `kubectl get nodes` shows it; empty: not known."""
    pods: Callable[[], Mapping[str, Leaver]] = _nobody
    """The pods whose end may be proposed, by what they are called."""
    lowered: Callable[[], Sequence[str]] = _nothing
    """Whose limits could be lowered so that the node takes the pod, in words; empty: that makes no room."""

    @property
    def open(self) -> bool:
        """Whether new pods can be placed on it."""
        return self.condition in (READY, "")


def candidate(
    ledger: CapacityLedger,
    node: Node,
    may_leave: Callable[[Booking], bool],
    *,
    fits: bool = False,
    condition: str = READY,
    lowered: Callable[[], Sequence[str]] = _nothing,
    shown: Callable[[str, str], str] = lambda pod, _: pod,
) -> Candidate:
    """Return a node of the ledger as a candidate; `may_leave` says which of its pods may be proposed.

    `shown` makes of a pod's `namespace/name` and UID what it is called.
    """
    return Candidate(node, fits, condition, functools.partial(_leavers, ledger, node.name, may_leave, shown), lowered)


def _leavers(
    ledger: CapacityLedger, name: str, may_leave: Callable[[Booking], bool], shown: Callable[[str, str], str]
) -> dict[str, Leaver]:
    bookings = ledger.bookings_on(name).items()
    return {shown(one.pod, uid): Leaver(one.uses, one.priority) for uid, one in bookings if may_leave(one)}


_Ranked = tuple[int, int, Node]


@dataclass(frozen=True, slots=True)
class Most:
    """The most that is free on one GPU."""

    amount: int = 0
    index: int = 0
    node: str = ""

    @property
    def gpu(self) -> str:
        """`GPU 0 of node n1`."""
        return f"GPU {self.index} of node {self.node}"


class Survey:
    """What is known of the nodes that were added. Each takes microseconds, so that a caller can let others work."""

    def __init__(self, pod: PodRequest) -> None:
        requests = pod.containers.values()
        self._rank = max(request.gpus for request in requests)
        self._cores = any(request.cores and not request.whole for request in requests)
        self._by_memory: list[_Ranked] = []
        self._by_cores: list[_Ranked] = []
        self._closed: list[Node] = []
        self.nodes = 0
        """Nodes with GPUs."""
        self.largest = 0
        """MiB of the largest GPU."""
        self.memory = Most()
        """MiB on a GPU that takes shares."""
        self.cores = Most()
        """Percent on such a GPU."""
        self.empty = Most()
        """GPUs of one node that nobody has a share of; its index means nothing."""

    def add(self, node: Node) -> None:
        """Take a node into account."""
        if not node.gpus:
            return
        self.nodes += 1
        memories, cores, empty, closed = [], [], 0, False
        for state in node.gpus:
            gpu, taken = state.gpu, state.taken
            if gpu.memory > self.largest:
                self.largest = gpu.memory
            if not gpu.healthy or state.cordoned:
                closed = True
            elif not taken.whole:
                memories.append(free := free_memory(state))
                if free > self.memory.amount:
                    self.memory = Most(free, gpu.index, node.name)
                cores.append(free := free_cores(state))
                if free > self.cores.amount:
                    self.cores = Most(free, gpu.index, node.name)
                empty += not taken.shares and not taken.memory
        if empty > self.empty.amount:
            self.empty = Most(empty, 0, node.name)
        if closed and len(self._closed) < MAX_CLOSED:
            self._closed.append(node)
        # Of nodes that are equally close, the first; a heap compares no nodes, because no two numbers are equal.
        _keep(self._by_memory, (nth(memories, self._rank), -self.nodes, node))
        if self._cores:
            _keep(self._by_cores, (nth(cores, self._rank), -self.nodes, node))

    def closest(self) -> list[Node]:
        """Return the nodes that are worth a closer look, those with the most free memory on a GPU first."""
        ranked = [*sorted(self._by_memory, reverse=True), *sorted(self._by_cores, reverse=True)]
        return list({node.name: node for node in (*(entry[2] for entry in ranked), *self._closed)}.values())


def _keep(heap: list[_Ranked], entry: _Ranked) -> None:
    if len(heap) < MAX_NODES // 2:
        heapq.heappush(heap, entry)
    elif entry > heap[0]:
        heapq.heapreplace(heap, entry)


def takes_shares(state: GpuState) -> bool:
    """Return whether a share of some size may be placed on the GPU, as far as the GPU itself is concerned."""
    return state.gpu.healthy and not state.cordoned and not state.taken.whole


def free_memory(state: GpuState) -> int:
    """Return the GPU's free MiB."""
    return max(0, state.gpu.memory - state.taken.memory)


def free_cores(state: GpuState) -> int:
    """Return the GPU's free percent of compute time."""
    return max(0, fit.FULL - state.taken.cores)


def nth(values: Sequence[int], rank: int) -> int:
    """Return the value of this rank, the largest being 1; 0 where there are fewer."""
    if rank > len(values):
        return 0
    return max(values) if rank == 1 else sorted(values, reverse=True)[rank - 1]
