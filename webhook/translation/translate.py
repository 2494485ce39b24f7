"""A pod in any mix of dialects → its request in the unified form, or every reason against it. Pure."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from unigpu import names, quantities
from unigpu.findings import Problem
from unigpu.requests import PodRequest, Request
from webhook.translation import dialects, isolation, namespaces, preferences
from webhook.translation.container_reader import ContainerReader
from webhook.translation.dialect import Dialect
from webhook.translation.options import Options
from webhook.translation.pods import Container, Pod


@dataclass(frozen=True, slots=True)
class Translation:
    """What a pod means."""

    request: PodRequest | None = None
    """None: it asks for no GPU, or is refused."""
    problems: tuple[Problem, ...] = ()
    """Not empty: refused."""
    warnings: tuple[str, ...] = ()
    dialects: tuple[str, ...] = ()
    """Names of the dialects that it matches, sorted."""


@dataclass(frozen=True, slots=True)
class _Part:
    request: Request | None
    problems: Sequence[Problem]
    warnings: Sequence[str]


def translate(pod: Pod, options: Options) -> Translation:
    """Read every container of a pod that nobody has translated yet."""
    spoken = [(container, matching_dialects(pod, container, options)) for container in pod.containers]
    dialect_names = tuple(sorted({dialect.name for _, matching in spoken for dialect in matching}))
    warnings = [
        f"container {container.name}: {text}"
        for container, matching in spoken
        if not matching
        for text in isolation.useless(container)
    ]
    problems = pod_level(pod)
    if not dialect_names:
        return Translation(problems=tuple(problems), warnings=tuple(warnings))
    problems += placing(pod, options)
    warnings += options.rules.warnings
    requests: dict[str, Request] = {}
    for container, matching in spoken:
        if not matching:
            continue
        part = _container(pod, container, matching, options)
        problems += part.problems
        warnings += part.warnings
        if part.request is not None:
            requests[container.name] = part.request
    wishes = preferences.read(pod, requests.values())
    warnings += wishes.warnings
    if problems:
        return Translation(problems=tuple(problems), warnings=tuple(warnings), dialects=dialect_names)
    return Translation(PodRequest(requests, wishes.preferences), (), tuple(warnings), dialect_names)


def matching_dialects(pod: Pod, container: Container, options: Options) -> tuple[Dialect, ...]:
    """The dialects in which the container asks for GPUs."""
    known = dialects.OF_RESOURCE
    candidates = {known[name].name: known[name] for name in (*container.limits, *container.requests) if name in known}
    candidates |= {dialect.name: dialect for dialect in dialects.BY_ANNOTATION}
    matching = [dialect for dialect in candidates.values() if dialect.matches(pod, container, options)]
    return tuple(sorted(matching, key=dialects.ALL.index)) if len(matching) > 1 else tuple(matching)


def pod_level(pod: Pod) -> list[Problem]:
    """Problems of the pod's own resources."""
    return [
        Problem(
            "",
            f"spec.resources.limits {resource}",
            value,
            "GPUs are asked for by container",
            "it in a container's limits",
        )
        for resource, value in pod.limits.items()
        if resource in dialects.OF_RESOURCE
    ]


def placing(pod: Pod, options: Options) -> list[Problem]:
    """Problems that keep our scheduler from choosing GPUs for the pod, or the request from naming its containers."""
    problems = []
    ours = f"{options.scheduler}, or no schedulerName"
    if pod.scheduler not in options.schedulers | {options.scheduler}:
        why = "that scheduler would not choose a GPU"
        problems.append(Problem("", "spec.schedulerName", pod.scheduler, why, ours))
    if pod.node:
        why = "the pod skips the scheduler, so nobody would choose a GPU"
        problems.append(
            Problem("", "spec.nodeName", pod.node, why, "no nodeName; a nodeSelector for kubernetes.io/hostname")
        )
    for name, count in Counter(container.name for container in pod.containers).items():
        if count > 1:
            problems.append(Problem(name, "name", name, f"{count} containers have it", "a name for each container"))
    return problems


def _container(pod: Pod, container: Container, matching: Sequence[Dialect], options: Options) -> _Part:
    if len(matching) > 1:
        titles = " and ".join(dialect.title for dialect in matching)
        fields = [_first_field(dialect, pod, container) for dialect in matching]
        why = f"one container speaks {titles}"
        value = container.limits.get(fields[1], container.requests.get(fields[1], pod.annotations.get(fields[1], "")))
        accepted = f"either {fields[0]} or {fields[1]}, with what belongs to it"
        return _Part(None, [Problem(container.name, fields[1], value, why, accepted)], [])
    dialect = matching[0]
    reader = ContainerReader(pod, container, options)
    _compare(reader, dialect)
    request = dialect.read(reader)
    switches = isolation.decide(container, opting_out=options.opting_out)
    reader.problems += switches.problems
    for text in switches.warnings:
        reader.warn(text)
    if reader.problems or request is None:
        return _Part(None, reader.problems, reader.warnings)
    request = namespaces.with_defaults(request, options.rules, bare=reader.bare)
    reader.problems += namespaces.problems(container.name, request, options.rules)
    if request.memory > options.largest_gpu > 0:
        reader.warn(f"no GPU of this cluster has {request.memory} MiB; the largest has {options.largest_gpu}")
    complete = dataclasses.replace(
        request,
        role=container.role,
        dialect=dialect.name,
        original_fields=reader.original_fields | switches.original_fields,
        isolated=switches.isolated,
    )
    return _Part(complete, reader.problems, reader.warnings)


def _compare(reader: ContainerReader, dialect: Dialect) -> None:
    """Note where limits and requests aren't what the API server wants of them."""
    container = reader.container
    for resource in dialect.resources:
        limit, request = container.limits.get(resource), container.requests.get(resource)
        if container.ephemeral and reader.has(resource):
            reader.refuse(resource, "an ephemeral container can't have resources", "a container of the pod that has it")
        elif limit is None and request is not None:
            reader.refuse(resource, "given under requests only", "the same under limits")
        elif request is not None and limit is not None and not quantities.same(limit, request):
            reader.refuse(resource, f"limit is {limit} and request {request}", "the same in both, or limits alone")


def _first_field(dialect: Dialect, pod: Pod, container: Container) -> str:
    named = (name for name in dialect.resources if name in container.limits or name in container.requests)
    return next(named, next((name for name in dialect.annotations if name in pod.annotations), names.DOMAIN))
