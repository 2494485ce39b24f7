"""Why a pod isn't placed: each GPU of each node, and changes with which it would be. Pure."""

import dataclasses
import functools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from cli.explain.report import Fact, Section
from cli.status import render
from cli.status.view import GpuView, NodeView
from unigpu import fit, modes, placement, remedies, survey
from unigpu.allocations import GpuUsage
from unigpu.fit import GpuState, Node, UnfitReason
from unigpu.placement import Rules
from unigpu.requests import PodRequest
from unigpu.survey import Leaver
from unigpu.units import GpuUuid

MOST_NODES = 10
"""Nodes that are explained GPU by GPU, the closest to fitting first; the others are counted by reason."""


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


def _because(state: GpuState, view: GpuView, unfit: UnfitReason, rules: Rules) -> str:
    gpu, taken = state.gpu, state.taken
    by = f" ({_tenants(view)})" if view.tenants else ""
    match unfit:
        case UnfitReason.UNHEALTHY:
            return f"unhealthy: {render.fault(gpu)}"
        case UnfitReason.CORDONED:
            why = f": {view.cordon.reason}" if view.cordon is not None and view.cordon.reason else ""
            return f"cordoned{why}"
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


def helps(found: Sequence[Candidate], pod: PodRequest, rules: Rules) -> list[str]:
    """Return changes with which the pod would be placed; each was tried on the nodes as they are."""
    return remedies.helps(map(_tried, found), pod, rules)


def _tried(one: Candidate) -> survey.Candidate:
    pods = functools.partial(_pods, one.view)
    return survey.Candidate(one.node, one.reason is None, one.view.condition, pods)


def _pods(view: NodeView) -> Mapping[str, Leaver]:
    """Return the node's pods. Exact but for pods with several containers on one GPU that overlap in time."""
    uses: dict[str, dict[GpuUuid, GpuUsage]] = {}
    for one in view.gpus:
        for tenant in one.tenants:
            share = tenant.share
            of_pod = uses.setdefault(f"{tenant.namespace}/{tenant.pod}", {})
            use = GpuUsage(share.memory, share.cores, 1, share.whole)
            of_pod[one.uuid] = of_pod[one.uuid].plus(use) if one.uuid in of_pod else use
    return {title: Leaver(of_pod) for title, of_pod in uses.items()}
