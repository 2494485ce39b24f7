"""A manifest that is applied again over the pod that was created from it.

`kubectl apply` restores the manifest's fields that the pod no longer has: the vendor's resources, and the scheduler's
name. Both are immutable, so the API server would refuse. Where the manifest still asks for the same, the pod's own
values are put back instead, and nothing changes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from unigpu import errors, names, quantities, requests
from unigpu.findings import Problem
from unigpu.requests import Request
from webhook.translation import dialects, mutate, pod_reading, pods
from webhook.translation.options import Options
from webhook.translation.pod_reading import ContainerReading

VENDORS = frozenset(
    resource for dialect in dialects.ALL for resource in dialect.resources if resource not in names.UNIFIED_RESOURCES
)
"""Resources that a translated pod doesn't have, so that their return shows."""
ACCEPTED = "the original value; to change the GPUs, delete the pod and create it again"


@dataclass(frozen=True, slots=True)
class Reapplied:
    """The answer to the update."""

    patch: mutate.Patch = field(default_factory=list)
    problems: tuple[Problem, ...] = ()


def restore(before: Mapping[str, Any], after: Mapping[str, Any], options: Options) -> Reapplied:
    """Return the operations that put back the pod's own values, or the problems where the manifest asks for others.

    Empty where the pod wasn't translated, or was by another version with dialects that this one doesn't know. Other
    changes of the manifest are left to the API server.
    Raises Malformed where either isn't a pod.
    """
    old, new = pods.read(before), pods.read(after)
    try:
        granted = requests.load(old.annotations[names.ANNOTATION_REQUEST]).containers
    except (KeyError, errors.Malformed):
        return Reapplied()
    if any(request.dialect not in dialects.BY_NAME for request in granted.values()):
        return Reapplied()
    patch: mutate.Patch = []
    problems: list[Problem] = []
    for reading in pod_reading.read(new, options).containers:
        container = reading.container
        if not VENDORS & (container.limits.keys() | container.requests.keys()):
            continue
        request = granted.get(container.name)
        problems += _differences(reading, request)
        if request is not None:
            operations = mutate.resources(after["spec"][container.place][container.index], container, request)
            # Resources are immutable, and pods of earlier versions don't have the 0 of a percentage.
            patch += [operation for operation in operations if operation.get("value") != "0"]
    if new.scheduler != old.scheduler:
        patch.append({"op": "add", "path": "/spec/schedulerName", "value": old.scheduler})
    return Reapplied(problems=tuple(problems)) if problems else Reapplied(patch)


def _differences(reading: ContainerReading, request: Request | None) -> Iterator[Problem]:
    """The vendor's resources that differ from those the pod was created with, missing ones included."""
    original: Mapping[str, str] = request.original_fields if request else {}
    present = _present(reading, request)
    for resource in sorted(VENDORS & (present.keys() | original.keys())):
        now, then = present.get(resource), original.get(resource)
        if now is None or then is None or not quantities.same(now, then):
            why = f"the pod was created with {then}" if then is not None else "the pod was created without this field"
            yield Problem(reading.container.name, resource, now or "absent", why, ACCEPTED)


def _present(reading: ContainerReading, request: Request | None) -> dict[str, str]:
    """The container's resources, in the vendor's unit as far as the dialect of its request reads them."""
    present = {**reading.container.requests, **reading.container.limits}
    if request is None:
        return present
    read = reading.interpret(dialects.BY_NAME[request.dialect]).original_fields
    return present | {resource: text for resource, text in read.items() if resource in present}
