"""The view for programs: the stable form of `status -o json`, described in docs/reference/cli.md. Pure."""

from typing import Any

from cli.status.tenants import Tenant
from cli.status.view import GpuView, NodeView, PendingPod, Sums, View
from unigpu import names

API_VERSION = f"{names.DOMAIN}/status/v1"
"""Fields may be added under the same version; none is renamed, removed or given another meaning."""


def document(view: View) -> dict[str, Any]:
    """Return the document. Memory is in MiB, compute in percent of one GPU."""
    return {
        "apiVersion": API_VERSION,
        "namespace": view.namespace or None,
        "complete": view.complete,
        "notes": list(view.notes),
        "total": sums(view.sums, view),
        "nodes": [_node(node, view) for node in view.nodes],
        "pending": [pending(pod) for pod in view.pending],
    }


def sums(found: Sums, view: View) -> dict[str, Any]:
    """Return sums over GPUs."""
    return {
        "gpus": found.gpus,
        "unhealthyGpus": found.unhealthy,
        "memory": _amounts(found.memory, found.granted, found.free, view),
        "cores": {"total": found.cores, "granted": found.cores_granted},
        "shares": found.shares,
    }


def _amounts(total: int | None, granted: int, free: int, view: View) -> dict[str, Any]:
    return {"total": total, "granted": granted, "free": free if view.complete else None}


def _node(node: NodeView, view: View) -> dict[str, Any]:
    return {
        "name": node.name,
        "condition": node.condition or None,
        "mode": str(node.mode),
        "problem": node.problem or None,
        "walls": None if node.walls is None else [str(wall) for wall in node.walls.standing],
        **sums(node.sums, view),
        "gpuList": [_gpu(one, view) for one in node.gpus],
    }


def _gpu(one: GpuView, view: View) -> dict[str, Any]:
    gpu = one.gpu
    fault = gpu.fault if gpu else None
    return {
        "uuid": one.uuid,
        "index": gpu.index if gpu else None,
        "model": gpu.model if gpu else None,
        "healthy": one.healthy,
        "fault": {"reason": fault.reason, "since": fault.since, "needsReset": bool(fault.epoch)} if fault else None,
        "cordon": {"reason": one.cordon.reason, "since": one.cordon.since} if one.cordon else None,
        "foreign": gpu.foreign if gpu else 0,
        "memory": _amounts(gpu.memory if gpu else None, one.taken.memory, one.free, view),
        "cores": {"total": 100, "granted": one.taken.cores},
        "shares": one.taken.shares,
        "whole": one.taken.whole,
        "containers": [_tenant(tenant) for tenant in one.tenants],
    }


def _tenant(tenant: Tenant) -> dict[str, Any]:
    return {
        "namespace": tenant.namespace,
        "pod": tenant.pod,
        "container": tenant.container,
        "dialect": tenant.dialect or None,
        "memory": tenant.share.memory,
        "cores": tenant.share.cores,
        "ceiling": tenant.ceiling,
        "whole": tenant.share.whole,
        "limitsChanged": tenant.changed,
        "limitsInForce": tenant.in_force,
        "heldMemory": tenant.held,
    }


def pending(pod: PendingPod) -> dict[str, Any]:
    """Return a pod that waits."""
    return {
        "namespace": pod.namespace,
        "pod": pod.name,
        "since": pod.since or None,
        "asks": pod.asks,
        "reason": pod.reason,
        "message": pod.message,
    }
