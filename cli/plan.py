"""`kubectl unigpu plan`: where a pod would go, by the code that admits and places pods. Pure."""

import contextlib
import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jsonpatch

from cli import manifests, pod_shapes
from cli.manifests import Manifest
from unigpu import (
    api_objects,
    documents,
    errors,
    findings,
    fit,
    headroom,
    lowering,
    placement,
    pod_resources,
    remedies,
    room,
    shrinks,
    survey,
    vendor_resources,
    victims,
)
from unigpu.budgets import Budget
from unigpu.cover import Steps
from unigpu.fit import GpuState, Node
from unigpu.ledger import Booking, CapacityLedger
from unigpu.lowering import Lowerable
from unigpu.placement import Rules, Unschedulable
from unigpu.requests import PodRequest
from unigpu.units import GpuUuid
from unigpu.victims import Question
from webhook.translation import decision as decisions
from webhook.translation.options import Options

MAX_STEPS = 5000
"""Most sets of victims to begin for one pod on one node."""
_LOWERS = "nobody is evicted; limits would be lowered"
_EVICTS = "would be evicted"
_LEAVES = "nobody is evicted, because the node's totals have room; room if these leave"


@dataclass(frozen=True, slots=True)
class PlannedPod:
    """A pod of a manifest, as admission would leave it."""

    title: str
    request: PodRequest | None
    """None: it asks for no GPU, or is refused."""
    refusal: str = ""
    priority: int = 0
    amounts: Mapping[str, int] = field(default_factory=dict)
    """What it would take of its node's totals, as in `unigpu.pod_resources`."""


@dataclass(frozen=True, slots=True)
class Rest:
    """What else decides where a pod may go."""

    priorities: Mapping[str, int] = field(default_factory=dict)
    """Values of priority classes; that of the default class under an empty name."""
    budgets: Sequence[Budget] = ()
    lowerable: Mapping[str, Sequence[Lowerable]] = field(default_factory=dict)
    """What containers of each node could do without; nothing where limits aren't lowered to make room."""
    tries_again: bool = False
    """Whether limits are also lowered for pods that keep a vendor's resources: the kube-scheduler tries them again."""
    conditions: Mapping[str, str] = field(default_factory=dict)
    """Of nodes, as `kubectl get nodes` shows them; of others it isn't known."""


NOTHING_ELSE = Rest()


@dataclass(frozen=True, slots=True)
class GpuVerdict:
    """One GPU of a node, for one pod."""

    state: GpuState
    containers: tuple[str, ...]
    """Containers that would get a share of it; empty: none."""
    reasons: tuple[str, ...]
    """Why it can't take a container, one for each container that it can't take: `main: too small`."""


@dataclass(frozen=True, slots=True)
class NodeVerdict:
    """One node, for one pod."""

    name: str
    reason: str
    """Why it doesn't take the pod; empty: it does."""
    gpus: tuple[GpuVerdict, ...]
    victims: tuple[str, ...] = ()
    """Pods of lower priority that would have to go, so that it takes the pod; empty: it does, or none would do."""
    by_itself: bool = False
    """Whether the kube-scheduler would evict them: the node's totals have no room either."""
    lowered: tuple[str, ...] = ()
    """Containers whose limits would be lowered instead: `pod ns/name, container main: memory 4096 -> 1024 MiB`."""


def pods(manifest: Manifest, options: Options, rest: Rest = NOTHING_ELSE) -> Iterator[PlannedPod]:
    """Yield every pod of a manifest, translated as at admission.

    Raises Malformed where a pod in it isn't one.
    """
    for found in pod_shapes.pods(manifest.document):
        decision = decisions.decide(found.pod, options)
        problems = decision.translation.problems
        if decision.denied or problems:
            yield PlannedPod(manifest.title, None, decision.denied or findings.message(problems))
        elif decision.translation.request is None:
            yield PlannedPod(manifest.title, None)
        else:
            patched = jsonpatch.apply_patch(found.pod, decision.patch)
            spec = patched["spec"]
            yield PlannedPod(manifest.title, api_objects.request(patched), "", _priority(spec, rest), _amounts(spec))


def ledger(nodes: Iterable[Mapping[str, Any]], found: Iterable[Mapping[str, Any]]) -> CapacityLedger:
    """Return the ledger of these nodes and pods, as the scheduler keeps it. What can't be read counts as absent."""
    result = CapacityLedger()
    for document in nodes:
        try:
            node = api_objects.node(document)
        except documents.INVALID:
            continue
        result.set_node(node.name, node.gpus, node.mode, node.gpu_policy, node.cordoned, node.totals)
    for pod in api_objects.pods(found)[0]:
        if pod.allocation is not None and not pod.ended:
            uses = api_objects.usage(pod)
            result.book(pod.uid, Booking(pod.key, pod.node, uses, priority=pod.priority, evictee=pod.evictee))
    return result


def lowerable(nodes: Iterable[Mapping[str, Any]]) -> dict[str, Sequence[Lowerable]]:
    """Return what containers of each node could do without. What can't be read counts as nothing."""
    found: dict[str, Sequence[Lowerable]] = {}
    for document in nodes:
        with contextlib.suppress(errors.Malformed, *documents.INVALID):
            node = api_objects.node(document)
            found[node.name] = lowering.load(node.lowerable, node.gpus)
    return found


def conditions(nodes: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return each node's condition, of those that can be read."""
    found = {}
    for document in nodes:
        with contextlib.suppress(*documents.INVALID):
            node = api_objects.node(document)
            found[node.name] = node.condition
    return found


def verdicts(of: CapacityLedger, pod: PlannedPod, rules: Rules, rest: Rest = NOTHING_ELSE) -> list[NodeVerdict]:
    """Return what each node with GPUs says, those that take the pod first, in the order that the scheduler prefers."""
    assert pod.request is not None
    ranked = []
    for name in of.nodes():
        node = of.node(name)
        assert node is not None
        verdict = _verdict(node, pod.request, rules)
        if verdict.reason:
            verdict = _with_victims(verdict, of, pod, rules, rest)
        ranked.append((bool(verdict.reason), *_preference(of, node, pod.request, rules), name, verdict))
    return [verdict for *_, verdict in sorted(ranked, key=lambda entry: entry[:-1])]


def helps(of: CapacityLedger, pod: PlannedPod, rules: Rules, rest: Rest = NOTHING_ELSE) -> list[str]:
    """Return changes with which a pod that no node takes would be placed; those that `explain` names of one that waits.

    What `verdicts` says of each node, victims and lowered limits, isn't said again.
    """
    assert pod.request is not None
    candidates = []
    for name in of.nodes():
        node = of.node(name)
        assert node is not None
        condition = rest.conditions.get(name, "")
        fits = placement.reason(node, pod.request, rules) is None
        candidates.append(survey.candidate(of, node, lambda _: True, fits=fits, condition=condition))
    return remedies.helps(candidates, pod.request, rules) or [remedies.NOTHING]


def lines(pod: PlannedPod, found: Iterable[NodeVerdict]) -> Iterator[str]:
    """Yield the plan as text: a line for each node, and below it one for each of its GPUs."""
    yield pod.title
    for verdict in found:
        yield f"  node {verdict.name}: {verdict.reason or 'takes the pod'}"
        for gpu in verdict.gpus:
            yield f"    {_describe(gpu)}"
        if verdict.lowered:
            yield f"    {_LOWERS}: {'; '.join(verdict.lowered)}"
        if verdict.victims:
            shown = ", ".join(verdict.victims)
            yield f"    {_EVICTS}: {shown}" if verdict.by_itself else f"    {_LEAVES}: {shown}"


def _preference(of: CapacityLedger, node: Node, pod: PodRequest, rules: Rules) -> tuple[int, int]:
    """Return the order of a node among those that take the pod, with binpack; lower is better."""
    (fullness,) = of.fullness([node.name])
    group, room = headroom.group_of(node), headroom.room_of(node, rules.shares_per_gpu)
    grade = headroom.grade(group, room, headroom.question(pod, group), rules.shares_per_gpu)
    return (headroom.OPENS if grade is None else grade, -fullness)


def _with_victims(verdict: NodeVerdict, of: CapacityLedger, pod: PlannedPod, rules: Rules, rest: Rest) -> NodeVerdict:
    """Return the verdict of a node without room, with the pods whose eviction would make room there."""
    assert pod.request is not None
    name = verdict.name
    bookings = of.bookings_on(name)
    lowered = _lowered(name, of, pod, rules, rest)
    if lowered:
        return dataclasses.replace(verdict, lowered=lowered)
    lower = {uid: booking for uid, booking in bookings.items() if booking.priority < pod.priority}
    by_namespace: dict[str, list[Budget]] = {}
    for budget in rest.budgets:
        by_namespace.setdefault(budget.namespace, []).append(budget)
    candidates, allowed = room.candidates(lower, lambda namespace: by_namespace.get(namespace, []))
    lacking = {
        resource: amount
        for resource, amount in room.lacking(pod.amounts, of.totals(name), bookings.values()).items()
        if amount > 0
    }

    def without(uids: Collection[str]) -> Node:
        return of.without(name, uids) or Node(name, ())

    question = Question(pod.request, rules, candidates, without, allowed, lacking=lacking)
    chosen = victims.choose(question, Steps(MAX_STEPS)) or frozenset()
    shown = tuple(f"pod {bookings[uid].pod}" for uid in victims.in_order(question, chosen))
    return dataclasses.replace(verdict, victims=shown, by_itself=bool(lacking))


def _lowered(name: str, of: CapacityLedger, pod: PlannedPod, rules: Rules, rest: Rest) -> tuple[str, ...]:
    """Return in words whose limits would be lowered, so that a node takes the pod; empty: that makes no room."""
    node, bookings = of.node(name), of.bookings_on(name)
    able = shrinks.givers(rest.lowerable.get(name, ()), bookings, pod.priority)
    if pod.request is None or node is None or not able:
        return ()
    if not rest.tries_again and not vendor_resources.RESOURCES.keys().isdisjoint(pod.amounts):
        return ()  # a pod that keeps a vendor's resources evicts at once: see `scheduler.shrinking`
    found = shrinks.plan(pod.request, rules, node, able, Steps(MAX_STEPS))
    return shrinks.in_words(found.lowered, bookings) if found is not None else ()


def _priority(spec: Mapping[str, Any], rest: Rest) -> int:
    found = spec.get("priority")
    return found if isinstance(found, int) else rest.priorities.get(spec.get("priorityClassName") or "", 0)


def _amounts(spec: Mapping[str, Any]) -> dict[str, int]:
    """Return what a pod takes of its node's totals; nothing where an amount isn't one, which the API server refuses."""
    with contextlib.suppress(*documents.INVALID):
        return pod_resources.of_pod(_with_requests(spec))
    return {}


def _with_requests(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the spec with limits as requests where there are none, as the API server completes them."""

    def completed(container: Mapping[str, Any]) -> dict[str, Any]:
        resources = container.get("resources") or {}
        requests = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
        return {**container, "resources": {**resources, "requests": requests}}

    groups = ("containers", "initContainers")
    return {**spec, **{group: [completed(one) for one in spec.get(group) or ()] for group in groups}}


def _verdict(node: Node, pod: PodRequest, rules: Rules) -> NodeVerdict:
    chosen: dict[GpuUuid, list[str]] = {}
    reason = ""
    try:
        allocation = placement.place(node, pod, rules)
    except Unschedulable as error:
        reason = error.reason.text
    else:
        for name, shares in allocation.containers.items():
            for share in shares:
                chosen.setdefault(share.gpu, []).append(name)
    gpus = tuple(
        GpuVerdict(state, tuple(chosen.get(state.gpu.uuid, ())), tuple(_reasons(state, pod, rules)))
        for state in sorted(node.gpus, key=lambda state: state.gpu.index)
    )
    return NodeVerdict(node.name, reason, gpus)


def _reasons(state: GpuState, pod: PodRequest, rules: Rules) -> Iterator[str]:
    for name, request in pod.containers.items():
        why = fit.check_fit(state, request, pod.preferences, rules.shares_per_gpu)
        if why is not None:
            yield f"{name}: {why.value}"


def _describe(verdict: GpuVerdict) -> str:
    gpu, taken = verdict.state.gpu, verdict.state.taken
    amounts = "allocated whole" if taken.whole else f"{taken.memory} of {gpu.memory} MiB and {taken.cores} % taken"
    head = f"GPU {gpu.index} ({gpu.uuid}, {amounts})"
    if verdict.containers:
        return f"{head}: for {', '.join(verdict.containers)}"
    return f"{head}: {'; '.join(verdict.reasons) or 'would take it'}"


def unplaceable(pod: PlannedPod, found: Iterable[NodeVerdict]) -> bool:
    """Return whether the pod is refused, or no node takes it."""
    return bool(pod.refusal) or (pod.request is not None and all(verdict.reason for verdict in found))


def read(names: Iterable[str]) -> Iterator[Manifest]:
    """Yield the manifests of files, folders and standard input. Raises Malformed for one that can't be read."""
    for manifest in manifests.read(list(names)):
        if isinstance(manifest, errors.Malformed):
            raise manifest
        yield manifest
