"""A translated pod → the JSON patch that makes it so. Only what is ours is touched, by construction."""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from unigpu import names, requests
from unigpu.requests import PodRequest, Request
from webhook.translation import dialects
from webhook.translation.options import Options
from webhook.translation.pods import Container, Pod

Patch = list[dict[str, Any]]
"""RFC 6902 operations."""


def patch(document: Mapping[str, Any], pod: Pod, request: PodRequest, options: Options) -> Patch:
    """Operations that put the request into the pod's resources and annotation, and name our scheduler.

    `document` is the pod that `pod` was read from. Operations that would change nothing are left out.
    """
    operations: Patch = []
    for container in pod.containers:
        if (wish := request.containers.get(container.name)) is not None:
            operations += resources(document["spec"][container.place][container.index], container, wish)
    metadata = document.get("metadata")
    text = requests.dump(request)
    if not metadata:
        operations.append(
            {"op": "add", "path": "/metadata", "value": {"annotations": {names.ANNOTATION_REQUEST: text}}}
        )
    elif not metadata.get("annotations"):
        operations.append({"op": "add", "path": "/metadata/annotations", "value": {names.ANNOTATION_REQUEST: text}})
    elif pod.annotations.get(names.ANNOTATION_REQUEST) != text:
        operations.append(
            {"op": "add", "path": _pointer("metadata", "annotations", names.ANNOTATION_REQUEST), "value": text}
        )
    return operations + scheduler(pod, options)


def scheduler(pod: Pod, options: Options) -> Patch:
    """The operation that hands the pod to our scheduler, if it isn't already."""
    if pod.scheduler == options.scheduler:
        return []
    return [{"op": "add", "path": "/spec/schedulerName", "value": options.scheduler}]


def unified(request: Request) -> dict[str, str]:
    """The container's limits in the unified form. Memory that depends on the GPU is left out, and so is 0."""
    amounts = {
        names.RESOURCE_VGPU: request.gpus,
        names.RESOURCE_MEMORY: request.total_memory,
        names.RESOURCE_CORES: request.total_cores,
    }
    return {name: str(amount) for name, amount in amounts.items() if amount}


def resources(document: Mapping[str, Any], container: Container, request: Request) -> Iterator[dict[str, Any]]:
    """Operations that replace the dialect's resources of one container, which `document` is, by the unified ones."""
    base = ("spec", container.place, str(container.index), "resources")
    wanted = unified(request)
    given = document.get("resources")
    if not given:
        yield {"op": "add", "path": _pointer(*base), "value": {"limits": wanted, "requests": wanted}}
        return
    ours = dialects.BY_NAME[request.dialect].resources
    for kind, present in (("limits", container.limits), ("requests", container.requests)):
        if not given.get(kind):
            yield {"op": "add", "path": _pointer(*base, kind), "value": wanted}
            continue
        for name in ours:
            if name in present and name not in wanted:
                yield {"op": "remove", "path": _pointer(*base, kind, name)}
        for name, amount in wanted.items():
            if present.get(name) != amount:
                yield {"op": "add", "path": _pointer(*base, kind, name), "value": amount}


@functools.lru_cache(maxsize=4096)
def _pointer(*parts: str) -> str:
    """RFC 6901. Few different ones are ever needed: names are known, and places are small numbers."""
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)
