"""A manifest that is applied again, over the pod that came of it.

`kubectl apply` puts back what the manifest says and the pod lacks: the vendor's resources, and the scheduler's name.
The API server would refuse that, since both are immutable. Where the manifest still asks for what the pod was made for,
the pod's own values are put back instead, so that nothing changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from unigpu import errors, names, quantities, requests
from unigpu.findings import Problem
from unigpu.requests import Request
from webhook.translation import dialects, mutate, pods
from webhook.translation.container_reader import ContainerReader
from webhook.translation.options import Options
from webhook.translation.pods import Container, Pod

VENDORS = frozenset(
    resource for dialect in dialects.ALL for resource in dialect.resources if resource not in names.UNIFIED_RESOURCES
)
"""Resources that a translated pod doesn't have, so that it shows when they come back."""
ACCEPTED = "what the pod was made with: a pod's GPUs are given once; delete it and create it anew"


@dataclass(frozen=True, slots=True)
class Reapplied:
    """What becomes of the update."""

    patch: mutate.Patch = field(default_factory=list)
    problems: tuple[Problem, ...] = ()


def restore(before: Mapping[str, Any], after: Mapping[str, Any], options: Options) -> Reapplied:
    """The operations that put back what the pod has, or the problems where the manifest now asks for something else.

    Empty where the pod wasn't translated, or by another version with dialects that this one doesn't know. What the
    author changes besides is left to the API server's judgement.
    Raises Malformed where either isn't a pod.
    """
    old, new = pods.read(before), pods.read(after)
    try:
        made_for = requests.load(old.annotations[names.ANNOTATION_REQUEST]).containers
    except (KeyError, errors.Malformed):
        return Reapplied()
    if any(wish.dialect not in dialects.BY_NAME for wish in made_for.values()):
        return Reapplied()
    patch: mutate.Patch = []
    problems: list[Problem] = []
    for container in new.containers:
        if not VENDORS & (container.limits.keys() | container.requests.keys()):
            continue
        wish = made_for.get(container.name)
        problems += _changed(_present(new, container, wish, options), container, wish.original_fields if wish else {})
        if wish is not None:
            patch += mutate.resources(after["spec"][container.place][container.index], container, wish)
    if new.scheduler != old.scheduler:
        patch.append({"op": "add", "path": "/spec/schedulerName", "value": old.scheduler})
    return Reapplied(problems=tuple(problems)) if problems else Reapplied(patch)


def _present(pod: Pod, container: Container, wish: Request | None, options: Options) -> dict[str, str]:
    """The container's resources, in the vendor's unit as far as the dialect that the pod was made with reads them."""
    present = {**container.requests, **container.limits}
    if wish is None:
        return present
    reader = ContainerReader(pod, container, options)
    dialects.BY_NAME[wish.dialect].read(reader)
    return present | {resource: text for resource, text in reader.original_fields.items() if resource in present}


def _changed(present: Mapping[str, str], container: Container, asked: Mapping[str, str]) -> list[Problem]:
    """The vendor's resources that aren't as the pod was made with, those that the manifest no longer has included."""
    problems = []
    for resource in sorted(VENDORS & (present.keys() | asked.keys())):
        now, then = present.get(resource), asked.get(resource)
        if now is None or then is None or not quantities.same(now, then):
            what = f"the pod was made with {then}" if then is not None else "the pod was made without it"
            problems.append(Problem(container.name, resource, now or "absent", what, ACCEPTED))
    return problems
