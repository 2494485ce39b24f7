"""What would help a pod that no GPU has room for: changes with each of which it would be placed. Pure.

`kubectl unigpu explain` and `plan` say it on request, and the scheduler in an event on the pod, all in these words.
Each change is tried by placement itself on the nodes as they are.
"""

import dataclasses
import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from unigpu import fit, placement, survey
from unigpu.allocations import GpuUsage
from unigpu.fit import GpuState, Node
from unigpu.placement import Rules
from unigpu.requests import PodRequest, Preferences, Request
from unigpu.survey import Candidate, Leaver, Survey
from unigpu.units import GpuUuid, MiB, Percent

NOTHING = "Nothing short of other nodes: no single change places it on the nodes as they are."
_MAX_CHECKS = 500
"""Most attempts at placing the pod for one kind of change."""
_PIECE = 50
"""Attempts after which others may work."""
_MAX_NODES_TOGETHER, _MAX_TOGETHER = 20, 4
"""Nodes on which it is tried whether the end of several pods helps, and how many pods are named at most."""
PAUSE = ""
"""Stands between two pieces of work, each of a few milliseconds at most, so that a caller can let others work."""


def helps(found: Iterable[Candidate], pod: PodRequest, rules: Rules) -> list[str]:
    """Return changes with which the pod would be placed."""
    by_name = {one.node.name: one for one in found}
    looked_at = Survey(pod)
    for one in by_name.values():
        if one.open:
            looked_at.add(one.node)
    closest = {name: one for name, one in by_name.items() if one.fits}
    closest |= {node.name: by_name[node.name] for node in looked_at.closest()}
    return [said for said in tried(list(closest.values()), pod, rules) if said != PAUSE]


def tried(found: Sequence[Candidate], pod: PodRequest, rules: Rules) -> Iterator[str]:
    """Yield changes with which the pod would be placed, and PAUSE now and then. `found`: the closest nodes first."""
    ready = [one for one in found if one.open]
    fitting = [one for one in ready if one.fits]
    if fitting:
        more = f", and those of {len(fitting) - 1} more" if len(fitting) > 1 else ""
        yield (
            f"The GPUs of node {fitting[0].node.name} fit{more}. If the pod still waits, "
            "something else keeps it: taints, CPU, memory, affinity, or totals of the node; the reason above says."
        )
        return
    yield from _closed([one for one in found if not one.open and one.fits])
    nodes = [one.node for one in ready]
    if pod.preferences.selective:
        node = _first(nodes, PodRequest(pod.containers, Preferences()), rules)
        if node:
            yield f"Without the pod's choice of GPU models and UUIDs, node {node} would take it."
        yield PAUSE
    for name in pod.containers:
        yield from _less(nodes, pod, name, rules)
    yield from _mended(nodes, pod, rules)
    yield PAUSE
    yield from _uncordoned(nodes, pod, rules)
    yield PAUSE
    yield from _ended(ready, pod, rules)
    for one in ready:
        lowered = one.lowered()
        if lowered:
            yield f"With lower limits, node {one.node.name} takes it: {'; '.join(lowered)} (`kubectl unigpu limit`)."
            return
        yield PAUSE


def _closed(fitting: Sequence[Candidate]) -> Iterator[str]:
    for one in fitting[:3]:
        name = one.node.name
        if "NotReady" in one.condition:
            yield f"Node {name} would fit, and isn't ready: find out why with `kubectl describe node`."
        else:
            yield f"Node {name} would fit, and is cordoned: `kubectl uncordon {name}`."


def _fits(node: Node, pod: PodRequest, rules: Rules) -> bool:
    return placement.reason(node, pod, rules) is None


def _first(nodes: Sequence[Node], pod: PodRequest, rules: Rules) -> str:
    """Return the first node whose GPUs take the pod; empty: none."""
    return next((node.name for node in nodes[:_MAX_CHECKS] if _fits(node, pod, rules)), "")


def _less(nodes: Sequence[Node], pod: PodRequest, name: str, rules: Rules) -> Iterator[str]:
    """Yield the largest amount of one kind with which the container, else unchanged, would be placed."""
    request = pod.containers[name]
    whose = f"container {name} of the pod" if len(pod.containers) > 1 else "the pod"

    def largest(asked: int, on_gpu: Callable[[GpuState], int], become: Callable[[int], Request]) -> tuple[int, str]:
        def bound(node: Node) -> int:
            usable = [on_gpu(state) for state in node.gpus if survey.takes_shares(state)]
            return min(asked - 1, survey.nth(usable, request.gpus))

        return _largest(nodes, bound, lambda amount: _with(pod, name, become(amount)), rules)

    if request.memory:
        amount, node = largest(
            request.memory, survey.free_memory, lambda amount: dataclasses.replace(request, memory=MiB(amount))
        )
        if amount:
            yield f"With up to {amount} MiB instead of {request.memory} MiB, {whose} fits on node {node}."
        yield PAUSE
    if request.memory_percent:
        amount, node = largest(
            request.memory_percent,
            lambda state: survey.free_memory(state) * 100 // max(1, state.gpu.memory),
            lambda amount: dataclasses.replace(request, memory_percent=Percent(amount)),
        )
        if amount:
            yield f"With up to {amount} % of memory instead of {request.memory_percent} %, {whose} fits on node {node}."
        yield PAUSE
    if request.cores and not request.whole:
        amount, node = largest(
            request.cores,
            survey.free_cores,
            lambda amount: dataclasses.replace(
                request, cores=Percent(amount), ceiling=Percent(max(amount, request.ceiling))
            ),
        )
        if amount:
            yield f"With up to {amount} % of compute instead of {request.cores} %, {whose} fits on node {node}."
        yield PAUSE
    if request.gpus > 1:
        amount, node = _largest(
            nodes,
            lambda node: min(request.gpus - 1, sum(map(survey.takes_shares, node.gpus))),
            lambda amount: _with(pod, name, dataclasses.replace(request, gpus=amount)),
            rules,
        )
        if amount:
            yield f"With {amount} instead of {request.gpus} GPUs, {whose} fits on node {node}."
        yield PAUSE


def _with(pod: PodRequest, name: str, request: Request) -> PodRequest:
    return PodRequest({**pod.containers, name: request}, pod.preferences)


def _largest(
    nodes: Sequence[Node], bound: Callable[[Node], int], become: Callable[[int], PodRequest], rules: Rules
) -> tuple[int, str]:
    """Return the largest amount with which one of the nodes takes the pod, and which node; 0: none does.

    `bound` returns what an amount on a node can't exceed. Only nodes are tried that may be better than those before.
    """
    best, where, checks = 0, "", 0
    for most, node in sorted(((bound(node), node) for node in nodes), key=lambda entry: -entry[0]):
        if most <= best or checks >= _MAX_CHECKS:
            break
        checks += 1
        if not _fits(node, become(best + 1), rules):
            continue
        low, high = best + 1, most
        while low < high:
            checks += 1
            middle = high if high == most else (low + high + 1) // 2
            if _fits(node, become(middle), rules):
                low = middle
            else:
                high = middle - 1
        best, where = low, node.name
    return best, where


def _mended(nodes: Sequence[Node], pod: PodRequest, rules: Rules) -> Iterator[str]:
    for node in nodes:
        sick = [state.gpu for state in node.gpus if not state.gpu.healthy]
        if not sick:
            continue
        states = [dataclasses.replace(one, gpu=dataclasses.replace(one.gpu, healthy=True)) for one in node.gpus]
        if _fits(dataclasses.replace(node, gpus=tuple(states)), pod, rules):
            which = ", ".join(str(gpu.index) for gpu in sick)
            yield f"With GPU {which} of node {node.name} healthy again, that node would take it."
            return


def _uncordoned(nodes: Sequence[Node], pod: PodRequest, rules: Rules) -> Iterator[str]:
    """Yield the first GPU, or else all GPUs of a node, whose cordon keeps the pod out."""
    for node in nodes:
        cordoned = [state.gpu for state in node.gpus if state.cordoned]
        groups = [[gpu] for gpu in cordoned]
        if len(cordoned) > 1:
            groups.append(cordoned)
        for which in groups:
            uuids = {gpu.uuid for gpu in which}
            states = tuple(
                dataclasses.replace(one, cordoned=one.cordoned and one.gpu.uuid not in uuids) for one in node.gpus
            )
            if _fits(dataclasses.replace(node, gpus=states), pod, rules):
                commands = " and ".join(f"`kubectl unigpu uncordon {node.name}/{gpu.index}`" for gpu in which)
                number = ", ".join(str(gpu.index) for gpu in which)
                yield f"With GPU {number} of node {node.name} no longer cordoned, that node would take it: {commands}."
                return


def _ended(found: Sequence[Candidate], pod: PodRequest, rules: Rules) -> Iterator[str]:
    """Yield the least important, and of those the smallest pod whose end makes room; else a few pods of one node."""
    alone: list[tuple[int, int, str, Candidate, Leaver]] = []
    for one in found:
        states = {state.gpu.uuid: state for state in one.node.gpus}
        for title, leaver in one.pods().items():
            if _opens(states, leaver, pod, rules):
                alone.append((leaver.priority, leaver.size, title, one, leaver))
        yield PAUSE
    for number, entry in enumerate(heapq.nsmallest(_MAX_CHECKS, alone, key=lambda entry: entry[:3])):
        *_, title, one, leaver = entry
        if not number % _PIECE:
            yield PAUSE
        if _fits(without(one.node, (leaver,)), pod, rules):
            yield f"Once pod {title} has ended, node {one.node.name} takes it."
            return
    for one in found[:_MAX_NODES_TOGETHER]:
        chosen = _together(one, pod, rules)
        if chosen:
            titles = f"{', '.join(chosen[:-1])} and {chosen[-1]}"
            yield f"Once pods {titles} have ended, node {one.node.name} takes it."
            return
        yield PAUSE


def _opens(states: Mapping[GpuUuid, GpuState], leaver: Leaver, pod: PodRequest, rules: Rules) -> bool:
    """Return whether one of the GPUs that the pod leaves has room for a container; if not, its end doesn't help."""
    if len(pod.containers) > 1:
        return True
    (request,) = pod.containers.values()
    return any(
        fit.check_fit(_left(states[gpu], (use,)), request, pod.preferences, rules.shares_per_gpu) is None
        for gpu, use in leaver.uses.items()
        if gpu in states
    )


def _together(one: Candidate, pod: PodRequest, rules: Rules) -> Sequence[str]:
    """Return a few pods of the node that make room together; empty: none were found."""
    if len(pod.containers) > 1:
        return ()
    (request,) = pod.containers.values()
    leavers = one.pods()
    sets = [_on_gpu(state, leavers, request, pod.preferences, rules) for state in one.node.gpus]
    fewest = sorted((chosen for chosen in sets if chosen is not None), key=len)[: request.gpus]
    titles = sorted({title for chosen in fewest for title in chosen})
    if not 1 < len(titles) <= _MAX_TOGETHER:
        return ()
    left = without(one.node, [leavers[title] for title in titles])
    return titles if _fits(left, pod, rules) else ()


def _on_gpu(
    state: GpuState, leavers: Mapping[str, Leaver], request: Request, preferences: Preferences, rules: Rules
) -> list[str] | None:
    """Return the few least important, and of those the largest pods of a GPU whose end makes room there; None: none.

    None of them could be spared.
    """

    def suffices(titles: Iterable[str]) -> bool:
        left = _left(state, [here[title] for title in titles])
        return fit.check_fit(left, request, preferences, rules.shares_per_gpu) is None

    uuid = state.gpu.uuid
    here = {title: leaver.uses[uuid] for title, leaver in leavers.items() if uuid in leaver.uses}
    chosen: list[str] = []
    order = sorted(here, key=lambda title: (leavers[title].priority, -here[title].memory, title))[:_MAX_TOGETHER]
    while not suffices(chosen):
        if not order:
            return None
        chosen.append(order.pop(0))
    for title in tuple(reversed(chosen)):
        rest = [one for one in chosen if one != title]
        if suffices(rest):
            chosen = rest
    return chosen


def without(node: Node, gone: Iterable[Leaver]) -> Node:
    """Return the node as it is once these pods have left."""
    uses: Mapping[GpuUuid, list[GpuUsage]] = {state.gpu.uuid: [] for state in node.gpus}
    for leaver in gone:
        for gpu, use in leaver.uses.items():
            if gpu in uses:
                uses[gpu].append(use)
    states = tuple(_left(state, uses[state.gpu.uuid]) if uses[state.gpu.uuid] else state for state in node.gpus)
    return dataclasses.replace(node, gpus=states)


def _left(state: GpuState, gone: Sequence[GpuUsage]) -> GpuState:
    taken = GpuUsage(
        MiB(max(0, state.taken.memory - sum(use.memory for use in gone))),
        max(0, state.taken.cores - sum(use.cores for use in gone)),
        max(0, state.taken.shares - sum(use.shares for use in gone)),
        state.taken.whole and not any(use.whole for use in gone),
    )
    return GpuState(state.gpu, taken, state.cordoned)
