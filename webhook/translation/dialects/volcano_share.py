"""Volcano's first GPU sharing: an amount of memory of one GPU, or a number of whole GPUs.

Sources: https://github.com/volcano-sh/volcano/blob/master/docs/user-guide/how_to_use_gpu_sharing.md,
https://github.com/volcano-sh/volcano/blob/master/docs/user-guide/how_to_use_gpu_number.md, and
https://github.com/volcano-sh/devices/blob/master/doc/config.md for the device plugin's unit, of which this is the
default.
"""

from unigpu.requests import ComputePolicy, Request
from unigpu.units import MiB
from webhook.translation.container_reader import ContainerReader
from webhook.translation.dialect import Dialect

MEMORY = "volcano.sh/gpu-memory"
NUMBER = "volcano.sh/gpu-number"


def read(reader: ContainerReader) -> Request | None:
    """Return the container's request, or None with problems in the reader."""
    memory = reader.memory(MEMORY, MiB(reader.options.volcano_factor))
    whole = reader.gpus(NUMBER)
    if memory and whole:
        why = f"a container can't request both whole GPUs and a share ({MEMORY})"
        reader.refuse(NUMBER, why, "one of the two")
    if reader.problems:
        return None
    if whole:
        return Request(gpus=whole, whole=True)
    return Request(gpus=1, memory=memory, policy=ComputePolicy.UNLIMITED)


DIALECT = Dialect(name="volcano-share", title="Volcano GPU sharing", resources=(MEMORY, NUMBER), read=read)
