"""Choose which pods of one node make room for a pod of higher priority: as few, and as unimportant, as will do. Pure.

For each way to give the pod's containers GPUs, what those GPUs lack is a set of needs: memory, compute time and shares
of each GPU, and what the node's totals lack. `cover` finds the pods that free it with the least harm; the best of all
ways counts. Where there are too many ways or sets, the search ends early, and the answer is still a set of which no pod
could be spared.
"""

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

from unigpu import cover, fit, placement, ways
from unigpu.allocations import GpuUsage
from unigpu.cover import NODE, Item, Problem, Steps
from unigpu.fit import GpuState, Node
from unigpu.placement import Rules
from unigpu.requests import PodRequest
from unigpu.units import GpuUuid
from unigpu.ways import Way

Without = Callable[[Collection[str]], Node]
"""The node as it would be without these pods."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pod of the node that may be evicted."""

    uses: Mapping[GpuUuid, GpuUsage]
    priority: int = 0
    started: float = 0.0
    """Seconds since the epoch."""
    leaving: bool = False
    amounts: Mapping[str, int] = field(default_factory=dict)
    """What it takes of the node's totals."""
    budgets: tuple[int, ...] = ()
    """Positions of the disruption budgets that protect it."""


@dataclass(frozen=True, slots=True)
class Question:
    """Who must go, so that the pod has room on this node?"""

    pod: PodRequest
    rules: Rules
    candidates: Mapping[str, Candidate]
    """By UID."""
    without: Without
    allowed: tuple[int, ...] = ()
    """Evictions that each disruption budget allows."""
    fixed: frozenset[str] = frozenset()
    """Candidates that go in any case."""
    lacking: Mapping[str, int] = field(default_factory=dict)
    """What must be freed of the node's totals."""


def choose(question: Question, steps: Steps) -> frozenset[str] | None:
    """Return the UIDs of those that go, `fixed` included; None if the pod has no room even without all candidates."""
    if not _suffices(question, question.candidates.keys()):
        return None
    if _suffices(question, question.fixed):
        return question.fixed
    best: cover.Solution | None = None
    parts = _Parts(question)
    bounded = [(bound, number, way) for number, way in enumerate(_ways(question)) if (bound := parts.bound(way))]
    for bound, _, way in sorted(bounded, key=lambda entry: entry[:2]):
        worst = None if best is None else best.cost
        if worst is not None and (bound > worst[:4] or steps.left <= 0):
            break
        if worst is None or (bound < worst[:4] or parts.bound(way, worst) is not None):
            best = cover.solve(parts.problem(way), steps, worst) or best
    if best is not None and _suffices(question, best.keys):
        return best.keys if steps.left >= 0 else _spare(question, best.keys)
    return _spare(question, question.candidates.keys())


def cost(question: Question, chosen: Collection[str]) -> cover.Cost:
    """Return how much harm it does to evict exactly these."""
    return cover.cost([_item(uid, question.candidates[uid]) for uid in chosen], question.allowed)


def in_order(question: Question, chosen: Collection[str]) -> list[str]:
    """Return these in the kube-scheduler's order: the most important first."""
    return sorted(chosen, key=lambda uid: (-question.candidates[uid].priority, question.candidates[uid].started, uid))


def _suffices(question: Question, gone: Collection[str]) -> bool:
    freed = [question.candidates[uid].amounts for uid in gone]
    if any(sum(one.get(name, 0) for one in freed) < amount for name, amount in question.lacking.items()):
        return False
    return placement.reason(question.without(gone), question.pod, question.rules) is None


def _spare(question: Question, chosen: Collection[str]) -> frozenset[str]:
    """Return what is left of a set that suffices when every pod is spared that can be, the most important first.

    Pods whose eviction would exceed a budget are spared before all others.
    """
    closed = {position for position, allowed in enumerate(question.allowed) if allowed <= 0}
    order = in_order(question, set(chosen) - question.fixed)
    order.sort(key=lambda uid: closed.isdisjoint(question.candidates[uid].budgets))
    left = set(chosen)
    for uid in order:
        if _suffices(question, left - {uid}):
            left.discard(uid)
    return frozenset(left)


def _ways(question: Question) -> Iterator[Way]:
    empty = question.without(question.candidates.keys())
    return ways.ways(question.pod, empty, question.rules.shares_per_gpu, lambda gpu: _taken(question, gpu))


def _taken(question: Question, gpu: GpuUuid) -> int:
    """Return how many pods have a share of the GPU."""
    return sum(gpu in candidate.uses for candidate in question.candidates.values())


@dataclass(slots=True)
class _Parts:
    """The problems of single GPUs, of which those of ways consist."""

    question: Question
    states: Mapping[GpuUuid, GpuState] = field(init=False)
    present: dict[GpuUuid, list[str]] = field(default_factory=dict)
    """Candidates by GPU."""
    disjoint: bool = True
    """Whether no candidate has shares of two GPUs."""
    fixed: cover.Cost = field(init=False)
    bounds: dict[tuple[GpuUuid, GpuUsage, cover.Cost | None], cover.Bound | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        question = self.question
        self.states = {state.gpu.uuid: state for state in question.without(()).gpus}
        for uid, candidate in question.candidates.items():
            self.disjoint &= len(candidate.uses) <= 1
            for gpu in candidate.uses:
                self.present.setdefault(gpu, []).append(uid)
        self.fixed = cost(question, question.fixed)

    def bound(self, way: Way, better_than: cover.Cost | None = None) -> cover.Bound | None:
        """Return what no set of victims for this way goes below; None if there is none, or none that is better."""
        violations, highest, weight, count, _ = self.fixed
        base = (weight, count)
        for gpu, wanted in way.items():
            key = (gpu, wanted, better_than)
            if key not in self.bounds:
                self.bounds[key] = self._bound(gpu, wanted, better_than)
            part = self.bounds[key]
            if part is None:
                return None
            violations, highest = max(violations, part[0]), max(highest, part[1])
            if self.disjoint:
                weight, count = weight + part[2] - base[0], count + part[3] - base[1]
            else:
                weight, count = max(weight, part[2]), max(count, part[3])
        return violations, highest, weight, count

    def _bound(self, gpu: GpuUuid, wanted: GpuUsage, better_than: cover.Cost | None) -> cover.Bound | None:
        """Return the bound of one GPU. Its own parts may be less than those of a set that isn't better."""
        if wanted.whole and wanted.shares > 1:
            return None
        problem = self._problem({gpu: wanted}, {})
        if better_than is None:
            return cover.bound(problem)
        _, highest, _, _, oldest = better_than
        later = [item for item in problem.items if item.priority < highest or item.started > -oldest]
        return cover.bound(dataclasses.replace(problem, items=tuple(later)))

    def problem(self, way: Way) -> Problem:
        """Return what must be freed for this way, and who could."""
        return self._problem(way, self.question.lacking)

    def _problem(self, way: Way, lacking: Mapping[str, int]) -> Problem:
        question = self.question
        needs: list[int] = []
        groups: list[int] = []
        gives: list[Callable[[Candidate], int]] = []
        for number, (gpu, wanted) in enumerate(sorted(way.items(), key=lambda entry: entry[0])):
            for need, give in _needs_of_gpu(question, self.states[gpu], wanted):
                needs.append(need)
                groups.append(number)
                gives.append(give)
        for name, amount in lacking.items():
            needs.append(amount)
            groups.append(NODE)
            gives.append(functools.partial(_amount, name))

        def item(uid: str) -> Item:
            candidate = question.candidates[uid]
            return _item(uid, candidate, tuple([give(candidate) for give in gives]))

        concerned = question.candidates if lacking else dict.fromkeys(uid for gpu in way for uid in self._on(gpu))
        return Problem(
            tuple(needs),
            tuple(groups),
            tuple(item(uid) for uid in concerned if uid not in question.fixed),
            tuple(item(uid) for uid in sorted(question.fixed)),
            question.allowed,
        )

    def _on(self, gpu: GpuUuid) -> list[str]:
        return self.present.get(gpu, [])


def _needs_of_gpu(
    question: Question, state: GpuState, wanted: GpuUsage
) -> Iterator[tuple[int, Callable[[Candidate], int]]]:
    """Yield what must be freed of one GPU, each with how much of it a pod frees."""
    gpu, taken = state.gpu, state.taken
    if wanted.whole:
        # Everybody there must go.
        count = _taken(question, gpu.uuid)
        if count:
            yield count, functools.partial(_present, gpu.uuid)
        return
    if taken.whole:
        yield 1, functools.partial(_whole, gpu.uuid)
    memory, cores = taken.memory + wanted.memory - gpu.memory, taken.cores + wanted.cores - fit.FULL
    shares = taken.shares + wanted.shares - question.rules.shares_per_gpu
    if memory > 0:
        yield memory, functools.partial(_part, gpu.uuid, "memory")
    if cores > 0:
        yield cores, functools.partial(_part, gpu.uuid, "cores")
    if shares > 0:
        yield shares, functools.partial(_part, gpu.uuid, "shares")


def _item(uid: str, candidate: Candidate, gives: tuple[int, ...] = ()) -> Item:
    return Item(uid, candidate.priority, candidate.started, candidate.leaving, gives, candidate.budgets)


def _amount(name: str, candidate: Candidate) -> int:
    return candidate.amounts.get(name, 0)


def _present(gpu: GpuUuid, candidate: Candidate) -> int:
    return int(gpu in candidate.uses)


def _whole(gpu: GpuUuid, candidate: Candidate) -> int:
    use = candidate.uses.get(gpu)
    return int(use is not None and use.whole)


def _part(gpu: GpuUuid, what: str, candidate: Candidate) -> int:
    use = candidate.uses.get(gpu)
    return 0 if use is None else getattr(use, what)
