"""Translate a pod in any mix of dialects into the unified form, or give every reason against it. Pure."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from unigpu import names, quantities
from unigpu.findings import Problem, Remark
from unigpu.requests import PodRequest, Request
from webhook.translation import (
    contexts,
    dialects,
    excess,
    limit_ranges,
    near_misses,
    pod_reading,
    preferences,
    two_sets,
    unsupported,
)
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
    void: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Resources by container that change nothing in its request."""


@dataclass(slots=True)
class _Findings:
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


_NONE: Mapping[str, Request] = {}


def translate(reading: PodReading, brought: Mapping[str, Request] = _NONE) -> Translation:
    """Translate a pod from what its author wrote.

    `brought` are the requests of an earlier translation; one counts where only the unified resources are left of it.
    """
    found = _Findings(list(reading.problems))
    for container in reading.containers:
        if not container.dialects:
            found.warnings += container.isolation.without_gpu
    short, said = excess.cut(reading.pod)
    found.warnings += said
    found.warnings += unsupported.warnings(short, reading.options)
    resources = dialects.vocabulary(reading.options.words).of_resource
    found.warnings += list(near_misses.warnings(short, resources, found.warnings))
    dialect_names = reading.dialect_names
    if not dialect_names:
        found.warnings += near_misses.without_gpu(reading.pod, resources)
        return Translation(problems=tuple(found.problems), warnings=tuple(found.warnings))
    if (problem := excess.problem(reading.pod)) is not None:
        return Translation(problems=(problem,), warnings=tuple(found.warnings), dialects=dialect_names)
    found.problems += reading.placement_problems
    found.warnings += reading.options.rules.warnings
    found.warnings += unsupported.of_replaced_scheduler(reading.pod, reading.options)
    requests: dict[str, Request] = {}
    void: dict[str, frozenset[str]] = {}
    for container in reading.asking:
        if not container.own_words and container.container.name in brought:
            requests[container.container.name] = brought[container.container.name]
            continue
        interpretation = _interpret(container)
        found.problems += interpretation.problems
        found.warnings += interpretation.warnings
        if interpretation.request is not None:
            requests[container.container.name] = interpretation.request
            void[container.container.name] = interpretation.void
    found.problems += _left(reading)
    preferred = preferences.read(reading.pod, requests.values())
    found.warnings += preferred.warnings
    if found.problems:
        return Translation(problems=tuple(found.problems), warnings=tuple(found.warnings), dialects=dialect_names)
    return Translation(PodRequest(requests, preferred.preferences), (), tuple(found.warnings), dialect_names, void)


def _interpret(container: ContainerReading) -> Interpretation:
    if len(container.dialects) > 1:
        return Interpretation(None, {}, (_mixed(container),), ())
    (dialect,) = container.dialects
    interpretation = container.interpret(dialect)
    request = interpretation.request
    if request is None:
        return interpretation
    defaults = limit_ranges.defaults(container.pod, container.container)
    if defaults.issuperset(fields := container.fields(dialect)):
        where, value = f"container {container.container.name}", container.container.value(fields[0])
        why = "a LimitRange of the namespace put it here, as the default of containers that ask for no GPU"
        interpretation = dataclasses.replace(
            interpretation, warnings=(*interpretation.warnings, str(Remark(where, fields[0], value, why)))
        )
    if container.own_words and (differing := tuple(two_sets.problems(container, dialect, request))):
        return dataclasses.replace(interpretation, request=None, problems=differing)
    said = tuple(_of_size(container, request))
    return dataclasses.replace(interpretation, warnings=(*interpretation.warnings, *said)) if said else interpretation


def _left(reading: PodReading) -> Iterator[Problem]:
    """The problems of containers that ask for GPUs of somebody else, in a pod that unigpu's scheduler places.

    That scheduler counts none of these resources, so that their containers could start without their GPU.
    """
    options = reading.options
    for container in reading.containers:
        present = container.container
        read = {name for dialect in container.dialects for name in dialect.resources}
        read |= limit_ranges.defaults(reading.pod, present)
        if container.dialects:
            read.update(names.UNIFIED_RESOURCES)
        for dialect in pod_reading.known(present, options):
            for resource in dialect.resources:
                asked = present.has(resource) and not quantities.same(present.value(resource), "0")
                if asked and resource not in read and options.keeps(resource):
                    why = f"it is left to another device plugin, and {options.scheduler} doesn't count it"
                    accepted = (
                        "no other GPU in this container" if container.dialects else "this container in a pod of its own"
                    )
                    yield Problem(present.name, resource, present.value(resource), why, accepted)


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
