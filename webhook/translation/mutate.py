"""Build the JSON patch for a translated pod. By construction it touches only unigpu's and the dialect's fields."""

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
    """Return operations that put the request into the pod's resources and annotation, and name unigpu's scheduler.

    `document` is the pod that `pod` was read from. Operations that would change nothing are left out.
    """
    operations: Patch = []
    for container in pod.containers:
        if (granted := request.containers.get(container.name)) is not None:
            operations += resources(document["spec"][container.place][container.index], container, granted)
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
    """Return the operation that hands the pod to unigpu's scheduler; none where it already is."""
    if pod.scheduler == options.scheduler:
        return []
    return [{"op": "add", "path": "/spec/schedulerName", "value": options.scheduler}]


def unified(request: Request) -> dict[str, str]:
    """Return the container's limits in the unified form, without amounts that are 0.

    Memory that is a percentage or unlimited is an explicit 0. By this a copy that has lost its annotations differs from
    a pod that asks for all of the memory.
    """
    amounts = {
        names.RESOURCE_VGPU: request.gpus,
        names.RESOURCE_MEMORY: request.total_memory,
        names.RESOURCE_CORES: request.total_cores,
    }
    all_memory = request.whole or (request.memory_percent == 100 and request.cores)
    return {
        name: str(amount)
        for name, amount in amounts.items()
        if amount or (name == names.RESOURCE_MEMORY and not all_memory)
    }


def resources(document: Mapping[str, Any], container: Container, request: Request) -> Iterator[dict[str, Any]]:
    """Yield operations that replace the dialect's resources of the container `document` by the unified ones."""
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
    """Join an RFC 6901 pointer. Few different ones occur: the names are known, and the indices small."""
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)
