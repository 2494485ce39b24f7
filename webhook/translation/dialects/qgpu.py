"""Tencent Kubernetes Engine's qGPU.

Whether a share is also the ceiling is the node's to say there (label `tke.cloud.tencent.com/qgpu-schedule-policy`);
what is asked for is the same on all nodes.
"""

from unigpu import names, units
from unigpu.requests import Request
from webhook.translation.container_reader import ContainerReader
from webhook.translation.dialect import Dialect
from webhook.translation.dialects import by_core

FIELDS = by_core.Fields(
    core="tke.cloud.tencent.com/qgpu-core",
    memory="tke.cloud.tencent.com/qgpu-memory",
    unit=units.gib(1),
    least=5,
    core_needed=False,
)


def read(reader: ContainerReader) -> Request | None:
    """The container's request; None with problems on the reader."""
    return by_core.read(reader, FIELDS)


DIALECT = Dialect(name=names.DIALECT_QGPU, title="Tencent qGPU", resources=FIELDS.all, read=read)
