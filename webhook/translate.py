"""A pod in any mix of dialects → its request in the unified form, or every reason against it. Pure."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from unigpu import names, quantities
from unigpu.findings import Problem
from unigpu.requests import PodRequest, Request
from webhook import dialects, isolation, namespaces, preferences
from webhook.dialect import Dialect
from webhook.options import Options
from webhook.pods import Container, Pod
from webhook.sheet import Sheet


@dataclass(frozen=True, slots=True)
class Translation:
    """What a pod means."""

    request: PodRequest | None = None
    """None: it asks for no GPU, or is refused."""
    problems: tuple[Problem, ...] = ()
    """Not empty: refused."""
    warnings: tuple[str, ...] = ()
    dialects: tuple[str, ...] = ()
    """Names of the dialects that it speaks, sorted."""


@dataclass(frozen=True, slots=True)
class _Part:
    request: Request | None
    problems: Sequence[Problem]
    warnings: Sequence[str]


def translate(pod: Pod, options: Options) -> Translation:
    """Read every container of a pod that nobody has translated yet."""
    spoken = [(container, speakers(pod, container, options)) for container in pod.containers]
    heard = tuple(sorted({dialect.name for _, speaking in spoken for dialect in speaking}))
    warnings = [
        f"container {container.name}: {text}"
        for container, speaking in spoken
        if not speaking
        for text in isolation.useless(container)
    ]
    problems = pod_level(pod)
    if not heard:
        return Translation(problems=tuple(problems), warnings=tuple(warnings))
    problems += placing(pod, options)
    warnings += options.rules.warnings
    requests: dict[str, Request] = {}
    for container, speaking in spoken:
        if not speaking:
            continue
        part = _container(pod, container, speaking, options)
        problems += part.problems
        warnings += part.warnings
        if part.request is not None:
            requests[container.name] = part.request
    wishes = preferences.read(pod, requests.values())
    warnings += wishes.warnings
    if problems:
        return Translation(problems=tuple(problems), warnings=tuple(warnings), dialects=heard)
    return Translation(PodRequest(requests, wishes.preferences), (), tuple(warnings), heard)


def speakers(pod: Pod, container: Container, options: Options) -> tuple[Dialect, ...]:
    """The dialects in which the container asks for GPUs."""
    known = dialects.OF_RESOURCE
    heard = {known[name].name: known[name] for name in (*container.limits, *container.requests) if name in known}
    heard |= {dialect.name: dialect for dialect in dialects.BY_ANNOTATION}
    speaking = [dialect for dialect in heard.values() if dialect.speaks(pod, container, options)]
    return tuple(sorted(speaking, key=dialects.ALL.index)) if len(speaking) > 1 else tuple(speaking)


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


def _container(pod: Pod, container: Container, speaking: Sequence[Dialect], options: Options) -> _Part:
    if len(speaking) > 1:
        titles = " and ".join(dialect.title for dialect in speaking)
        fields = [_first_field(dialect, pod, container) for dialect in speaking]
        why = f"one container speaks {titles}"
        value = container.limits.get(fields[1], container.requests.get(fields[1], pod.annotations.get(fields[1], "")))
        accepted = f"either {fields[0]} or {fields[1]}, with what belongs to it"
        return _Part(None, [Problem(container.name, fields[1], value, why, accepted)], [])
    dialect = speaking[0]
    sheet = Sheet(pod, container, options)
    _compare(sheet, dialect)
    request = dialect.read(sheet)
    switches = isolation.decide(container, opting_out=options.opting_out)
    sheet.problems += switches.problems
    for text in switches.warnings:
        sheet.warn(text)
    if sheet.problems or request is None:
        return _Part(None, sheet.problems, sheet.warnings)
    request = namespaces.with_defaults(request, options.rules, bare=sheet.bare)
    sheet.problems += namespaces.problems(container.name, request, options.rules)
    if request.memory > options.largest_gpu > 0:
        sheet.warn(f"no GPU of this cluster has {request.memory} MiB; the largest has {options.largest_gpu}")
    complete = dataclasses.replace(
        request,
        role=container.role,
        dialect=dialect.name,
        original_fields=sheet.original_fields | switches.original_fields,
        isolated=switches.isolated,
    )
    return _Part(complete, sheet.problems, sheet.warnings)


def _compare(sheet: Sheet, dialect: Dialect) -> None:
    """Note where limits and requests aren't what the API server wants of them."""
    container = sheet.container
    for resource in dialect.resources:
        limit, request = container.limits.get(resource), container.requests.get(resource)
        if container.ephemeral and sheet.has(resource):
            sheet.refuse(resource, "an ephemeral container can't have resources", "a container of the pod that has it")
        elif limit is None and request is not None:
            sheet.refuse(resource, "given under requests only", "the same under limits")
        elif request is not None and limit is not None and not quantities.same(limit, request):
            sheet.refuse(resource, f"limit is {limit} and request {request}", "the same in both, or limits alone")


def _first_field(dialect: Dialect, pod: Pod, container: Container) -> str:
    named = (name for name in dialect.resources if name in container.limits or name in container.requests)
    return next(named, next((name for name in dialect.annotations if name in pod.annotations), names.DOMAIN))
