"""Tencent Kubernetes Engine's qGPU.

Whether a share is also the ceiling is the node's to say there (label `tke.cloud.tencent.com/qgpu-schedule-policy`);
what is asked for is the same on all nodes.
"""

from unigpu import names, units
from unigpu.requests import Request
from webhook.dialect import Dialect
from webhook.dialects import by_core
from webhook.sheet import Sheet

FIELDS = by_core.Fields(
    core="tke.cloud.tencent.com/qgpu-core",
    memory="tke.cloud.tencent.com/qgpu-memory",
    unit=units.gib(1),
    least=5,
    core_needed=False,
)


def read(sheet: Sheet) -> Request | None:
    """The container's request; None with problems on the sheet."""
    return by_core.read(sheet, FIELDS)


DIALECT = Dialect(name=names.DIALECT_QGPU, title="Tencent qGPU", resources=FIELDS.all, read=read)
