"""Translate a pod in any mix of dialects into the unified form, or give every reason against it. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from unigpu.findings import Problem, Remark
from unigpu.requests import PodRequest, Request
from webhook.translation import contexts, preferences, unsupported
from webhook.translation.pod_reading import ContainerReading, Interpretation, PodReading


@dataclass(frozen=True, slots=True)
class Translation:
    """A pod in the unified form."""

    request: PodRequest | None = None
    """None: it asks for no GPU, or is refused."""
    problems: tuple[Problem, ...] = ()
    """Not empty: refused."""
    warnings: tuple[str, ...] = ()
    dialects: tuple[str, ...] = ()
    """Names of the pod's dialects, sorted."""


@dataclass(slots=True)
class _Findings:
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def translate(reading: PodReading) -> Translation:
    """Translate a pod that carries no request of unigpu's yet."""
    found = _Findings(list(reading.problems))
    for container in reading.containers:
        if not container.dialects:
            found.warnings += container.isolation.without_gpu
    found.warnings += unsupported.warnings(reading.pod)
    names = reading.dialect_names
    if not names:
        return Translation(problems=tuple(found.problems), warnings=tuple(found.warnings))
    found.problems += reading.placement_problems
    found.warnings += reading.options.rules.warnings
    found.warnings += unsupported.of_replaced_scheduler(reading.pod, reading.options)
    requests: dict[str, Request] = {}
    for container in reading.asking:
        interpretation = _interpret(container)
        found.problems += interpretation.problems
        found.warnings += interpretation.warnings
        if interpretation.request is not None:
            requests[container.container.name] = interpretation.request
    preferred = preferences.read(reading.pod, requests.values())
    found.warnings += preferred.warnings
    if found.problems:
        return Translation(problems=tuple(found.problems), warnings=tuple(found.warnings), dialects=names)
    return Translation(PodRequest(requests, preferred.preferences), (), tuple(found.warnings), names)


def _interpret(container: ContainerReading) -> Interpretation:
    if len(container.dialects) > 1:
        return Interpretation(None, {}, (_mixed(container),), ())
    interpretation = container.interpret(container.dialects[0])
    request = interpretation.request
    if request is None:
        return interpretation
    warnings = (*interpretation.warnings, *_of_size(container, request))
    return Interpretation(request, interpretation.original_fields, (), warnings)


def _of_size(container: ContainerReading, request: Request) -> Iterator[str]:
    """Warn of a share that no GPU of the cluster has, and of one that can't hold a program."""
    where, largest = f"container {container.container.name}", container.options.largest_gpu
    if request.memory > largest > 0:
        why = f"the largest GPU of this cluster has {largest} MiB"
        yield str(Remark(where, "memory", f"{request.memory} MiB", why))
    context = container.options.context_memory or contexts.SMALLEST
    memory = request.memory or largest * request.memory_percent // 100
    if request.isolated and 0 < memory < context:
        why = f"the program can't start, because its CUDA context alone takes about {context} MiB"
        yield str(Remark(where, "memory", f"{memory} MiB", why, f"more than {context} MiB"))


def _mixed(container: ContainerReading) -> Problem:
    """The problem of a container in two dialects."""
    first, second = (container.fields(dialect)[0] for dialect in container.dialects[:2])
    titles = " and ".join(dialect.title for dialect in container.dialects)
    value = container.container.value(second) or container.pod.annotations.get(second, "")
    why = f"the container mixes the dialects of {titles}"
    accepted = f"either {first} or {second}, each with the fields of its own dialect"
    return Problem(container.container.name, second, value, why, accepted)
