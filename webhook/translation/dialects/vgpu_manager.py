"""vgpu-manager: HAMi's shape under names of its own.

Source: https://github.com/coldzerofear/vgpu-manager, for the unit its flag `--device-memory-factor`.
"""

from unigpu.requests import Request
from unigpu.units import MiB
from webhook.translation.container_reader import ContainerReader
from webhook.translation.dialect import Dialect
from webhook.translation.dialects import per_gpu

FIELDS = per_gpu.Fields(
    counts=("nvidia.com/vgpu-number",),
    memory="nvidia.com/vgpu-memory",
    percent="",
    cores="nvidia.com/vgpu-cores",
    priority="",
)


def read(reader: ContainerReader) -> Request | None:
    """Return the container's request, or None with problems in the reader."""
    return per_gpu.read(reader, FIELDS, MiB(reader.options.vgpu_manager_factor))


DIALECT = Dialect(name="vgpu-manager", title="vgpu-manager", resources=FIELDS.all, read=read)
