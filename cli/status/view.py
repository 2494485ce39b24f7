"""The cluster's GPUs and what pods take of them, as the scheduler counts it. Pure."""

import contextlib
import functools
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cli.status.tenants import PodShares, Tenant, pod_shares
from unigpu import cordons, documents, errors, fit, gpus, modes, names, walls
from unigpu.allocations import GpuUsage
from unigpu.api_objects import READY
from unigpu.cordons import Cordon, Cordons
from unigpu.fit import GpuState
from unigpu.gpus import Gpu
from unigpu.modes import NodeMode
from unigpu.units import GpuUuid, MiB
from unigpu.walls import Walls


@dataclass(frozen=True, slots=True)
class NodeObject:
    """A node as the API server shows it."""

    metadata: Mapping[str, Any]
    condition: str = READY
    """As `kubectl get nodes` shows it: `Ready`, `NotReady,SchedulingDisabled`; empty: not known."""


@dataclass(frozen=True, slots=True)
class GpuView:
    """A GPU and the containers that share it."""

    uuid: GpuUuid
    gpu: Gpu | None
    """None: the node's inventory doesn't have it, or can't be read."""
    taken: GpuUsage = fit.UNUSED
    """What pods take of it, as the scheduler counts it: init containers overlap with the containers after them."""
    tenants: tuple[Tenant, ...] = ()
    cordon: Cordon | None = None
    """Why nothing new is placed on it; None: it isn't cordoned."""

    @property
    def healthy(self) -> bool:
        """Whether the GPU is known and healthy."""
        return self.gpu is not None and self.gpu.healthy

    @property
    def free(self) -> MiB:
        """MiB that other shares can still get."""
        if self.gpu is None or not self.gpu.healthy or self.cordon is not None or self.taken.whole:
            return MiB(0)
        return MiB(max(0, self.gpu.memory - self.taken.memory - self.gpu.foreign))

    @property
    def state(self) -> GpuState | None:
        """The GPU as placement sees it."""
        if self.gpu is None:
            return None
        return GpuState(self.gpu, self.taken.plus(GpuUsage(self.gpu.foreign)), self.cordon is not None)


@dataclass(frozen=True, slots=True)
class Sums:
    """Totals over GPUs."""

    gpus: int = 0
    unhealthy: int = 0
    memory: int = 0
    """MiB of all GPUs."""
    granted: int = 0
    """MiB that pods take; a share without a memory limit takes none."""
    free: int = 0
    """MiB that new shares can get: on healthy GPUs of nodes that are ready and take pods."""
    cores: int = 0
    """Percent of one GPU; 100 for each GPU."""
    cores_granted: int = 0
    shares: int = 0

    @staticmethod
    def over(found: Iterable["Sums"]) -> "Sums":
        """Return the sum of all."""
        return Sums(*map(sum, zip(*map(_amounts, found), strict=True)))


_amounts = operator.attrgetter(*Sums.__slots__)


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node with GPUs."""

    name: str
    condition: str
    mode: NodeMode
    gpus: tuple[GpuView, ...]
    problem: str = ""
    """Why its inventory can't be read."""
    walls: Walls | None = None
    """What holds its containers to their memory; None: its node agent doesn't say."""

    @property
    def open(self) -> bool:
        """Whether new pods can be placed on it."""
        return self.condition in (READY, "")

    @property
    def sums(self) -> Sums:
        """Totals of the node."""
        unhealthy = memory = granted = free = cores_granted = shares = 0
        for one in self.gpus:  # once: a large cluster has tens of thousands
            gpu, taken = one.gpu, one.taken
            if gpu is not None:
                memory += gpu.memory
            unhealthy += gpu is None or not gpu.healthy
            granted += taken.memory
            free += one.free
            cores_granted += taken.cores
            shares += taken.shares
        return Sums(
            gpus=len(self.gpus),
            unhealthy=unhealthy,
            memory=memory,
            granted=granted,
            free=free if self.open else 0,
            cores=fit.FULL * len(self.gpus),
            cores_granted=cores_granted,
            shares=shares,
        )


@dataclass(frozen=True, slots=True)
class PendingPod:
    """A pod that asks for GPUs and doesn't run yet."""

    namespace: str
    name: str
    since: str
    """When it was created, as the API server writes it."""
    asks: str
    """What its containers ask for, in words."""
    reason: str
    """One word: `Unschedulable`, `SchedulingGated`, `ImagePullBackOff` …"""
    message: str
    """The whole reason; empty where nobody has said one."""


@dataclass(frozen=True, slots=True)
class View:
    """All that `status` shows."""

    nodes: tuple[NodeView, ...]
    pending: tuple[PendingPod, ...] = ()
    namespace: str = ""
    """Only containers and pods of this namespace are shown; empty: all are."""
    complete: bool = True
    """Whether pods of all namespaces are known; otherwise nothing can be said of what is free."""
    notes: tuple[str, ...] = field(default=())
    """Sentences on what isn't shown, and why."""

    @property
    def sums(self) -> Sums:
        """Totals of all nodes."""
        return Sums.over(node.sums for node in self.nodes)

    def only(self, *, node: str = "", namespace: str = "") -> "View":
        """Return the view of one node, of one namespace's containers, or both. Sums still count all pods."""
        nodes = [one for one in self.nodes if node in ("", one.name)]
        if namespace:
            nodes = [shown for one in nodes if (shown := _of_namespace(one, namespace)).gpus]
        pending = [one for one in self.pending if namespace in ("", one.namespace)]
        return replace(self, nodes=tuple(nodes), pending=tuple(pending), namespace=namespace or self.namespace)


def view(nodes: Iterable[NodeObject], pods: Iterable[Mapping[str, Any]]) -> View:
    """Return the view of nodes and of pods' metadata. A pod or annotation that can't be read counts as absent.

    A GPU that pods have and the inventory doesn't is shown all the same.
    """
    found: dict[str, dict[GpuUuid, list[PodShares]]] = {}
    for metadata in pods:
        with contextlib.suppress(*documents.INVALID, errors.UnigpuError):
            for share in pod_shares(metadata):
                found.setdefault(share.node, {}).setdefault(share.gpu, []).append(share)
    views = []
    for node in nodes:
        name = str(node.metadata.get("name") or "")
        one = _node(node, name, found.pop(name, {}))
        if one is not None:
            views.append(one)
    views += [
        NodeView(name, "", NodeMode.MIXED, tuple(_gpu(uuid, None, shares) for uuid, shares in sorted(lost.items())))
        for name, lost in found.items()
    ]
    return View(tuple(sorted(views, key=lambda one: one.name)))


def _node(node: NodeObject, name: str, shares: dict[GpuUuid, list[PodShares]]) -> NodeView | None:
    """Return the node's view; None for a node without GPUs."""
    annotations = node.metadata.get("annotations") or {}
    text = annotations.get(names.ANNOTATION_INVENTORY)
    if text is None and not shares:
        return None
    known: Sequence[Gpu] = ()
    problem = ""
    try:
        known = () if text is None else gpus.load(text)
    except errors.Malformed as error:
        problem = str(error)
    cordoned: Cordons = {}
    try:
        cordoned = cordons.load(annotations.get(names.ANNOTATION_CORDONED))
    except errors.Malformed as error:
        problem = problem or f"{error}; nothing new is placed on the node"
    views = [
        _gpu(gpu.uuid, gpu, shares.pop(gpu.uuid, ()), cordoned.get(gpu.uuid))
        for gpu in sorted(known, key=lambda gpu: gpu.index)
    ]
    views += [_gpu(uuid, None, rest) for uuid, rest in sorted(shares.items())]
    mode = modes.from_labels(node.metadata.get("labels") or {})
    return NodeView(name, node.condition, mode, tuple(views), problem, _walls(annotations.get(names.ANNOTATION_WALLS)))


def _walls(text: str | None) -> Walls | None:
    with contextlib.suppress(errors.Malformed):
        return walls.load(text) if text is not None else None
    return None


def _gpu(uuid: GpuUuid, gpu: Gpu | None, shares: Sequence[PodShares], cordon: Cordon | None = None) -> GpuView:
    if not shares:
        return GpuView(uuid, gpu, cordon=cordon)
    tenants = [tenant for share in shares for tenant in share.tenants]
    tenants.sort(key=lambda tenant: (tenant.namespace, tenant.pod, tenant.container))
    taken = functools.reduce(GpuUsage.plus, (share.usage for share in shares))
    return GpuView(uuid, gpu, taken, tuple(tenants), cordon)


def _of_namespace(node: NodeView, namespace: str) -> NodeView:
    shown = [
        replace(one, tenants=mine)
        for one in node.gpus
        if (mine := tuple(tenant for tenant in one.tenants if tenant.namespace == namespace))
    ]
    return replace(node, gpus=tuple(shown))
