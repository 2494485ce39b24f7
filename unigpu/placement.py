"""Which of a node's GPUs a pod's containers get: a plain function of what is asked for and what is taken.

All containers of a pod are considered together. The hardest to place comes first; where its best GPUs leave no room
for the others, other GPUs are tried, up to a bound. The same question always has the same answer.
"""

import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from unigpu import allocations, errors, fit, modes
from unigpu.allocations import Allocation, GpuUsage, Share
from unigpu.fit import GpuState, Node, UnfitReason
from unigpu.requests import PlacementPolicy, PodRequest, Request, Role
from unigpu.units import GpuUuid, MiB, Percent

MOST_SETS = 1000
"""Sets of GPUs that are compared by their links; above that, sets grow greedily from each GPU."""
MOST_TRIALS = 500
"""Containers that are tried on GPUs, all in all, before a pod of several containers counts as not placeable."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the platform chose."""

    shares_per_gpu: int = 16
    """Shares that one GPU carries at once."""
    gpu_policy: PlacementPolicy = PlacementPolicy.BINPACK
    """Choice among GPUs where neither pod nor node says anything."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a node doesn't take a pod."""

    text: str
    """With the numbers of GPUs."""
    brief: str
    """Without them, so that the reasons of many nodes read the same and add up."""


class Unschedulable(errors.Unplaceable):
    """The node doesn't take the pod."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.text)
        self.reason = reason


_EMPTY = "node has no GPUs that the node agent reported"
NO_GPUS = Reason(_EMPTY, _EMPTY)


def place(node: Node, pod: PodRequest, rules: Rules) -> Allocation:
    """GPUs for every container of the pod.

    `pod.containers` are in the order in which they start.
    Raises Unschedulable.
    """
    reason = _separately(node, pod, rules)
    if reason is not None:
        raise Unschedulable(reason)
    policy = pod.preferences.gpu_policy or node.gpu_policy or rules.gpu_policy
    search = _Search(node, pod, policy, rules.shares_per_gpu, MOST_TRIALS)
    order = sorted(pod.containers, key=lambda name: _hardness(pod.containers[name]))
    if not search.fill(order, 0):
        raise Unschedulable(_together(tuple(pod.containers)))
    return Allocation(node.name, {name: search.chosen[name] for name in pod.containers})


def reason(node: Node, pod: PodRequest, rules: Rules) -> Reason | None:
    """Why `place` would refuse; None: it would place the pod. Quick for a pod with one GPU container."""
    found = _separately(node, pod, rules)
    if found is not None or len(pod.containers) == 1:
        return found
    try:
        place(node, pod, rules)
    except Unschedulable as error:
        return error.reason
    return None


def _separately(node: Node, pod: PodRequest, rules: Rules) -> Reason | None:
    """The first container that could not be placed even without the pod's others."""
    if not node.gpus:
        return NO_GPUS
    total = len(node.gpus)
    preferences, limit = pod.preferences, rules.shares_per_gpu
    for name, request in pod.containers.items():
        refusal = modes.refusal(node.mode, request)
        if refusal is not None:
            return Reason(f"container {name}: {refusal}", refusal)
        lacks = [lack for state in node.gpus if (lack := fit.check_fit(state, request, preferences, limit)) is not None]
        if total - len(lacks) < request.gpus:
            return _few(name, _wish(request), total, tuple(lacks))
    return None


def _hardness(request: Request) -> tuple[bool, int, int, int, int]:
    return (not request.whole, -request.gpus, -request.memory, -request.memory_percent, -request.cores)


_Wish = tuple[int, MiB, Percent, Percent, bool]


def _wish(request: Request) -> _Wish:
    return (request.gpus, request.memory, request.memory_percent, request.cores, request.whole)


def _together(containers: tuple[str, ...]) -> Reason:
    text = f"containers {', '.join(containers)} each fit on the GPUs that are free, but not together"
    return Reason(text, text)


@functools.lru_cache(maxsize=4096)
def _few(name: str, wish: _Wish, total: int, lacks: tuple[UnfitReason, ...]) -> Reason:
    gpus, memory, percent, cores, whole = wish
    wanted = fit.describe(Request(gpus, memory, percent, cores, whole=whole))
    wants = f"container {name} needs {wanted}"
    if total < gpus:
        text = f"{wants}: node has {total}"
        return Reason(text, text)
    fitting = total - len(lacks)
    few = f"only {fitting} of {total} fit, " if fitting else ""
    return Reason(f"{wants}: {few}{fit.count_reasons(lacks, total)}", f"{wants}: GPUs {fit.list_reasons(lacks)}")


_ALL_ANEW = 2001
"""Rank of a GPU on which nothing that the pod has already is of use."""
_Entry = tuple[str, Role, Share]
"""A container's share of one GPU."""


@dataclass(frozen=True, slots=True)
class _Option:
    """A GPU that could take a container's share."""

    state: GpuState
    share: Share
    rank: tuple[int, ...]
    """Lower is better; ends with the GPU's index, so no two are equal."""


@dataclass(slots=True)
class _Search:
    """A depth-first search through the containers; the first path is the greedy choice."""

    node: Node
    pod: PodRequest
    policy: PlacementPolicy
    shares_per_gpu: int
    trials: int
    chosen: dict[str, tuple[Share, ...]] = field(default_factory=dict)

    def fill(self, order: list[str], position: int) -> bool:
        """Place the containers from `position` on; False leaves `chosen` as it was."""
        if position == len(order):
            return True
        name = order[position]
        for shares in self._sets(name):
            self.trials -= 1
            self.chosen[name] = shares
            if self.fill(order, position + 1):
                return True
            del self.chosen[name]
            if self.trials <= 0:
                return False
        return False

    def _sets(self, name: str) -> Iterator[tuple[Share, ...]]:
        """Sets of GPUs for the container, the best first; GPUs in the order of their index."""
        request = self.pod.containers[name]
        options = self._options(name, request)
        if request.gpus == 1:
            for option in options:
                yield (option.share,)
            return
        if len(options) < request.gpus:
            return
        linked = request.whole or self.policy is PlacementPolicy.TOPOLOGY
        sets = _linked(options, request.gpus) if linked else itertools.combinations(options, request.gpus)
        for chosen in sets:
            yield tuple(option.share for option in sorted(chosen, key=lambda option: option.state.gpu.index))

    def _options(self, name: str, request: Request) -> list[_Option]:
        """GPUs that take the container's share beside what the pod has on them already, the best first."""
        own = self._own() if self.chosen else {}
        found: list[tuple[GpuState, Share, GpuUsage, int]] = []
        for state in self.node.gpus:
            if fit.check_fit(state, request, self.pod.preferences, self.shares_per_gpu) is not None:
                continue
            share = fit.share_of(state.gpu, request)
            beside = own.get(state.gpu.uuid)
            if beside is None:
                found.append((state, share, fit.UNUSED, _ALL_ANEW))
                continue
            together = self._with(beside, name, request.role, share)
            if fit.check_fit_together(state, together, self.shares_per_gpu) is None:
                before = _peak(_plain(beside))
                found.append((state, share, before, _anew(share, before, _peak(together))))
        candidates = [state for state, *_ in found]
        options = [
            _Option(state, share, self._rank(state, request, before, anew, candidates))
            for state, share, before, anew in found
        ]
        options.sort(key=lambda option: option.rank)
        return options

    def _own(self) -> dict[GpuUuid, list[_Entry]]:
        """What the pod has on each GPU so far, in the order in which its containers start."""
        own: dict[GpuUuid, list[_Entry]] = {}
        for name, request in self.pod.containers.items():
            for share in self.chosen.get(name, ()):
                own.setdefault(share.gpu, []).append((name, request.role, share))
        return own

    def _with(self, beside: Sequence[_Entry], name: str, role: Role, share: Share) -> list[tuple[Role, Share]]:
        place = {container: number for number, container in enumerate(self.pod.containers)}
        return _plain(sorted([*beside, (name, role, share)], key=lambda entry: place[entry[0]]))

    def _rank(
        self, state: GpuState, request: Request, before: GpuUsage, anew: int, candidates: list[GpuState]
    ) -> tuple[int, ...]:
        """How well the GPU suits: first what the pod must take anew there, then the policy, then the index."""
        full = fit.fullness(GpuState(state.gpu, state.taken.plus(before)) if before.shares else state)
        shares = state.taken.shares + before.shares
        index = state.gpu.index
        if self.policy is PlacementPolicy.SPREAD:
            return (anew, full, shares, -state.gpu.memory, index)
        if request.gpus == 1 and (request.whole or self.policy is PlacementPolicy.TOPOLOGY):
            # A single GPU is taken where the fewest good links are lost to those who need several.
            links = sum(fit.link(state.gpu, other.gpu) for other in candidates if not other.taken.shares)
            return (anew, -full, -shares, links, state.gpu.memory, index)
        return (anew, -full, -shares, state.gpu.memory, index)


def _plain(entries: Sequence[_Entry]) -> list[tuple[Role, Share]]:
    return [(role, share) for _, role, share in entries]


def _peak(shares: Sequence[tuple[Role, Share]]) -> GpuUsage:
    return functools.reduce(GpuUsage.larger, allocations.usage_phases(shares))


def _anew(share: Share, before: GpuUsage, after: GpuUsage) -> int:
    """What the pod takes anew, 0 to _ALL_ANEW: an init container's share overlaps with those that run after it."""
    memory = (after.memory - before.memory) * 1000 // share.memory if share.memory else 1000
    cores = (after.cores - before.cores) * 1000 // share.cores if share.cores else 1000
    return memory + cores + after.shares - before.shares


def _linked(options: list[_Option], count: int) -> Iterator[tuple[_Option, ...]]:
    """Sets of `count` GPUs: those whose weakest link is best first, then the best links in all, then the ranks."""
    if math.comb(len(options), count) <= MOST_SETS:
        sets = list(itertools.combinations(options, count))
    else:
        grown = dict.fromkeys(_grown(options, seed, count) for seed in range(len(options)))
        sets = [tuple(options[number] for number in numbers) for numbers in grown]
    table = {
        (one.state.gpu.uuid, other.state.gpu.uuid): fit.link(one.state.gpu, other.state.gpu)
        for one, other in itertools.combinations(options, 2)
    }
    sets.sort(key=lambda chosen: _quality(chosen, table))
    yield from sets


def _grown(options: list[_Option], seed: int, count: int) -> tuple[int, ...]:
    """Positions of the set that grows from one GPU by the best linked of the others."""
    chosen = [seed]
    while len(chosen) < count:
        rest = [number for number in range(len(options)) if number not in chosen]
        chosen.append(
            max(
                rest,
                key=lambda number: (
                    min(fit.link(options[number].state.gpu, options[other].state.gpu) for other in chosen),
                    sum(fit.link(options[number].state.gpu, options[other].state.gpu) for other in chosen),
                    -number,
                ),
            )
        )
    return tuple(sorted(chosen))


def _quality(
    chosen: tuple[_Option, ...], table: Mapping[tuple[GpuUuid, GpuUuid], int]
) -> tuple[int, int, tuple[tuple[int, ...], ...]]:
    links = [table[one.state.gpu.uuid, other.state.gpu.uuid] for one, other in itertools.combinations(chosen, 2)]
    return (-min(links), -sum(links), tuple(option.rank for option in chosen))
