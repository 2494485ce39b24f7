"""Check the annotation `unigpu.dev/request` of a pod that brings it along.

Such a pod was translated before: offline, or at admission and then copied. The annotation is accepted only if it says
exactly what the pod's limits, variables and other annotations say, so that no author gains by writing it by hand.
"""

import dataclasses
from collections.abc import Iterator

from unigpu import errors, names, quantities, requests
from unigpu.findings import Problem
from unigpu.requests import ComputePolicy, PodRequest, Request
from unigpu.units import MAX_MEMORY
from webhook.translation import dialects, namespaces, preferences, totals
from webhook.translation.container_reader import MAX_GPUS
from webhook.translation.options import Options
from webhook.translation.pod_reading import ContainerReading, PodReading
from webhook.translation.translate import Translation

FIELD = f"annotation {names.ANNOTATION_REQUEST}"
PREFERENCES_DIFFER = "its preferences differ from the pod's other annotations"
ACCEPTED = "no such annotation: unigpu derives it from the container's limits"


def agreeing(reading: PodReading) -> dict[str, Request]:
    """Return the entries of the annotation, by container, that their container's resources and variables confirm.

    Nothing where the annotation can't be read. The caller derives the others from what the author wrote.
    """
    try:
        entries = requests.load(reading.pod.annotations.get(names.ANNOTATION_REQUEST, "")).containers
    except errors.Malformed:
        return {}
    return {
        container.container.name: entries[container.container.name]
        for container in reading.asking
        if not container.own_words
        and container.container.name in entries
        and not any(_brought(container, entries[container.container.name]))
    }


def differences(reading: PodReading, derived: PodRequest) -> Iterator[Problem]:
    """Yield where the annotation differs from what was derived from the author's own words.

    A copy may have lost the labels that its original had, so that less is known of what was written originally.
    """
    text = reading.pod.annotations[names.ANNOTATION_REQUEST]
    brought = _load(text)
    if isinstance(brought, Problem):
        yield brought
        return
    for name in brought.containers.keys() - derived.containers.keys():
        yield _whole(text, f"the pod has no container {name} that asks for GPUs")
    for container in reading.containers:
        name = container.container.name
        if name in derived.containers and name not in brought.containers:
            field = container.fields(container.dialects[0])[0]
            yield _resource(container, field, f"the pod's {names.ANNOTATION_REQUEST} doesn't name this container")
        elif name in derived.containers and _bare(brought.containers[name]) != _bare(derived.containers[name]):
            yield _entry(container, "differs from what the container's other fields say")
    if brought.preferences != derived.preferences:
        yield _whole(text, PREFERENCES_DIFFER)


def _bare(request: Request) -> Request:
    return dataclasses.replace(request, original_fields={})


def _load(text: str) -> PodRequest | Problem:
    try:
        request = requests.load(text)
    except errors.Malformed as error:
        return _whole(text, str(error))
    return request if requests.dump(request) == text else _whole(text, "not in the form that unigpu writes")


def check(reading: PodReading) -> Translation:
    """Return the translation that the pod brings along, or the problems with it."""
    text = reading.pod.annotations[names.ANNOTATION_REQUEST]
    request = _load(text)
    if isinstance(request, Problem):
        return Translation(problems=(request,))
    problems = [*reading.problems, *reading.placement_problems, *_containers(reading, request, text)]
    if not problems and _preferences(reading, request) != request.preferences:
        problems.append(_whole(text, PREFERENCES_DIFFER))
    named = tuple(sorted({granted.dialect for granted in request.containers.values()}))
    if problems:
        return Translation(problems=tuple(problems), dialects=named)
    return Translation(request, dialects=named)


def _preferences(reading: PodReading, request: PodRequest) -> requests.Preferences:
    return preferences.read(reading.pod, request.containers.values()).preferences


def _containers(reading: PodReading, request: PodRequest, text: str) -> Iterator[Problem]:
    present = {container.container.name for container in reading.containers}
    for name in request.containers:
        if name not in present:
            yield _whole(text, f"the pod has no container {name}")
    if not request.containers:
        yield _whole(text, "it names no container")
    for container in reading.containers:
        brought = request.containers.get(container.container.name)
        if brought is None:
            yield from _untranslated(container)
        else:
            yield from _brought(container, brought)


def _brought(container: ContainerReading, brought: Request) -> Iterator[Problem]:
    """Where the container's entry in the annotation differs from the container."""
    if (impossible := _impossible(brought, container.options)) is not None:
        yield _entry(container, impossible)
        return
    yield from namespaces.problems(container.container.name, brought, container.options.rules)
    yield from container.isolation.problems
    yield from container.mount_problems(brought)
    if brought.isolated != container.isolation.isolated:
        yield _entry(container, "isolated contradicts the container's variables")
    if brought.role is not container.container.role or container.container.ephemeral:
        yield _entry(container, f"role is {brought.role}, but the container's is {container.container.role}")
    yield from _amounts(container, brought)


def _untranslated(container: ContainerReading) -> Iterator[Problem]:
    for resource in names.UNIFIED_RESOURCES if container.dialects else ():
        if container.container.has(resource):
            yield _resource(container, resource, f"the pod's {names.ANNOTATION_REQUEST} doesn't name this container")


def _amounts(container: ContainerReading, brought: Request) -> Iterator[Problem]:
    """Where the unified amounts differ. Memory that depends on the GPU is renewed at admission, and may be any."""
    wanted = totals.unified(brought)
    for kind in (container.container.limits, container.container.requests):
        if kind is container.container.requests and kind.keys().isdisjoint(names.UNIFIED_RESOURCES):
            continue
        for resource in names.UNIFIED_RESOURCES:
            if resource == names.RESOURCE_MEMORY and not brought.memory:
                continue
            said = wanted.get(resource, "0")
            if not quantities.same(kind.get(resource, "0"), said):
                yield _resource(container, resource, f"differs from {names.ANNOTATION_REQUEST}, which says {said}")


def _impossible(brought: Request, options: Options) -> str | None:
    """Why no dialect could have produced the request; None: one could."""
    if brought.dialect not in dialects.vocabulary(options.words).by_name:
        return f"unknown dialect {brought.dialect!r}"
    if bool(brought.memory) + bool(brought.memory_percent) + brought.whole > 1:
        return "it gives the share in more than one way"
    if brought.whole and (brought.cores or brought.ceiling):
        return "it gives the share in more than one way"
    if not (brought.memory or brought.memory_percent or brought.whole or brought.cores):
        return "it limits nothing"
    percentages = (brought.memory_percent, brought.cores, brought.ceiling)
    if brought.gpus > MAX_GPUS or brought.memory > MAX_MEMORY or max(percentages) > 100:
        return "a number is larger than any GPU allows"
    if brought.priority > 1:
        return "priority is neither 0 nor 1"
    if (brought.policy is ComputePolicy.SOFT) != (brought.ceiling > brought.cores):
        return "policy soft and a ceiling above the share of cores go together; only one is set"
    return None


def _whole(value: str, why: str) -> Problem:
    return Problem("", FIELD, value, why, ACCEPTED)


def _entry(container: ContainerReading, why: str) -> Problem:
    return Problem(container.container.name, FIELD, "its entry", why, ACCEPTED)


def _resource(container: ContainerReading, resource: str, why: str) -> Problem:
    return Problem(container.container.name, resource, container.container.value(resource), why, ACCEPTED)
