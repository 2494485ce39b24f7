"""Nodes and pods as the API server has them."""

from typing import Any

from cli.status.view import NodeObject
from unigpu import allocations, gpus, names, requests
from unigpu.allocations import Allocation, Share
from unigpu.gpus import Gpu
from unigpu.requests import PodRequest, Request
from unigpu.units import GpuUuid, MiB, Percent

A, B, C = GpuUuid("GPU-a"), GpuUuid("GPU-b"), GpuUuid("GPU-c")
Json = dict[str, Any]


def gpu(uuid: GpuUuid = A, index: int = 0, memory: int = 24576, **more: Any) -> Gpu:
    """A GPU."""
    return Gpu(uuid, index, index, "T4", MiB(memory), **more)


def node(name: str, *node_gpus: Gpu, condition: str = "Ready", labels: dict[str, str] | None = None) -> NodeObject:
    """A node with an inventory."""
    annotations = {names.ANNOTATION_INVENTORY: gpus.dump(node_gpus)}
    return NodeObject({"name": name, "labels": labels or {}, "annotations": annotations}, condition)


def asked(memory: int = 0, cores: int = 0, **more: Any) -> Request:
    """A request for a share of one GPU."""
    return Request(**{"gpus": 1, "memory": MiB(memory), "cores": Percent(cores), **more})


def metadata(
    name: str,
    *shares: Share,
    on: str = "n1",
    namespace: str = "team",
    limits: str | None = None,
    applied: str | None = None,
    request: Request | None = None,
) -> Json:
    """Metadata of a pod whose container `main` has these shares."""
    first = shares[0]
    request = request or asked(0 if first.whole else first.memory, 0 if first.whole else first.cores, whole=first.whole)
    annotations = {
        names.ANNOTATION_REQUEST: requests.dump(PodRequest({"main": request})),
        names.ANNOTATION_ALLOCATION: allocations.dump(Allocation(on, {"main": shares})),
    }
    changed = {names.ANNOTATION_LIMITS: limits, names.ANNOTATION_LIMITS_APPLIED: applied}
    annotations |= {key: text for key, text in changed.items() if text is not None}
    return {"name": name, "namespace": namespace, "uid": f"uid-{name}", "annotations": annotations}


def share(memory: int = 1024, cores: int = 10, gpu: GpuUuid = A, *, whole: bool = False) -> Share:
    """A share of a GPU."""
    return Share(gpu, MiB(memory), Percent(cores), whole)


def pending(name: str, *conditions: Json, request: Request | None = None, **spec: Any) -> Json:
    """A pod that the webhook has seen and that doesn't run yet."""
    annotations = {names.ANNOTATION_REQUEST: requests.dump(PodRequest({"main": request or asked(1024, 10)}))}
    return {
        "metadata": {
            "name": name,
            "namespace": "team",
            "uid": f"uid-{name}",
            "annotations": annotations,
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"containers": [{"name": "main"}], **spec},
        "status": {"phase": "Pending", "conditions": list(conditions)},
    }


UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/1 nodes are available: 1 container main needs more.",
}
