"""Choose the pods whose eviction does the least harm among those sets that free enough: branch and bound. Pure.

Sets are compared as the kube-scheduler compares nodes: by how many evictions exceed disruption budgets, then by the
highest priority, then by the sum of priorities, each raised so that fewer pods always count less than more pods of a
similar priority, then by the number of pods, then by the start of the oldest pod of the highest priority, the latest
first.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

_RAISED = 1 << 31
"""What the kube-scheduler adds to each priority, so that all are above 0."""
_NOBODY = -math.inf
NODE = -1
"""Group of needs that any pod of the node may meet."""


@dataclass(frozen=True, slots=True)
class Item:
    """A pod that may be evicted."""

    key: str
    priority: int = 0
    started: float = 0.0
    """Seconds since the epoch."""
    free: bool = False
    """It is leaving anyway: evicting it costs nothing."""
    gives: tuple[int, ...] = ()
    """How much of each need it frees."""
    budgets: tuple[int, ...] = ()
    """Positions of the disruption budgets that protect it."""

    @property
    def weight(self) -> int:
        """What it adds to the sum of priorities."""
        return 0 if self.free else self.priority + _RAISED + 1


Cost = tuple[int, float, int, int, float]
"""Violations, highest priority, raised sum of priorities, number of pods, and minus the oldest start; lower is better.
"""


@dataclass(frozen=True, slots=True)
class Solution:
    """The best set that was found."""

    keys: frozenset[str]
    cost: Cost


@dataclass(slots=True)
class Steps:
    """How many sets may still be begun; shared by all searches of one question."""

    left: int

    def take(self) -> bool:
        """Count one more; return whether it was allowed."""
        self.left -= 1
        return self.left >= 0


@dataclass(frozen=True, slots=True)
class Problem:
    """What is needed, and who could give it."""

    needs: tuple[int, ...]
    """How much of each must be freed."""
    groups: tuple[int, ...]
    """For each need, the number of its GPU, or NODE for a need of the node as a whole."""
    items: tuple[Item, ...]
    fixed: tuple[Item, ...]
    """Those that are evicted in any case."""
    allowed: tuple[int, ...]
    """Evictions that each disruption budget allows."""


def cost(items: Sequence[Item], allowed: Sequence[int]) -> Cost:
    """Return the cost of evicting exactly these."""
    paid = [item for item in items if not item.free]
    used = [0] * len(allowed)
    for item in paid:
        for position in item.budgets:
            used[position] += 1
    violations = sum(max(0, count - most) for count, most in zip(used, allowed, strict=True))
    highest = max((item.priority for item in paid), default=_NOBODY)
    oldest = min((item.started for item in paid if item.priority == highest), default=math.inf)
    return violations, highest, sum(item.weight for item in paid), len(paid), -oldest


def solve(problem: Problem, steps: Steps, worse_than: Cost | None = None) -> Solution | None:
    """Return the best set, `fixed` included, that frees what is needed; None if none does, or none beats the cost.

    The set is the best of all unless `steps` ran out.
    """
    search = _Search(problem, steps, worse_than)
    search.run()
    return search.found


Bound = tuple[int, float, int, int]
"""The first four parts of a cost."""


def bound(problem: Problem, better_than: Cost | None = None) -> Bound | None:
    """Return what no set goes below; None if no set frees what is needed.

    With `better_than`, also None if every set with these four parts started too early to be better.
    """
    search = _Search(problem, Steps(0), better_than)
    state, left, others = search.start()
    found = search.promise(state, left, others)
    return None if found is None else found[0]


@dataclass(frozen=True, slots=True)
class _State:
    """Pods that are chosen so far, and their cost."""

    keys: tuple[str, ...] = ()
    used: tuple[int, ...] = ()
    """Evictions by budget."""
    violations: int = 0
    highest: float = _NOBODY
    weight: int = 0
    count: int = 0
    oldest: float = math.inf

    @property
    def cost(self) -> Cost:
        return self.violations, self.highest, self.weight, self.count, -self.oldest

    def plus(self, item: Item, allowed: Sequence[int]) -> "_State":
        """Return the state with one more pod."""
        if item.free:
            return dataclasses.replace(self, keys=(*self.keys, item.key))
        used, violations = self.used, self.violations
        if item.budgets:
            counts = list(used)
            for position in item.budgets:
                counts[position] += 1
                violations += counts[position] > allowed[position]
            used = tuple(counts)
        oldest = self.oldest
        if item.priority >= self.highest:
            oldest = min(oldest, item.started) if item.priority == self.highest else item.started
        return _State(
            (*self.keys, item.key),
            used,
            violations,
            max(self.highest, item.priority),
            self.weight + item.weight,
            self.count + 1,
            oldest,
        )


@dataclass(slots=True)
class _Search:
    problem: Problem
    steps: Steps
    best: Cost | None
    found: Solution | None = None
    disjoint: bool = field(init=False)
    """Whether no pod frees anything for two GPUs, so that what the GPUs need adds up."""

    def __post_init__(self) -> None:
        groups = self.problem.groups
        several = len(set(groups) - {NODE}) > 1
        self.disjoint = not several or all(
            len({group for group, gives in zip(groups, item.gives, strict=True) if gives and group != NODE}) <= 1
            for item in self.problem.items
        )

    def run(self) -> None:
        """Search from the pods that go in any case, and those that leave anyway."""
        self._extend(*self.start())

    def start(self) -> tuple[_State, list[int], list[Item]]:
        """Return the pods that are chosen from the beginning, what they leave to be freed, and who else may free it."""
        items, allowed = self.problem.items, self.problem.allowed
        chosen = [*self.problem.fixed, *(item for item in items if item.free and any(item.gives))]
        state = _State(used=(0,) * len(allowed))
        for item in chosen:
            state = state.plus(item, allowed)
        left = [need - sum(item.gives[at] for item in chosen) for at, need in enumerate(self.problem.needs)]
        others = [item for item in items if not item.free]
        others.sort(key=lambda item: (item.priority, -item.started, item.key))
        return state, left, others

    def promise(self, state: _State, left: list[int], others: list[Item]) -> tuple[Bound, int, list[Item]] | None:
        """Return what no extension goes below, the need that takes the most pods, and who may still be chosen.

        None if the needs can't be met, or not better than the best so far.
        """
        found = self._bound(state, left, others)
        if found is None or self.best is None or found[0] < self.best[:4]:
            return None if found is None else (*found, others)
        if found[0] > self.best[:4]:
            return None
        # Equal so far: only sets whose most important pods all started later are better.
        highest, oldest = self.best[1], -self.best[4]
        if state.highest == highest and state.oldest <= oldest:
            return None
        later = [item for item in others if item.priority < highest or item.started > oldest]
        if len(later) == len(others):
            return (*found, others)
        found = self._bound(state, left, later)
        return None if found is None or found[0] > self.best[:4] else (*found, later)

    def _extend(self, state: _State, left: list[int], others: list[Item]) -> None:
        """Try every set that adds some of `others`, but for those that can't be better than the best."""
        if not self.steps.take():
            return
        if all(need <= 0 for need in left):
            if self.best is None or state.cost < self.best:
                self.best = state.cost
                self.found = Solution(frozenset(state.keys), state.cost)
            return
        promised = self.promise(state, left, others)
        if promised is None:
            return
        _, at, others = promised
        forced = [item for item in others if item.gives[at]]
        if len(forced) == _fewest(left[at], sorted([item.gives[at] for item in forced], reverse=True)):
            # Nobody can be spared.
            for item in forced:
                state = state.plus(item, self.problem.allowed)
                left = [need - given for need, given in zip(left, item.gives, strict=True)]
            self._extend(state, left, [item for item in others if not item.gives[at]])
            return
        unmet = [at for at, need in enumerate(left) if need > 0]
        gives = {
            item.key: given for item in others if any(given := [min(item.gives[need], left[need]) for need in unmet])
        }
        rest = [item for item in others if item.key in gives]
        givers = sorted((item for item in rest if item.gives[at]), key=lambda item: (item.priority, -item.gives[at]))
        dropped: set[str] = set()
        for item in givers:
            if item.key in dropped:
                continue
            rest = [other for other in rest if other is not item]
            after = [need - given for need, given in zip(left, item.gives, strict=True)]
            self._extend(state.plus(item, self.problem.allowed), after, rest)
            # From here on without it: then also without those that it could replace.
            kept = [other for other in rest if not _replaces(item, gives[item.key], other, gives[other.key])]
            if len(kept) < len(rest):
                dropped.update({other.key for other in rest} - {other.key for other in kept})
                rest = kept

    def _bound(self, state: _State, left: list[int], others: list[Item]) -> tuple[Bound, int] | None:
        highest = state.highest
        by_group: dict[int, tuple[int, int]] = {}
        hardest, at_hardest = 0, 0
        for at, need in enumerate(left):
            if need <= 0:
                continue
            givers = [item for item in others if item.gives[at]]
            count = _fewest(need, sorted([item.gives[at] for item in givers], reverse=True))
            if count is None:
                return None
            lightest = givers[:count]
            highest = max(highest, lightest[-1].priority)
            group = self.problem.groups[at]
            weight = sum([item.weight for item in lightest])
            former = by_group.get(group, (0, 0))
            by_group[group] = (max(former[0], weight), max(former[1], count))
            if count > hardest:
                hardest, at_hardest = count, at
        weight, count = by_group.pop(NODE, (0, 0))
        if by_group:
            join = sum if self.disjoint else max
            weight = max(weight, join(found for found, _ in by_group.values()))
            count = max(count, join(found for _, found in by_group.values()))
        return (state.violations, highest, state.weight + weight, state.count + count), at_hardest


def _fewest(need: int, amounts: Sequence[int]) -> int | None:
    """Return how many of the amounts, the largest first, add up to the need; None if all together don't."""
    for count, amount in enumerate(amounts, start=1):
        need -= amount
        if need <= 0:
            return count
    return None


def _replaces(one: Item, gives: Sequence[int], other: Item, others_gives: Sequence[int]) -> bool:
    """Return whether a set with `other` and without `one` is no better than with `one` in its place.

    `gives`, `others_gives`: how much each frees of what is still needed, and no more than is needed.
    """
    if one.priority > other.priority or (one.priority == other.priority and one.started < other.started):
        return False
    if any(mine < theirs for mine, theirs in zip(gives, others_gives, strict=True)):
        return False
    return not one.budgets or set(one.budgets) <= set(other.budgets)
