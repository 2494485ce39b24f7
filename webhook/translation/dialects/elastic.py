"""elastic-gpu. Source: https://github.com/elastic-ai/elastic-gpu."""

from unigpu.requests import Request
from unigpu.units import MiB
from webhook.translation.container_reader import ContainerReader
from webhook.translation.dialect import Dialect
from webhook.translation.dialects import by_core

FIELDS = by_core.Fields(
    core="elasticgpu.io/gpu-core", memory="elasticgpu.io/gpu-memory", unit=MiB(1), core_needed=False
)


def read(reader: ContainerReader) -> Request | None:
    """Return the container's request, or None with problems in the reader."""
    return by_core.read(reader, FIELDS)


DIALECT = Dialect(name="elastic-gpu", title="elastic-gpu", resources=FIELDS.all, read=read)
