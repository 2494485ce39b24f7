"""Alibaba: open-source gpushare, and ACK's cGPU.

Sources: https://github.com/AliyunContainerService/gpushare-scheduler-extender/blob/master/docs/userguide.md; ACK's:
https://www.alibabacloud.com/help/en/container-service-for-kubernetes/latest/labels-used-by-ack-to-control-gpus.
"""

from unigpu import names
from unigpu.requests import ComputePolicy, Request
from unigpu.units import FULL, MiB, Percent
from webhook.translation.container_reader import MAX_GPUS, ContainerReader
from webhook.translation.dialect import Dialect

MEMORY = names.ALIYUN_GPU_MEM
CORES = "aliyun.com/gpu-core.percentage"
WHOLE = "aliyun.com/gpu"
COUNT = names.ALIYUN_GPU_COUNT
"""A resource of the container, or a label of the pod."""
LABEL_PLACEMENT = "ack.gpushare.placement"
WHOLE_DEVICE = "require-whole-device"


def read(reader: ContainerReader) -> Request | None:
    """Return the container's request, or None with problems in the reader."""
    whole = reader.gpus(WHOLE)
    total = reader.memory(MEMORY, reader.options.aliyun_unit.size)
    cores = reader.number(CORES, low=5, high=100, step=5, accepted="a multiple of 5 from 5 to 100")
    count = reader.gpus(COUNT)
    if whole and (total or cores or count):
        why = f"a container can't request both whole GPUs and a share ({MEMORY})"
        reader.refuse(WHOLE, why, "one of the two")
    if not whole and not total and not reader.problems:
        field = CORES if cores else COUNT
        reader.refuse(field, f"needs {MEMORY}", f"together with {MEMORY} of 1 or more")
    if whole:
        return None if reader.problems else Request(gpus=whole, whole=True)
    if count:
        # The unified form has the number too; capacities of it would not bound what can be granted.
        reader.void.add(COUNT)
    gpus = _gpus(reader, total, count)
    placement = reader.label(LABEL_PLACEMENT)
    if placement not in (None, WHOLE_DEVICE):
        reader.warn(f"label {LABEL_PLACEMENT}", "has no effect", WHOLE_DEVICE, value=placement)
    if reader.problems:
        return None
    if placement == WHOLE_DEVICE or (not cores and reader.translated(names.RESOURCE_CORES) == gpus * FULL):
        return Request(gpus=gpus, whole=True)
    return Request(
        gpus=gpus,
        memory=MiB(total // gpus),
        cores=Percent(cores),
        policy=ComputePolicy.HARD if cores else ComputePolicy.UNLIMITED,
    )


def _gpus(reader: ContainerReader, total: MiB, count: int) -> int:
    """Return the number of GPUs over which the memory is spread evenly, in whole units."""
    label = reader.label(COUNT)
    if label is not None:
        if not (label.isascii() and label.isdigit() and len(label) <= 3 and 1 <= int(label) <= MAX_GPUS):
            reader.refuse(COUNT, "not a number of GPUs", f'a quoted number from "1" to "{MAX_GPUS}"', value=label)
            return 1
        if count and count != int(label):
            reader.refuse(COUNT, f"contradicts the label {COUNT} = {label}", "one of the two")
        count = int(label)
    count = count or min(reader.translated(names.RESOURCE_VGPU), MAX_GPUS)
    unit, gpus = reader.options.aliyun_unit, count or 1
    if total // unit.size % gpus:
        reader.refuse(MEMORY, f"doesn't divide evenly among {gpus} GPUs ({COUNT})", f"a multiple of {gpus} {unit}")
    return gpus


DIALECT = Dialect(name=names.DIALECT_ALIBABA, title="Alibaba", resources=(MEMORY, CORES, WHOLE, COUNT), read=read)
