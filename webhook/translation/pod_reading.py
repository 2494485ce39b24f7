"""One reading of a pod: which of its containers ask for GPUs, in which dialects, with which switches.

Translation, the check of a brought annotation, a manifest that is applied again and the search for skipped pods all
start from it.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from unigpu import limits, names, quantities
from unigpu.findings import Problem
from unigpu.requests import Request
from webhook.translation import dialects, excess, isolation, limit_ranges, mounts, namespaces
from webhook.translation.container_reader import ContainerReader
from webhook.translation.dialect import Dialect
from webhook.translation.isolation import Isolation
from webhook.translation.options import Options
from webhook.translation.pods import Container, Pod


@dataclass(frozen=True, slots=True)
class Interpretation:
    """A container's fields in one dialect."""

    request: Request | None
    """None: there are problems."""
    original_fields: dict[str, str]
    """The fields that the dialect read, as plain numbers in the vendor's unit."""
    problems: tuple[Problem, ...]
    warnings: tuple[str, ...]
    void: frozenset[str] = frozenset()
    """Its resources that change nothing in the request."""


@dataclass(frozen=True, slots=True)
class ContainerReading:
    """One container."""

    pod: Pod
    container: Container
    options: Options
    dialects: tuple[Dialect, ...]
    """Those in which it asks for GPUs; none: it doesn't ask. The unified form counts only where no vendor's words are
    there: next to these it is their translation."""
    isolation: Isolation

    def fields(self, dialect: Dialect) -> tuple[str, ...]:
        """The dialect's fields that the container has: resources, else annotations of the pod."""
        resources = tuple(name for name in dialect.resources if self.container.has(name))
        return resources or tuple(
            name
            for name in self.pod.annotations
            if name in dialect.annotations or name.startswith(dialect.families or ("\0",))
        )

    @property
    def own_words(self) -> bool:
        """Whether the container has what its author wrote in a vendor's dialect."""
        return any(dialect.resources != names.UNIFIED_RESOURCES for dialect in self.dialects)

    def mount_problems(self, request: Request) -> tuple[Problem, ...]:
        """Return the problems of paths that would hide what limits the container; none where nothing limits it."""
        return tuple(mounts.problems(self.container)) if limits.limitable(request) else ()

    def interpret(self, dialect: Dialect) -> Interpretation:
        """Read the container in the dialect, under the namespace's rules.

        Where a default of a LimitRange doesn't go with what the author wrote, the default has no effect.
        """
        found = self._interpret(dialect)
        defaults = limit_ranges.defaults(self.pod, self.container).intersection(dialect.resources)
        if not found.problems or not defaults:
            return found
        limits, requests = (
            {name: text for name, text in kind.items() if name not in defaults}
            for kind in (self.container.limits, self.container.requests)
        )
        without = dataclasses.replace(self.container, limits=limits, requests=requests)
        again = dataclasses.replace(self, container=without)._interpret(dialect)
        return found if again.problems else dataclasses.replace(again, void=again.void | defaults)

    def _interpret(self, dialect: Dialect) -> Interpretation:
        reader = ContainerReader(self.pod, self.container, self.options)
        _compare(reader, dialect)
        request = dialect.read(reader)
        reader.problems += self.isolation.problems
        if request is not None and not reader.problems:
            request = namespaces.with_defaults(request, self.options.rules, count_only=reader.count_only)
            reader.problems += namespaces.problems(self.container.name, request, self.options.rules)
            request = dataclasses.replace(
                request,
                role=self.container.role,
                dialect=dialect.name,
                original_fields=reader.original_fields | self.isolation.original_fields,
                isolated=self.isolation.isolated,
            )
            reader.problems += self.mount_problems(request)
        warnings = (*reader.warnings, *self.isolation.warnings)
        accepted = None if reader.problems else request
        void = frozenset(reader.void)
        return Interpretation(accepted, reader.original_fields, tuple(reader.problems), warnings, void)


@dataclass(frozen=True, slots=True)
class PodReading:
    """A whole pod."""

    pod: Pod
    options: Options
    containers: tuple[ContainerReading, ...]
    problems: tuple[Problem, ...]
    """Of the pod's own resources."""
    placement_problems: tuple[Problem, ...]
    """Reasons why unigpu's scheduler can't choose GPUs for the pod, or a request can't name its containers. They count
    only where a container asks for GPUs."""

    @property
    def asking(self) -> Iterator[ContainerReading]:
        """The containers that ask for GPUs."""
        return (container for container in self.containers if container.dialects)

    @property
    def own_words(self) -> bool:
        """Whether any container has what its author wrote in a vendor's dialect."""
        return any(container.own_words for container in self.containers)

    @property
    def dialect_names(self) -> tuple[str, ...]:
        """Names of the pod's dialects, sorted."""
        return tuple(sorted({dialect.name for container in self.containers for dialect in container.dialects}))


def read(pod: Pod, options: Options) -> PodReading:
    """Read every container of the pod."""
    containers = tuple(
        ContainerReading(
            pod,
            container,
            options,
            # Of a pod that has too many, only whether it asks.
            _matching_dialects(pod, container, options) if at < excess.MOST_CONTAINERS else known(container, options),
            isolation.read(container, opting_out=options.opting_out),
        )
        for at, container in enumerate(pod.containers)
    )
    return PodReading(pod, options, containers, tuple(_pod_level(pod, options)), tuple(_placement(pod, options)))


def known(container: Container, options: Options) -> tuple[Dialect, ...]:
    """Return the dialects of the container's resources, whether or not it asks for anything in them."""
    of_resource = dialects.vocabulary(options.words).of_resource
    found = (of_resource.get(name) for name in (*container.limits, *container.requests))
    return tuple({dialect.name: dialect for dialect in found if dialect is not None}.values())


def _matching_dialects(pod: Pod, container: Container, options: Options) -> tuple[Dialect, ...]:
    vocabulary = dialects.vocabulary(options.words)
    candidates = dict.fromkeys((*known(container, options), *vocabulary.by_annotation))
    matching = [dialect for dialect in candidates if dialect.matches(pod, container, options)]
    if len(matching) > 1:
        matching = [dialect for dialect in matching if dialect.resources != names.UNIFIED_RESOURCES]
        defaults = limit_ranges.defaults(pod, container)
        # A default in another dialect is for containers that ask for nothing themselves.
        own = [dialect for dialect in matching if not _only_defaults(dialect, container, defaults)]
        return tuple(sorted(own or matching, key=vocabulary.all.index))
    return tuple(matching)


def _only_defaults(dialect: Dialect, container: Container, defaults: frozenset[str]) -> bool:
    """Whether everything that the container says in the dialect is a LimitRange's default."""
    said = [name for name in dialect.resources if container.has(name)]
    return bool(said) and defaults.issuperset(said)


def _compare(reader: ContainerReader, dialect: Dialect) -> None:
    """Note where limits and requests differ in a way that the API server doesn't take."""
    container = reader.container
    for resource in dialect.resources:
        limit, request = container.limits.get(resource), container.requests.get(resource)
        if container.ephemeral and container.has(resource):
            reader.refuse(resource, "an ephemeral container can't have resources", "a GPU for another container")
        elif limit is None and request is not None:
            reader.refuse(resource, "set in requests only", "the same value in limits")
        elif request is not None and limit is not None and not quantities.same(limit, request):
            reader.refuse(
                resource, f"limits say {limit}, requests say {request}", "the same value in both, or limits only"
            )


def _pod_level(pod: Pod, options: Options) -> Iterator[Problem]:
    for resource, value in pod.limits.items():
        if resource in dialects.vocabulary(options.words).of_resource:
            field = f"spec.resources.limits {resource}"
            yield Problem(
                "",
                field,
                value,
                "a GPU is requested for a container, not for the pod",
                f"{resource} in a container's limits",
            )


def _placement(pod: Pod, options: Options) -> Iterator[Problem]:
    if pod.scheduler not in options.schedulers and pod.scheduler != options.scheduler:
        accepted = f"{options.scheduler}, or no schedulerName"
        yield Problem("", "spec.schedulerName", pod.scheduler, "this scheduler can't choose a GPU", accepted)
    if pod.node:
        why = "the pod bypasses the scheduler, which chooses the GPU"
        accepted = "no nodeName, or instead a nodeSelector for kubernetes.io/hostname"
        yield Problem("", "spec.nodeName", pod.node, why, accepted)
    present = [container.name for container in pod.containers]
    if len(set(present)) == len(present):
        return
    for name, count in Counter(present).items():
        if count > 1:
            yield Problem(name, "name", name, f"{count} containers have this name", "one name for each container")
