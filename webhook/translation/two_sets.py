"""A container with a vendor's resources and the unified ones side by side, as every translated container has them.

A copy of a translated pod is translated again from what its author wrote. The unified amounts that it brings along must
then be the same; where they aren't, somebody changed one of the two, and nobody can tell which one is meant.
"""

from collections.abc import Iterator

from unigpu import names, quantities
from unigpu.findings import Problem
from unigpu.requests import Request
from webhook.translation import limit_ranges, totals
from webhook.translation.dialect import Dialect
from webhook.translation.pod_reading import ContainerReading


def problems(container: ContainerReading, dialect: Dialect, request: Request) -> Iterator[Problem]:
    """Yield where the container's unified amounts differ from the translation of its vendor's fields.

    Defaults of a LimitRange are no one's words. Memory that depends on the GPU may differ: the cluster's GPUs are
    others by now.
    """
    wanted = totals.unified(request)
    defaults = limit_ranges.defaults(container.pod, container.container)
    for resource in names.UNIFIED_RESOURCES:
        if not container.container.has(resource) or resource in defaults:
            continue
        if resource == names.RESOURCE_MEMORY and not request.memory:
            continue
        said, means = container.container.value(resource), wanted.get(resource, "0")
        if not quantities.same(said, means):
            written = _written(container, dialect)
            why = f"{written} means {means}"
            fields = " and ".join(container.fields(dialect))
            accepted = f"{fields} without {', '.join(names.UNIFIED_RESOURCES)}, or the other way round"
            yield Problem(container.container.name, resource, said, why, accepted)


def _written(container: ContainerReading, dialect: Dialect) -> str:
    annotations = container.pod.annotations
    fields = {name: container.container.value(name) or annotations.get(name, "") for name in container.fields(dialect)}
    return ", ".join(f"{name} = {value}" for name, value in fields.items())
