"""A manifest that is applied again over the pod that was created from it.

`kubectl apply` restores what the manifest says and the pod no longer has: the scheduler's name, and resources that
admission took out because another device plugin would serve them. Both are immutable, so the API server would refuse.
Where the manifest still asks for the same, the pod's own values are put back instead, and nothing changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from unigpu import errors, names, quantities, requests
from unigpu.findings import Problem
from webhook.translation import dialects, mutate, pod_reading, pods
from webhook.translation.options import Options

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
    vocabulary = dialects.vocabulary(options.words)
    if any(request.dialect not in vocabulary.by_name for request in granted.values()):
        return Reapplied()
    patch: mutate.Patch = []
    problems: list[Problem] = []
    own = {container.name: container for container in old.containers}
    for reading in pod_reading.read(new, options).containers:
        container, was = reading.container, own.get(reading.container.name)
        present = sorted(vocabulary.vendors & (container.limits.keys() | container.requests.keys()))
        if was is None or not present:
            continue
        request = granted.get(container.name)
        written = request.original_fields if request else {}
        in_unit = reading.interpret(vocabulary.by_name[request.dialect]).original_fields if request else {}
        for resource in present:
            now = container.value(resource)
            if was.has(resource):
                then: str | None = was.value(resource)
            else:
                now, then = in_unit.get(resource, now), written.get(resource)
            if then is None or not quantities.same(now, then):
                why = (
                    f"the pod was created with {then}" if then is not None else "the pod was created without this field"
                )
                problems.append(Problem(container.name, resource, now, why, ACCEPTED))
            elif not was.has(resource):
                patch += mutate.take_out(container, resource)
    if new.scheduler != old.scheduler:
        patch.append({"op": "add", "path": "/spec/schedulerName", "value": old.scheduler})
    return Reapplied(problems=tuple(problems)) if problems else Reapplied(patch)
