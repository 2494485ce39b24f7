"""Build the JSON patch for a translated pod. By construction it touches only unigpu's and the dialect's fields."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from unigpu import names, quantities, requests
from unigpu.remembered import remembered
from unigpu.requests import PodRequest, Request
from webhook.translation import dialects, totals
from webhook.translation.options import Options
from webhook.translation.pods import Container, Pod

Patch = list[dict[str, Any]]
"""RFC 6902 operations."""


_NOTHING: Mapping[str, Collection[str]] = {}


def patch(
    document: Mapping[str, Any],
    pod: Pod,
    request: PodRequest,
    options: Options,
    void: Mapping[str, Collection[str]] = _NOTHING,
) -> Patch:
    """Return operations that put the request into the pod's resources and annotation, and name unigpu's scheduler.

    `document` is the pod that `pod` was read from, `void` the resources by container that change nothing in its
    request. Operations that would change nothing are left out.
    """
    operations: Patch = []
    for container in pod.containers:
        if (granted := request.containers.get(container.name)) is not None:
            memory = totals.memory_of(granted, request.preferences, options)
            dropped = _dropped(container, granted, options, void.get(container.name, ()))
            ours = dialects.vocabulary(options.words).by_name[granted.dialect].resources
            operations += resources(
                document["spec"][container.place][container.index],
                container,
                totals.unified(granted, memory),
                [name for name in ours if name not in dropped],
                dropped,
            )
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


def resources(
    document: Mapping[str, Any],
    container: Container,
    wanted: Mapping[str, str],
    kept: Collection[str],
    dropped: Collection[str],
) -> Iterator[dict[str, Any]]:
    """Yield operations that put the unified resources into the container `document`, and take the dropped ones out.

    `kept` are the dialect's other resources.
    """
    base = ("spec", container.place, str(container.index), "resources")
    given = document.get("resources")
    if not given:
        yield {"op": "add", "path": _pointer(*base), "value": {"limits": wanted, "requests": wanted}}
        return
    for kind, present in (("limits", container.limits), ("requests", container.requests)):
        if not given.get(kind):
            # As the API server fills in requests from limits.
            words = kept if kind == "requests" else ()
            filled = {name: container.limits[name] for name in words if name in container.limits}
            yield {"op": "add", "path": _pointer(*base, kind), "value": {**filled, **wanted}}
            continue
        for name in (*dropped, *names.UNIFIED_RESOURCES):
            if name in present and name not in wanted:
                yield {"op": "remove", "path": _pointer(*base, kind, name)}
        for name, amount in wanted.items():
            if not quantities.same(present.get(name, ""), amount):
                yield {"op": "add", "path": _pointer(*base, kind, name), "value": amount}


def take_out(container: Container, resource: str) -> Iterator[dict[str, Any]]:
    """Yield operations that remove the resource from the container."""
    for kind, present in (("limits", container.limits), ("requests", container.requests)):
        if resource in present:
            path = _pointer("spec", container.place, str(container.index), "resources", kind, resource)
            yield {"op": "remove", "path": path}


def _dropped(container: Container, request: Request, options: Options, void: Collection[str]) -> list[str]:
    """Return the vendor's resources that don't stay in the container."""
    return [
        name
        for name in dialects.vocabulary(options.words).by_name[request.dialect].resources
        if name not in names.UNIFIED_RESOURCES
        and container.has(name)
        and (not options.keeps(name) or (options.published and name in void))
    ]


@remembered(4096)
def _pointer(*parts: str) -> str:
    """Join an RFC 6901 pointer. Few different ones occur: the names are known, and the indices small."""
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)
