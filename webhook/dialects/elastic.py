"""elastic-gpu."""

from unigpu.requests import Request
from unigpu.units import MiB
from webhook.dialect import Dialect
from webhook.dialects import by_core
from webhook.sheet import Sheet

FIELDS = by_core.Fields(
    core="elasticgpu.io/gpu-core", memory="elasticgpu.io/gpu-memory", unit=MiB(1), core_needed=False
)


def read(sheet: Sheet) -> Request | None:
    """The container's request; None with problems on the sheet."""
    return by_core.read(sheet, FIELDS)


DIALECT = Dialect(name="elastic-gpu", title="elastic-gpu", resources=FIELDS.all, read=read)
