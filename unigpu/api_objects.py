"""Read from the API server's nodes and pods, as JSON, what placement needs to know of them."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from unigpu import (
    allocations,
    cordons,
    documents,
    errors,
    evictees,
    gpus,
    limits,
    modes,
    names,
    pod_resources,
    requests,
    vendor_resources,
)
from unigpu.allocations import Allocation, GpuUsage
from unigpu.evictees import Evictee
from unigpu.gpus import Gpu
from unigpu.modes import NodeMode
from unigpu.requests import PlacementPolicy, PodRequest, Request, Role
from unigpu.units import GpuUuid

Json = Mapping[str, Any]

READY = "Ready"
"""Condition of a node that is ready and takes new pods."""


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """A node."""

    name: str
    gpus: tuple[Gpu, ...]
    mode: NodeMode
    gpu_policy: PlacementPolicy | None
    problem: str = ""
    """What is wrong with its annotations. GPUs of an inventory that can't be read count as absent. If the cordons can't
    be read, all GPUs count as cordoned."""
    cordoned: frozenset[GpuUuid] = frozenset()
    """GPUs that take nothing new."""
    offered: frozenset[str] = frozenset()
    """Extended resources in the node's status that unigpu didn't put there, with any amount."""
    totals: Mapping[str, int] = field(default_factory=dict)
    """What the node's status offers of `pod_resources.OWN`, in thousandths."""
    lowerable: str | None = None
    """The text of what its containers could do without, unread: it is seldom needed. See `unigpu.lowering`."""
    condition: str = ""
    """As `kubectl get nodes` shows it: READY, `NotReady`, `Ready,SchedulingDisabled`; empty: not known."""


@dataclass(frozen=True, slots=True)
class PodFacts:
    """A pod, as far as it takes GPUs."""

    uid: str
    key: str
    """`namespace/name`."""
    node: str
    """Where it is bound to; empty: nowhere yet."""
    ended: bool
    """None of its containers runs or will run."""
    allocation: Allocation | None = None
    """What it takes: what the scheduler chose, with limits that were changed since. None: none, or not of this node."""
    roles: Mapping[str, Role] | None = None
    priority: int = 0
    problem: str = ""
    """What is wrong with its annotations."""
    evictee: Evictee | None = None
    """What counts if it might be evicted; None where it takes no GPU."""
    nominated: str = ""
    """The node on which pods were evicted for it, while it isn't bound."""
    wish: PodRequest | None = None
    """What it asks for; read of a nominated pod only."""


def node(document: Json) -> NodeFacts:
    """Return the facts of a node. Raises an error of `documents.INVALID` for what isn't one."""
    metadata = document["metadata"]
    labels = metadata.get("labels") or {}
    annotations = metadata.get("annotations") or {}
    text = annotations.get(names.ANNOTATION_INVENTORY)
    node_gpus: tuple[Gpu, ...] = ()
    problem = ""
    if text is not None:
        try:
            node_gpus = gpus.load(text)
        except errors.Malformed as error:
            problem = str(error)
    try:
        cordoned = frozenset(cordons.load(annotations.get(names.ANNOTATION_CORDONED)))
    except errors.Malformed as error:
        # The author wanted less to be placed here, and a wrong guess may put pods on a broken GPU.
        cordoned, problem = frozenset(gpu.uuid for gpu in node_gpus), problem or str(error)
    return NodeFacts(
        metadata["name"],
        node_gpus,
        modes.from_labels(labels),
        modes.gpu_policy(labels),
        problem,
        cordoned,
        vendor_resources.offered(document.get("status") or {}, annotations),
        _totals(document.get("status") or {}),
        annotations.get(names.ANNOTATION_LOWERABLE),
        _condition(document),
    )


def _condition(document: Json) -> str:
    """Return the node's condition; empty where its kubelet hasn't reported one, or it can't be read."""
    with contextlib.suppress(*documents.INVALID):
        conditions = (document.get("status") or {}).get("conditions") or ()
        ready = [one["status"] for one in conditions if one["type"] == READY]
        words = [READY if ready[0] == "True" else f"Not{READY}"] if ready else []
        if (document.get("spec") or {}).get("unschedulable"):
            words.append("SchedulingDisabled")
        return ",".join(words)
    return ""


def pod(document: Json) -> PodFacts:
    """Return the facts of a pod. Raises an error of `documents.INVALID` for what isn't one."""
    metadata = document["metadata"]
    annotations = metadata.get("annotations") or {}
    place = document["spec"].get("nodeName") or ""
    allocation: Allocation | None = None
    problem = ""
    text = annotations.get(names.ANNOTATION_ALLOCATION)
    if text is not None and place:
        try:
            allocation = allocations.load(text)
        except errors.Malformed as error:
            problem = str(error)
        if allocation is not None and allocation.node != place:
            problem = f"allocation annotation is for node {allocation.node}, and the pod is bound to {place}"
            allocation = None
    requested: Mapping[str, Request] = {}
    try:
        requested = request(document).containers if allocation else {}
    except (errors.Malformed, errors.Denied) as error:
        # Without roles every container counts as running at the same time: more than is taken, never less.
        problem = str(error)
    if allocation is not None and requested:
        allocation, doubt = limits.accounted(allocation, requested, annotations)
        problem = problem or doubt
    nominated = "" if place else str((document.get("status") or {}).get("nominatedNodeName") or "")
    evictee = None
    if allocation is not None or nominated:
        try:
            evictee = evictees.evictee(document)
        except documents.INVALID as error:
            problem = problem or documents.brief(error)
    wish = None
    if nominated:
        with contextlib.suppress(errors.Malformed, errors.Denied):
            wish = request(document)
    return PodFacts(
        uid=metadata["uid"],
        key=key(document),
        node=place,
        ended=ended(document),
        allocation=allocation,
        roles=None if allocation is None else {name: one.role for name, one in requested.items()},
        priority=priority(document),
        problem=problem,
        evictee=evictee,
        nominated=nominated,
        wish=wish,
    )


def pods(found: Iterable[Json]) -> tuple[list[PodFacts], set[str]]:
    """Return the facts of those pods that can be read, and the UIDs of the others."""
    facts: list[PodFacts] = []
    unreadable: set[str] = set()
    for document in found:
        try:
            facts.append(pod(document))
        except documents.INVALID:
            unreadable.add(_uid(document))
    return facts, unreadable


def usage(pod: PodFacts) -> dict[GpuUuid, GpuUsage]:
    """Return what a pod takes of each GPU."""
    return {} if pod.allocation is None else allocations.pod_usage(pod.allocation, pod.roles or {})


def key(document: Json) -> str:
    """Return `namespace/name`."""
    metadata = document["metadata"]
    return f"{metadata.get('namespace', 'default')}/{metadata['name']}"


def shown_to(namespace: str, pod: str, uid: str) -> str:
    """Return how a pod `namespace/name` is called in words that everybody in this namespace may read.

    Pods of other namespaces are known by their UID alone, as in kube-scheduler's own events.
    """
    return pod if pod.startswith(f"{namespace}/") else f"{uid} of another namespace"


def priority(document: Json) -> int:
    """Return the pod's priority, as admission resolved it."""
    return int(document["spec"].get("priority") or 0)


def request(document: Json) -> PodRequest:
    """Return what the pod asks for, its containers in the order in which they start.

    Raises Denied where the webhook has not seen the pod, Malformed where its annotation isn't of the form.
    """
    text = (document["metadata"].get("annotations") or {}).get(names.ANNOTATION_REQUEST)
    if text is None:
        raise errors.Denied(
            f"annotation {names.ANNOTATION_REQUEST} is missing: the pod asks for {names.RESOURCE_VGPU} and was created "
            f"while unigpu's webhook was down; accepted: the same pod, deleted and created again"
        )
    found = requests.load(text)
    order = [container["name"] for container in _containers(document)]
    unknown = [name for name in found.containers if name not in order]
    if unknown or not found.containers:
        raise errors.Malformed(
            f"annotation {names.ANNOTATION_REQUEST} is for {', '.join(unknown) or 'no container'}, "
            f"and the pod has {', '.join(order)}"
        )
    return PodRequest({name: found.containers[name] for name in order if name in found.containers}, found.preferences)


def ended(document: Json) -> bool:
    """Return whether the pod's containers have all ended for good.

    A pod that is being deleted may run until its grace period is over, so it counts until each container is known to
    have ended.
    """
    status = document.get("status") or {}
    if status.get("phase") in ("Succeeded", "Failed"):
        return True
    if not document["metadata"].get("deletionTimestamp"):
        return False
    states = {
        entry["name"]: entry.get("state") or {}
        for group in ("initContainerStatuses", "containerStatuses")
        for entry in status.get(group) or ()
    }
    return all("terminated" in states.get(container["name"], {}) for container in _containers(document))


def _totals(status: Json) -> dict[str, int]:
    allocatable = status.get("allocatable") or {}
    with contextlib.suppress(*documents.INVALID):
        return pod_resources.amounts({name: allocatable[name] for name in pod_resources.OWN if name in allocatable})
    return {}


def _uid(document: object) -> str:
    metadata = document.get("metadata") if isinstance(document, Mapping) else None
    uid = metadata.get("uid") if isinstance(metadata, Mapping) else None
    return uid if isinstance(uid, str) else ""


def _containers(document: Json) -> Iterator[Json]:
    spec = document["spec"]
    yield from spec.get("initContainers") or ()
    yield from spec.get("containers") or ()
