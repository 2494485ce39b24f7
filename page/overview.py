"""What the page draws first: each GPU in a few numbers, and sums by namespace. Pure.

`status -o json` of a large cluster is ten times as long, and most of it is only looked at node by node.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from cli.status import document as status
from cli.status.view import GpuView, NodeView, View
from unigpu import names

API_VERSION = f"{names.DOMAIN}/overview/v1"


def document(view: View, *, reading: bool) -> dict[str, Any]:
    """Return the document. `reading`: pods aren't known yet, so nothing is said of what is granted."""
    return {
        "apiVersion": API_VERSION,
        "reading": reading,
        "namespace": view.namespace or None,
        "complete": view.complete,
        "notes": list(view.notes),
        "total": status.sums(view.sums, view),
        "nodes": [_node(node) for node in view.nodes],
        "tenants": list(_tenants(view)),
        "pending": [status.pending(pod) for pod in view.pending],
    }


def _node(node: NodeView) -> dict[str, Any]:
    return {
        "name": node.name,
        "condition": node.condition or None,
        "open": node.open,
        "mode": str(node.mode),
        "problem": node.problem or None,
        "gpus": [_gpu(one) for one in node.gpus],
    }


def _gpu(one: GpuView) -> list[Any]:
    """Index, model, UUID, MiB, MiB granted, MiB free, percent granted, shares, whole, foreign MiB, fault, cordon."""
    gpu = one.gpu
    fault = None
    if gpu is not None and not gpu.healthy:
        fault = gpu.fault.reason if gpu.fault else "the node agent gives no reason"
    return [
        gpu.index if gpu else None,
        gpu.model if gpu else None,
        one.uuid,
        gpu.memory if gpu else None,
        one.taken.memory,
        one.free,
        one.taken.cores,
        one.taken.shares,
        one.taken.whole,
        gpu.foreign if gpu else 0,
        fault,
        (one.cordon.reason or "no reason given") if one.cordon else None,
    ]


def _tenants(view: View) -> Iterator[dict[str, Any]]:
    """Yield what each namespace has, the one with most memory first."""
    memory: Counter[str] = Counter()
    cores: Counter[str] = Counter()
    shares: Counter[str] = Counter()
    pods: dict[str, set[str]] = {}
    gpus: dict[str, set[str]] = {}
    for node in view.nodes:
        for one in node.gpus:
            for tenant in one.tenants:
                memory[tenant.namespace] += tenant.share.memory
                cores[tenant.namespace] += tenant.share.cores
                shares[tenant.namespace] += 1
                pods.setdefault(tenant.namespace, set()).add(tenant.pod)
                gpus.setdefault(tenant.namespace, set()).add(one.uuid)
    waiting = Counter(pod.namespace for pod in view.pending)
    for name in sorted(shares.keys() | waiting.keys(), key=lambda name: (-memory[name], name)):
        yield {
            "namespace": name,
            "memory": memory[name],
            "cores": cores[name],
            "shares": shares[name],
            "pods": len(pods.get(name, ())),
            "gpus": len(gpus.get(name, ())),
            "pending": waiting[name],
        }
