"""Volcano's vGPU.

Source: https://github.com/volcano-sh/volcano/blob/master/docs/user-guide/how_to_use_volcano_vgpu.md.
"""

from unigpu.requests import Request
from unigpu.units import MiB
from webhook.translation.container_reader import ContainerReader
from webhook.translation.dialect import Dialect
from webhook.translation.dialects import per_gpu

FIELDS = per_gpu.Fields(
    counts=("volcano.sh/vgpu-number",),
    memory="volcano.sh/vgpu-memory",
    percent="volcano.sh/vgpu-memory-percentage",
    cores="volcano.sh/vgpu-cores",
    priority="volcano.sh/vgpu-priority",
)


def read(reader: ContainerReader) -> Request | None:
    """Return the container's request, or None with problems in the reader."""
    return per_gpu.read(reader, FIELDS, MiB(reader.options.volcano_factor))


DIALECT = Dialect(name="volcano", title="Volcano", resources=FIELDS.all, read=read)
