"""Why a pod isn't placed: each GPU of each node, and changes with which it would be. Pure."""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from cli.explain.report import Fact, Section
from cli.status import render
from cli.status.view import GpuView, NodeView
from unigpu import fit, modes, placement
from unigpu.fit import GpuState, Node, UnfitReason
from unigpu.placement import Rules
from unigpu.requests import PodRequest, Preferences, Request
from unigpu.units import MiB, Percent

MOST_NODES = 10
"""Nodes that are explained GPU by GPU, the closest to fitting first; the others are counted by reason."""
_MOST_TRIED = 200
"""Nodes on which it is tried whether the end of one pod would help."""


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """A node, and why it can't take the pod."""

    view: NodeView
    node: Node
    reason: placement.Reason | None
    """None: its GPUs fit."""


def candidates(nodes: Sequence[NodeView], pod: PodRequest, rules: Rules) -> list[Candidate]:
    """Return each node with the reason why its GPUs can't take the pod, the closest to fitting first."""
    found = [_candidate(node, pod, rules) for node in nodes]
    found.sort(key=lambda one: (one.reason is not None, not one.view.open, -_closeness(one), one.view.name))
    return found


def _candidate(view: NodeView, pod: PodRequest, rules: Rules) -> Candidate:
    node = Node(view.name, tuple(state for one in view.gpus if (state := one.state) is not None), view.mode)
    return Candidate(view, node, placement.reason(node, pod, rules))


def _closeness(one: Candidate) -> int:
    return max((gpu.free for gpu in one.view.gpus), default=0)


def by_gpu(found: Sequence[Candidate], pod: PodRequest, rules: Rules, most: int = MOST_NODES) -> Iterator[Section]:
    """Yield a section for each of the first nodes, with a line for each GPU, and one that counts the rest."""
    for one in found[:most]:
        closed = "" if one.view.open else f" ({one.view.condition}: it takes no new pods)"
        fits = "its GPUs fit" if one.reason is None else one.reason.text
        facts = [Fact("", line, kind=kind) for line, kind in _gpu_lines(one, pod, rules)]
        yield Section(f"Node {one.view.name}{closed}: {fits}", tuple(facts))
    rest = Counter(one.reason.brief if one.reason else "its GPUs fit" for one in found[most:])
    if rest:
        facts = [Fact("", f"{count}: {why}") for why, count in rest.most_common()]
        yield Section(f"{sum(rest.values())} more nodes, by reason", tuple(facts))


def _gpu_lines(one: Candidate, pod: PodRequest, rules: Rules) -> Iterator[tuple[str, str]]:
    views = {view.uuid: view for view in one.view.gpus}
    for name, request in pod.containers.items():
        where = f", container {name}" if len(pod.containers) > 1 else ""
        refusal = modes.refusal(one.node.mode, request)
        for state in one.node.gpus:
            why = fit.check_fit(state, request, pod.preferences, rules.shares_per_gpu)
            said = refusal or (_because(state, views[state.gpu.uuid], why, rules) if why else "fits")
            kind = "" if said == "fits" else "warn"
            yield f"GPU {state.gpu.index} {state.gpu.model}{where}: {said}", kind


def _because(state: GpuState, view: GpuView, why: UnfitReason, rules: Rules) -> str:
    gpu, taken = state.gpu, state.taken
    by = f" ({_tenants(view)})" if view.tenants else ""
    match why:
        case UnfitReason.UNHEALTHY:
            return f"unhealthy: {render.fault(gpu)}"
        case UnfitReason.MODEL:
            return "the pod rules out its model"
        case UnfitReason.UUID:
            return f"the pod rules out its UUID, {gpu.uuid}"
        case UnfitReason.SMALL:
            return f"too small: it has {gpu.memory} MiB in all"
        case UnfitReason.WHOLE:
            return f"allocated whole{by}"
        case UnfitReason.OCCUPIED:
            return f"not empty{by}"
        case UnfitReason.MEMORY:
            return f"{max(0, gpu.memory - taken.memory)} of {gpu.memory} MiB free{by}"
        case UnfitReason.CORES:
            return f"{max(0, fit.FULL - taken.cores)} of 100 % of compute free{by}"
        case _:
            return f"{taken.shares} of {rules.shares_per_gpu} shares taken{by}"


def _tenants(view: GpuView, most: int = 3) -> str:
    said = [
        f"{one.namespace}/{one.pod} has {one.share.memory or 'any'} MiB, {one.share.cores or 'any'} %"
        for one in sorted(view.tenants, key=lambda one: -one.share.memory)[:most]
    ]
    more = len(view.tenants) - most
    return "; ".join(said) + (f"; and {more} more" if more > 0 else "")


def helps(found: Sequence[Candidate], pod: PodRequest, rules: Rules) -> Iterator[str]:
    """Yield changes with which the pod would be placed; each was tried on the nodes as they are."""
    ready = [one for one in found if one.view.open]
    fitting = [one for one in ready if one.reason is None]
    if fitting:
        yield (
            f"The GPUs of node {fitting[0].view.name} fit{_others(len(fitting) - 1)}. If the pod still waits, "
            "something else keeps it: taints, CPU, memory, affinity, or totals of the node; the reason above says."
        )
        return
    yield from _closed([one for one in found if not one.view.open and one.reason is None])
    yield from _preferences(ready, pod, rules)
    for name in pod.containers:
        yield from _less(ready, pod, name, rules)
    yield from _mended(ready, pod, rules)
    yield from _ended(ready, pod, rules)


def _others(count: int) -> str:
    return f", and those of {count} more" if count else ""


def _closed(fitting: Sequence[Candidate]) -> Iterator[str]:
    for one in fitting[:3]:
        if "NotReady" in one.view.condition:
            yield f"Node {one.view.name} would fit, and isn't ready: find out why with `kubectl describe node`."
        else:
            yield f"Node {one.view.name} would fit, and is cordoned: `kubectl uncordon {one.view.name}`."


def _fits(ready: Sequence[Candidate], pod: PodRequest, rules: Rules) -> str:
    """Return the first node whose GPUs take the pod; empty: none."""
    return next((one.view.name for one in ready if placement.reason(one.node, pod, rules) is None), "")


def _with(pod: PodRequest, name: str, request: Request) -> PodRequest:
    return PodRequest({**pod.containers, name: request}, pod.preferences)


def _preferences(ready: Sequence[Candidate], pod: PodRequest, rules: Rules) -> Iterator[str]:
    if pod.preferences.selective:
        node = _fits(ready, PodRequest(pod.containers, Preferences()), rules)
        if node:
            yield f"Without the pod's choice of GPU models and UUIDs, node {node} would take it."


def _less(ready: Sequence[Candidate], pod: PodRequest, name: str, rules: Rules) -> Iterator[str]:
    """Yield the largest amount of one kind with which the container, else unchanged, would be placed."""
    request = pod.containers[name]
    own = f"container {name} of " if len(pod.containers) > 1 else ""
    if request.memory:
        free = {MiB(state.gpu.memory - state.taken.memory) for one in ready for state in one.node.gpus}
        for amount in sorted((one for one in free if 0 < one < request.memory), reverse=True):
            node = _fits(ready, _with(pod, name, dataclasses.replace(request, memory=amount)), rules)
            if node:
                yield f"With up to {amount} MiB instead of {request.memory} MiB, {own}the pod fits on node {node}."
                break
    if request.cores and not request.whole:
        left = {Percent(fit.FULL - state.taken.cores) for one in ready for state in one.node.gpus}
        for part in sorted((one for one in left if 0 < one < request.cores), reverse=True):
            fewer = dataclasses.replace(request, cores=part, ceiling=Percent(max(part, request.ceiling)))
            node = _fits(ready, _with(pod, name, fewer), rules)
            if node:
                yield f"With up to {part} % of compute instead of {request.cores} %, {own}the pod fits on node {node}."
                break
    for count in range(request.gpus - 1, 0, -1):
        node = _fits(ready, _with(pod, name, dataclasses.replace(request, gpus=count)), rules)
        if node:
            yield f"With {count} instead of {request.gpus} GPUs, {own}the pod fits on node {node}."
            break


def _mended(ready: Sequence[Candidate], pod: PodRequest, rules: Rules) -> Iterator[str]:
    for one in ready:
        sick = [state.gpu for state in one.node.gpus if not state.gpu.healthy]
        states = tuple(GpuState(dataclasses.replace(state.gpu, healthy=True), state.taken) for state in one.node.gpus)
        if sick and placement.reason(dataclasses.replace(one.node, gpus=states), pod, rules) is None:
            which = ", ".join(str(gpu.index) for gpu in sick)
            yield f"With GPU {which} of node {one.view.name} healthy again, that node would take it."
            return


def _ended(ready: Sequence[Candidate], pod: PodRequest, rules: Rules) -> Iterator[str]:
    """Yield the smallest pod whose end makes room."""
    best: tuple[int, str, str] | None = None
    for one in ready[:_MOST_TRIED]:
        for title, size in _pods(one.view).items():
            if best is not None and size >= best[0]:
                continue
            states = tuple(_without(view, title) for view in one.view.gpus if view.gpu is not None)
            node = dataclasses.replace(one.node, gpus=states)
            if placement.reason(node, pod, rules) is None:
                best = (size, title, one.view.name)
    if best is not None:
        yield f"Once pod {best[1]} has ended, node {best[2]} takes it."


def _pods(view: NodeView) -> Mapping[str, int]:
    """Return the node's pods, each with the MiB that it has there."""
    sizes: Counter[str] = Counter()
    for one in view.gpus:
        for tenant in one.tenants:
            sizes[f"{tenant.namespace}/{tenant.pod}"] += tenant.share.memory
    return sizes


def _without(view: GpuView, title: str) -> GpuState:
    """Return the GPU without a pod. Exact but for pods with several containers on one GPU that overlap in time."""
    assert view.gpu is not None
    gone = [one for one in view.tenants if f"{one.namespace}/{one.pod}" == title]
    if not gone:
        return GpuState(view.gpu, view.taken)
    taken = view.taken
    return GpuState(
        view.gpu,
        dataclasses.replace(
            taken,
            memory=MiB(max(0, taken.memory - sum(one.share.memory for one in gone))),
            cores=max(0, taken.cores - sum(one.share.cores for one in gone)),
            shares=max(0, taken.shares - len(gone)),
            whole=any(one.share.whole for one in view.tenants if one not in gone),
        ),
    )
