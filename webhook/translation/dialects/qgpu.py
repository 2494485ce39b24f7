"""Tencent Kubernetes Engine's qGPU.

There the node decides whether a share is also the ceiling (label `tke.cloud.tencent.com/qgpu-schedule-policy`); the
request is the same on all nodes. Source: https://www.tencentcloud.com/document/product/457/59103.
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
    """Return the container's request, or None with problems in the reader."""
    return by_core.read(reader, FIELDS)


DIALECT = Dialect(name=names.DIALECT_QGPU, title="Tencent qGPU", resources=FIELDS.all, read=read)
