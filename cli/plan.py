"""`kubectl unigpu plan`: where a pod would go, by the code that admits and places pods. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jsonpatch

from cli import manifests
from cli.manifests import Manifest
from unigpu import api_objects, documents, errors, findings, fit, headroom, placement
from unigpu.fit import GpuState, Node
from unigpu.ledger import Booking, CapacityLedger
from unigpu.placement import Rules, Unschedulable
from unigpu.requests import PodRequest
from unigpu.units import GpuUuid
from webhook.translation import decision as decisions
from webhook.translation.options import Options


@dataclass(frozen=True, slots=True)
class PlannedPod:
    """A pod of a manifest, as admission would leave it."""

    title: str
    request: PodRequest | None
    """None: it asks for no GPU, or is refused."""
    refusal: str = ""


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


def pods(manifest: Manifest, options: Options) -> Iterator[PlannedPod]:
    """Yield every pod of a manifest, translated as at admission.

    Raises Malformed where a pod in it isn't one.
    """
    for place in manifests.templates(manifest.document):
        document: Any = manifest.document
        for key in place:
            document = document[key]
        decision = decisions.decide(document, options)
        problems = decision.translation.problems
        if decision.denied or problems:
            yield PlannedPod(manifest.title, None, decision.denied or findings.message(problems))
        elif decision.translation.request is None:
            yield PlannedPod(manifest.title, None)
        else:
            patched = jsonpatch.apply_patch(document, decision.patch)
            yield PlannedPod(manifest.title, api_objects.request(patched))


def ledger(nodes: Iterable[Mapping[str, Any]], found: Iterable[Mapping[str, Any]]) -> CapacityLedger:
    """Return the ledger of these nodes and pods, as the scheduler keeps it. What can't be read counts as absent."""
    result = CapacityLedger()
    for document in nodes:
        try:
            node = api_objects.node(document)
        except documents.INVALID:
            continue
        result.set_node(node.name, node.gpus, node.mode, node.gpu_policy, node.cordoned)
    for pod in api_objects.pods(found)[0]:
        if pod.allocation is not None and not pod.ended:
            uses = api_objects.usage(pod)
            result.book(pod.uid, Booking(pod.key, pod.node, uses, priority=pod.priority))
    return result


def verdicts(of: CapacityLedger, pod: PodRequest, rules: Rules) -> list[NodeVerdict]:
    """Return what each node with GPUs says, those that take the pod first, in the order that the scheduler prefers."""
    ranked = []
    for name in of.nodes():
        node = of.node(name)
        assert node is not None
        verdict = _verdict(node, pod, rules)
        ranked.append((bool(verdict.reason), *_preference(of, node, pod, rules), name, verdict))
    return [verdict for *_, verdict in sorted(ranked, key=lambda entry: entry[:-1])]


def lines(pod: PlannedPod, found: Iterable[NodeVerdict]) -> Iterator[str]:
    """Yield the plan as text: a line for each node, and below it one for each of its GPUs."""
    yield pod.title
    for verdict in found:
        yield f"  node {verdict.name}: {verdict.reason or 'takes the pod'}"
        for gpu in verdict.gpus:
            yield f"    {_describe(gpu)}"


def _preference(of: CapacityLedger, node: Node, pod: PodRequest, rules: Rules) -> tuple[int, int]:
    """Return the order of a node among those that take the pod, with binpack; lower is better."""
    (fullness,) = of.fullness([node.name])
    group, room = headroom.group_of(node), headroom.room_of(node, rules.shares_per_gpu)
    grade = headroom.grade(group, room, headroom.question(pod, group), rules.shares_per_gpu)
    return (headroom.OPENS if grade is None else grade, -fullness)


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
