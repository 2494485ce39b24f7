"""Choose the GPUs of one node for a pod: a pure, deterministic function of the request and of what is taken.

All containers of a pod are placed together, the hardest first. If its best GPUs leave no room for the other
containers, the search tries other GPUs, up to MAX_TRIALS.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from unigpu import allocations, errors, fit, links, modes
from unigpu.allocations import Allocation, GpuUsage, Share
from unigpu.fit import GpuState, Node, UnfitReason
from unigpu.requests import PlacementPolicy, PodRequest, Request, Role
from unigpu.units import GpuUuid, MiB, Percent

MAX_SETS = 1000
"""Most sets of GPUs to try by their links, one after the other, for a pod of several containers. The best set is found
however many there are."""
MAX_TRIALS = 500
"""Most attempts to put a container on GPUs before a pod of several containers counts as unschedulable."""
MOST_EFFORT = 15_000
"""Shares of a pod's other containers to look at before a pod of several containers counts as unschedulable."""


@dataclass(slots=True)
class Effort:
    """What an answer has cost. A pod's author chooses how long a search takes, and other pods wait for it."""

    spent: int = 0
    """Shares that were looked at; each look takes some ten microseconds."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The platform's settings for placement."""

    shares_per_gpu: int = 16
    """Most shares on one GPU at the same time."""
    gpu_policy: PlacementPolicy = PlacementPolicy.BINPACK
    """How to choose among GPUs if neither the pod nor the node says so."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a node can't take a pod."""

    text: str
    """The reason with the number of GPUs for each cause."""
    brief: str
    """The same without numbers: kube-scheduler adds up nodes whose reasons are equal."""


class Unschedulable(errors.Unplaceable):
    """The node can't take the pod."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.text)
        self.reason = reason


_EMPTY = "node has no GPUs reported by the node agent"
NO_GPUS = Reason(_EMPTY, _EMPTY)


def place(node: Node, pod: PodRequest, rules: Rules, effort: Effort | None = None) -> Allocation:
    """Choose GPUs for every container of the pod, whose containers are in the order in which they start.

    Adds to `effort` what it cost. Raises Unschedulable.
    """
    reason = _check_each(node, pod, rules)
    if reason is not None:
        raise Unschedulable(reason)
    policy = pod.preferences.gpu_policy or node.gpu_policy or rules.gpu_policy
    search = _Search(node, pod, policy, rules.shares_per_gpu, MAX_TRIALS)
    order = sorted(pod.containers, key=lambda name: _hardest_first(pod.containers[name]))
    found = search.fill(order, 0)
    if effort is not None:
        effort.spent += search.spent + len(pod.containers) * len(node.gpus) // _CHECKS
    if not found:
        raise Unschedulable(_not_together(tuple(pod.containers)) if search.goes_on else _too_long(len(order)))
    return Allocation(node.name, {name: search.chosen[name] for name in pod.containers})


def reason(node: Node, pod: PodRequest, rules: Rules, effort: Effort | None = None) -> Reason | None:
    """Return why `place` would refuse the pod, or None if it would place it. Fast for a pod with one GPU container.

    Adds to `effort` what it cost.
    """
    found = _check_each(node, pod, rules)
    if effort is not None:
        effort.spent += len(pod.containers) * len(node.gpus) // _CHECKS
    if found is not None or len(pod.containers) == 1:
        return found
    try:
        place(node, pod, rules, effort)
    except Unschedulable as error:
        return error.reason
    return None


def _check_each(node: Node, pod: PodRequest, rules: Rules) -> Reason | None:
    """Return the reason of the first container that doesn't fit even without the pod's other containers."""
    if not node.gpus:
        return NO_GPUS
    total = len(node.gpus)
    preferences, limit = pod.preferences, rules.shares_per_gpu
    for name, request in pod.containers.items():
        refusal = modes.refusal(node.mode, request)
        if refusal is not None:
            return Reason(f"container {name}: {refusal}", refusal)
        unfit = [why for state in node.gpus if (why := fit.check_fit(state, request, preferences, limit)) is not None]
        if total - len(unfit) < request.gpus:
            return _too_few_gpus(name, _key_of(request), total, tuple(unfit))
    return None


def _hardest_first(request: Request) -> tuple[bool, int, int, int, int]:
    return (not request.whole, -request.gpus, -request.memory, -request.memory_percent, -request.cores)


_RequestKey = tuple[int, MiB, Percent, Percent, bool]
"""The fields of a request that its description depends on, as a key of the cache: a Request can't be hashed."""


def _key_of(request: Request) -> _RequestKey:
    return (request.gpus, request.memory, request.memory_percent, request.cores, request.whole)


def _not_together(containers: tuple[str, ...]) -> Reason:
    text = f"containers {', '.join(containers)} fit one by one, but not together"
    return Reason(text, text)


def _too_long(containers: int) -> Reason:
    text = (
        f"{containers} containers with GPUs take too long to place together; accepted: fewer of them, or of their GPUs"
    )
    return Reason(text, text)


@functools.lru_cache(maxsize=4096)
def _too_few_gpus(name: str, key: _RequestKey, total: int, unfit: tuple[UnfitReason, ...]) -> Reason:
    gpus, memory, percent, cores, whole = key
    wanted = fit.describe(Request(gpus, memory, percent, cores, whole=whole))
    needs = f"container {name} needs {wanted}"
    if total < gpus:
        text = f"{needs}: node has {total}"
        return Reason(text, text)
    fitting = total - len(unfit)
    only = f"only {fitting} of {total} {'fits' if fitting == 1 else 'fit'}, " if fitting else ""
    return Reason(f"{needs}: {only}{fit.count_reasons(unfit, total)}", f"{needs}: GPUs {fit.list_reasons(unfit)}")


def brief(name: str, request: Request, unfit: Collection[UnfitReason]) -> str:
    """Return the brief reason for a container that a node has too few GPUs for."""
    return f"container {name} needs {fit.describe(request)}: GPUs {fit.list_reasons(unfit)}"


_CHECKS = 16
"""Checks of one share against one GPU that take as long as a look at another share of the pod."""
_ALL_ADDITIONAL = 2001
"""Additional demand on a GPU of which the pod has nothing yet: the whole share."""
_Entry = tuple[str, Role, Share]
"""A container's name and role, and its share of one GPU."""


@dataclass(frozen=True, slots=True)
class _Option:
    """A GPU that can take a container's share."""

    state: GpuState
    share: Share
    rank: tuple[int, ...]
    """Lower is better. The last element is the GPU's index, so no two ranks are equal."""


@dataclass(slots=True)
class _Search:
    """A depth-first search over the containers; its first path is the greedy choice."""

    node: Node
    pod: PodRequest
    policy: PlacementPolicy
    shares_per_gpu: int
    trials: int
    chosen: dict[str, tuple[Share, ...]] = field(default_factory=dict)
    spent: int = 0
    """See Effort."""

    @property
    def goes_on(self) -> bool:
        """Whether more may be looked at."""
        return self.spent < MOST_EFFORT

    def fill(self, order: list[str], position: int) -> bool:
        """Place the containers from `position` on. Return False, with `chosen` unchanged, if they don't all fit."""
        if position == len(order):
            return True
        if not self.goes_on:
            return False
        name = order[position]
        for shares in self._sets(name):
            self.trials -= 1
            self.chosen[name] = shares
            if self.fill(order, position + 1):
                return True
            del self.chosen[name]
            if self.trials <= 0 or not self.goes_on:
                return False
        return False

    def _sets(self, name: str) -> Iterator[tuple[Share, ...]]:
        """Yield sets of GPUs for the container, the best first, each in the order of the GPUs' index."""
        request = self.pod.containers[name]
        options = self._options(name, request)
        if request.gpus == 1:
            for option in options:
                yield (option.share,)
            return
        if len(options) < request.gpus:
            return
        linked = request.whole or self.policy is PlacementPolicy.TOPOLOGY
        together = self.pod.preferences.numa
        for chosen in (
            _sets_by_numa(options, request.gpus, linked) if together else _sets(options, request.gpus, linked)
        ):
            yield tuple(option.share for option in sorted(chosen, key=lambda option: option.state.gpu.index))

    def _options(self, name: str, request: Request) -> list[_Option]:
        """Return the GPUs that can take the container's share along with the pod's other shares, the best first."""
        own = self._own_shares() if self.chosen else {}
        found: list[tuple[GpuState, Share, GpuUsage, int]] = []
        for state in self.node.gpus:
            if fit.check_fit(state, request, self.pod.preferences, self.shares_per_gpu) is not None:
                continue
            share = fit.share_of(state.gpu, request)
            present = own.get(state.gpu.uuid)
            if present is None:
                found.append((state, share, fit.UNUSED, _ALL_ADDITIONAL))
                continue
            self.spent += len(present) + 1
            together = self._in_start_order([*present, (name, request.role, share)])
            if fit.check_fit_together(state, together, self.shares_per_gpu) is None:
                before = _peak(_without_names(present))
                found.append((state, share, before, _additional_demand(share, before, _peak(together))))
        candidates = [state for state, *_ in found]
        options = [
            _Option(state, share, self._rank(state, request, before, additional, candidates))
            for state, share, before, additional in found
        ]
        options.sort(key=lambda option: option.rank)
        return options

    def _own_shares(self) -> dict[GpuUuid, list[_Entry]]:
        """Return the pod's shares of each GPU so far, in the order in which its containers start."""
        own: dict[GpuUuid, list[_Entry]] = {}
        for name, request in self.pod.containers.items():
            for share in self.chosen.get(name, ()):
                own.setdefault(share.gpu, []).append((name, request.role, share))
        return own

    def _in_start_order(self, entries: Sequence[_Entry]) -> list[tuple[Role, Share]]:
        place = {container: number for number, container in enumerate(self.pod.containers)}
        return _without_names(sorted(entries, key=lambda entry: place[entry[0]]))

    def _rank(
        self, state: GpuState, request: Request, before: GpuUsage, additional: int, candidates: list[GpuState]
    ) -> tuple[int, ...]:
        """Return the GPU's rank: by the pod's additional demand there, then by the policy, then by the index."""
        full = fit.fullness(dataclasses.replace(state, taken=state.taken.plus(before)) if before.shares else state)
        shares = state.taken.shares + before.shares
        index = state.gpu.index
        if self.policy is PlacementPolicy.SPREAD:
            return (additional, full, shares, -state.gpu.memory, index)
        if request.gpus == 1 and (request.whole or self.policy is PlacementPolicy.TOPOLOGY):
            # Prefer the GPU with the worst links to other empty GPUs: the good links stay for pods with several GPUs.
            broken = sum(fit.link(state.gpu, other.gpu) for other in candidates if not other.taken.shares)
            return (additional, -full, -shares, broken, state.gpu.memory, index)
        share = fit.share_of(state.gpu, request)
        left = fit.leftover(
            max(state.gpu.memory, 1),
            share.memory,
            share.cores,
            state.taken.memory + before.memory,
            state.taken.cores + before.cores,
        )
        return (additional, not shares, left, -full, -shares, state.gpu.memory, index)


def _without_names(entries: Sequence[_Entry]) -> list[tuple[Role, Share]]:
    return [(role, share) for _, role, share in entries]


def _peak(shares: Sequence[tuple[Role, Share]]) -> GpuUsage:
    """Return the most that the pod's shares of one GPU take at any time."""
    return functools.reduce(GpuUsage.larger, allocations.usage_phases(shares))


def _additional_demand(share: Share, before: GpuUsage, after: GpuUsage) -> int:
    """Return how much of the share adds to what the pod has on the GPU, in thousandths of each amount plus new shares.

    It can be less than the whole share: an init container's share overlaps with those of the containers after it.
    """
    memory = (after.memory - before.memory) * 1000 // share.memory if share.memory else 1000
    cores = (after.cores - before.cores) * 1000 // share.cores if share.cores else 1000
    return memory + cores + after.shares - before.shares


def _sets(options: list[_Option], count: int, linked: bool) -> Iterator[tuple[_Option, ...]]:
    """Yield sets of `count` GPUs, the best first: by their links, or by their ranks."""
    return _sets_by_links(options, count) if linked else itertools.combinations(options, count)


def _sets_by_numa(options: list[_Option], count: int, linked: bool) -> Iterator[tuple[_Option, ...]]:
    """Yield sets of `count` GPUs of one NUMA node, and then all sets, the best first.

    Of several NUMA nodes the one with the best set comes first.
    """
    nodes: dict[int, list[_Option]] = {}
    for option in options:
        if option.state.gpu.numa is not None:
            nodes.setdefault(option.state.gpu.numa, []).append(option)
    alike = [found for found in nodes.values() if len(found) >= count]

    def quality(found: list[_Option]) -> tuple[int, int, list[tuple[int, ...]]]:
        best = next(_sets(found, count, linked))
        between = [fit.link(one.state.gpu, other.state.gpu) for one, other in itertools.combinations(best, 2)]
        ranks = [option.rank for option in reversed(best)]  # the worst first: with binpack, no empty GPU
        return (-min(between), -sum(between), ranks) if linked else (0, 0, ranks)

    for found in sorted(alike, key=quality):
        yield from _sets(found, count, linked)
    yield from _sets(options, count, linked)


def _sets_by_links(options: list[_Option], count: int) -> Iterator[tuple[_Option, ...]]:
    """Yield sets of `count` GPUs: by their weakest link, then by the sum of their links, then by their ranks.

    The first is the best of all. The others, which only pods of several containers ask for, are in order as well if
    there are at most MAX_SETS; else only sets follow that are the best without one of the GPUs, without another, and so
    on.
    """
    table = [[fit.link(one.state.gpu, other.state.gpu) for other in options] for one in options]
    first = links.best(table, count)
    yield tuple(options[place] for place in first)
    seen = {first}
    if math.comb(len(options), count) <= MAX_SETS:
        others = list(itertools.combinations(range(len(options)), count))
        others.sort(key=lambda chosen: _link_quality(chosen, table))
        for chosen in others:
            if chosen not in seen:
                yield tuple(options[place] for place in chosen)
        return
    effort = links.EFFORT // len(options)
    for left_out in range(len(options)):
        # Every GPU of the best set may be the one that another container needs.
        kept = [place for place in range(len(options)) if place != left_out]
        found = links.best([[table[one][other] for other in kept] for one in kept], count, effort)
        chosen = tuple(kept[place] for place in found)
        if chosen not in seen:
            seen.add(chosen)
            yield tuple(options[place] for place in chosen)


def _link_quality(chosen: tuple[int, ...], table: links.Links) -> tuple[int, int, tuple[int, ...]]:
    found = [table[one][other] for one, other in itertools.combinations(chosen, 2)]
    return (-min(found), -sum(found), chosen)
