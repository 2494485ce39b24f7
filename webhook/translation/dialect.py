"""A dialect: the names that one vendor gave to GPUs, memory and cores, and how to read them."""

from collections.abc import Callable
from dataclasses import dataclass

from unigpu import quantities
from unigpu.remembered import remembered
from unigpu.requests import Request
from webhook.translation.container_reader import ContainerReader
from webhook.translation.options import Options
from webhook.translation.pods import Container, Pod


@dataclass(frozen=True, slots=True)
class Dialect:
    """One vendor's way to ask for GPUs."""

    name: str
    """As in `Request.dialect`, metrics and docs."""
    title: str
    """For people."""
    resources: tuple[str, ...]
    """Every resource that belongs to it; translation replaces them by the unified ones."""
    read: Callable[[ContainerReader], Request | None]
    """Return the container's request, or None where it has problems, which the reader then holds. The caller fills in
    `role`, `dialect`, `original_fields` and `isolated`."""
    annotations: tuple[str, ...] = ()
    """Pod annotations that ask for GPUs without any resource."""
    families: tuple[str, ...] = ()
    """Beginnings of such annotations, where their names differ from pod to pod."""
    ignored: Callable[[Pod, Container, Options], bool] = lambda pod, container, options: False
    """Return whether the dialect leaves this container alone although its resources are there."""
    targeted: Callable[[Pod, Container], bool] = lambda pod, container: False
    """Return whether the pod's annotations ask for GPUs for this container."""

    def matches(self, pod: Pod, container: Container, options: Options) -> bool:
        """Return whether the container is written in this dialect. Resources that are all 0 ask for nothing."""
        wanted = any(not _zero(container.value(name)) for name in self.resources if container.has(name))
        if not wanted and not self.targeted(pod, container):
            return False
        return self.name not in options.ignored_dialects and not self.ignored(pod, container, options)


@remembered(4096)
def _zero(text: str) -> bool:
    try:
        return quantities.parse(text)[0] == 0
    except ValueError:
        return False
