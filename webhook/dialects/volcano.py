"""Volcano's vGPU."""

from unigpu.requests import Request
from webhook.dialect import Dialect
from webhook.dialects import per_gpu
from webhook.sheet import Sheet

FIELDS = per_gpu.Fields(
    counts=("volcano.sh/vgpu-number",),
    memory="volcano.sh/vgpu-memory",
    percent="volcano.sh/vgpu-memory-percentage",
    cores="volcano.sh/vgpu-cores",
    priority="volcano.sh/vgpu-priority",
)


def read(sheet: Sheet) -> Request | None:
    """The container's request; None with problems on the sheet."""
    return per_gpu.read(sheet, FIELDS)


DIALECT = Dialect(name="volcano", title="Volcano", resources=FIELDS.all, read=read)
