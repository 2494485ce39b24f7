"""Choose which containers of one node do with less, so that a more important pod has room: as few as will do. Pure.

For each way to give the pod's containers GPUs, what those GPUs lack of memory and compute time is a set of needs.
`cover` finds the containers that can give it with the least harm: the lowest priorities, and the fewest of them. Each
gives no more than is needed, and never goes below the least that its node agent published. A whole GPU, or another
share of a GPU that has no slot left, can't be had in this way.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from unigpu import cover, fit, placement, ways
from unigpu.allocations import GpuUsage
from unigpu.cover import Item, Problem, Steps
from unigpu.fit import GpuState, Node
from unigpu.ledger import Booking
from unigpu.lowering import Amounts, Lowerable
from unigpu.placement import Rules
from unigpu.requests import PodRequest
from unigpu.units import GpuUuid, MiB, Percent
from unigpu.ways import Way

TRIED_AGAIN_SINCE = (1, 33)
"""Version of the first kube-scheduler that tries a pod again which is no longer nominated to a node. Only by that does
it try a pod that keeps a vendor's resources again once limits were lowered for it."""
_VERSION = re.compile(r"v?([0-9]+)[.]([0-9]+)([^0-9].*)?")


def version(text: str) -> tuple[int, int] | None:
    """Return major and minor version, such as those of `v1.36.3`; None for what isn't a version."""
    found = _VERSION.fullmatch(text)
    return (int(found[1]), int(found[2])) if found else None


def tried_again(kube_scheduler: str) -> bool:
    """Return whether a kube-scheduler of this version tries a pod again that is no longer nominated to a node."""
    found = version(kube_scheduler)
    return found is not None and found >= TRIED_AGAIN_SINCE


@dataclass(frozen=True, slots=True)
class Giver:
    """A container that may have to do with less."""

    found: Lowerable
    priority: int = 0
    """Its pod's."""
    started: float = 0.0
    """When its pod started, seconds since the epoch."""

    @property
    def memory(self) -> int:
        """MiB that it can give on each of its GPUs."""
        return self.found.now.memory - self.found.least.memory

    @property
    def cores(self) -> int:
        """Percent that it can give on each of its GPUs."""
        return self.found.now.cores - self.found.least.cores


@dataclass(frozen=True, slots=True)
class Plan:
    """What is lowered."""

    lowered: tuple[tuple[Lowerable, Amounts], ...]
    """Each container with what it is limited to then. Empty: the pod has room already."""
    cost: cover.Cost
    """How much harm that does; lower is better."""


def givers(found: Sequence[Lowerable], bookings: Mapping[str, Booking], priority: int) -> list[Giver]:
    """Return the containers that may be lowered for a pod of this priority.

    Their pods have a lower one, aren't leaving, and are booked on the GPUs that the node agent names, with no less than
    it says: else one of the two is out of date.
    """
    result = []
    for one in found:
        booking = bookings.get(one.pod)
        if booking is None or not booking.confirmed or booking.priority >= priority or booking.evictee is None:
            continue
        uses = [booking.uses.get(gpu) for gpu in one.gpus]
        if booking.evictee.leaving or not all(use is not None and _covers(use, one.now) for use in uses):
            continue
        result.append(Giver(one, booking.priority, booking.evictee.started))
    return result


def plan(pod: PodRequest, rules: Rules, node: Node, able: Sequence[Giver], steps: Steps) -> Plan | None:
    """Return what is lowered on the node so that the pod has room; None if that can't make room."""
    if placement.reason(node, pod, rules) is None:
        return Plan((), cover.cost((), ()))
    least = _lowered(node, [(giver.found, giver.found.least) for giver in able])
    if placement.reason(least, pod, rules) is not None:
        return None
    states = {state.gpu.uuid: state for state in node.gpus}
    present: dict[GpuUuid, list[Giver]] = {}
    for giver in able:
        for gpu in giver.found.gpus:
            present.setdefault(gpu, []).append(giver)
    best: tuple[cover.Solution, Way] | None = None
    for way in ways.ways(pod, least, rules.shares_per_gpu, lambda gpu: len(present.get(gpu, ()))):
        if best is not None and steps.left <= 0:
            break
        problem = _problem(way, states, present, rules)
        if problem is None:
            continue
        found = cover.solve(problem, steps, None if best is None else best[0].cost)
        if found is not None:
            best = found, way
    if best is None:
        return None
    solution, way = best
    chosen = [giver for giver in able if giver.found.key in solution.keys]
    lowered = _amounts(chosen, {gpu: _needs(states[gpu], wanted) for gpu, wanted in way.items()})
    if placement.reason(_lowered(node, lowered), pod, rules) is not None:
        return None
    return Plan(tuple(lowered), solution.cost)


def in_words(
    lowered: Sequence[tuple[Lowerable, Amounts]],
    bookings: Mapping[str, Booking],
    shown: Callable[[str, str], str] = lambda pod, _: pod,
) -> tuple[str, ...]:
    """Return whose limits are lowered: `pod ns/name, container main: memory 4096 -> 1024 MiB`.

    `shown` makes of a pod's `namespace/name` and UID what it is called.
    """
    return tuple(_smaller(shown(bookings[one.pod].pod, one.pod), one, to) for one, to in lowered)


def _smaller(pod: str, one: Lowerable, to: Amounts) -> str:
    parts = []
    if to.memory != one.now.memory:
        parts.append(f"memory {one.now.memory} -> {to.memory} MiB")
    if to.cores != one.now.cores:
        parts.append(f"cores {one.now.cores} -> {to.cores} %")
    return f"pod {pod}, container {one.container}: {', '.join(parts)}"


def _covers(use: GpuUsage, now: Amounts) -> bool:
    return not use.whole and use.memory >= now.memory and use.cores >= now.cores


def _needs(state: GpuState, wanted: GpuUsage) -> tuple[int, int]:
    """Return how much memory and compute time a GPU lacks; 0 or less: none."""
    taken = state.taken
    return taken.memory + wanted.memory - state.gpu.memory, taken.cores + wanted.cores - fit.FULL


def _problem(
    way: Way, states: Mapping[GpuUuid, GpuState], present: Mapping[GpuUuid, Sequence[Giver]], rules: Rules
) -> Problem | None:
    """Return what must be given for this way, and who could; None if more than memory and compute time is lacking."""
    needs: list[int] = []
    groups: list[int] = []
    parts: list[tuple[GpuUuid, bool]] = []
    for number, (gpu, wanted) in enumerate(sorted(way.items(), key=lambda entry: entry[0])):
        taken = states[gpu].taken
        if wanted.whole and (taken.shares or taken.memory or wanted.shares > 1):
            return None
        if taken.shares + wanted.shares > rules.shares_per_gpu:
            return None
        for of_memory, need in zip((True, False), _needs(states[gpu], wanted), strict=True):
            if need > 0:
                needs.append(need)
                groups.append(number)
                parts.append((gpu, of_memory))
    concerned = {giver.found.key: giver for gpu in way for giver in present.get(gpu, ())}
    items = tuple(
        Item(
            key,
            giver.priority,
            giver.started,
            gives=tuple(
                (giver.memory if of_memory else giver.cores) if gpu in giver.found.gpus else 0
                for gpu, of_memory in parts
            ),
        )
        for key, giver in sorted(concerned.items())
    )
    return Problem(tuple(needs), tuple(groups), items, (), ())


def _amounts(chosen: Sequence[Giver], needs: Mapping[GpuUuid, tuple[int, int]]) -> list[tuple[Lowerable, Amounts]]:
    """Return what each of these containers is limited to, so that together they give what is needed, and no more.

    The less important give first, and of equal ones those that can give the most.
    """
    memory = {gpu: need for gpu, (need, _) in needs.items()}
    cores = {gpu: need for gpu, (_, need) in needs.items()}
    lowered = []
    for giver in sorted(chosen, key=lambda one: (one.priority, -one.memory, -one.cores, one.found.key)):
        found = giver.found
        given_memory, given_cores = _give(found, memory, giver.memory), _give(found, cores, giver.cores)
        if given_memory or given_cores:
            to = Amounts(MiB(found.now.memory - given_memory), Percent(found.now.cores - given_cores))
            lowered.append((found, to))
    return lowered


def _give(found: Lowerable, needed: dict[GpuUuid, int], most: int) -> int:
    """Return how much a container gives on each of its GPUs, and take it off what is needed there."""
    given = max(0, min(most, max(needed.get(gpu, 0) for gpu in found.gpus)))
    for gpu in found.gpus:
        if gpu in needed:
            needed[gpu] -= given
    return given


def _lowered(node: Node, lowered: Sequence[tuple[Lowerable, Amounts]]) -> Node:
    """Return the node as it is once these limits are in force."""
    memory: dict[GpuUuid, int] = {}
    cores: dict[GpuUuid, int] = {}
    for found, to in lowered:
        for gpu in found.gpus:
            memory[gpu] = memory.get(gpu, 0) + found.now.memory - to.memory
            cores[gpu] = cores.get(gpu, 0) + found.now.cores - to.cores
    return Node(
        node.name,
        tuple(_without(state, memory.get(state.gpu.uuid, 0), cores.get(state.gpu.uuid, 0)) for state in node.gpus),
        node.mode,
        node.gpu_policy,
    )


def _without(state: GpuState, memory: int, cores: int) -> GpuState:
    taken = state.taken
    left = GpuUsage(MiB(max(0, taken.memory - memory)), max(0, taken.cores - cores), taken.shares, taken.whole)
    return GpuState(state.gpu, left, state.cordoned)
