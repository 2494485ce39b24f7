"""Huawei Cloud CCE's GPU virtualization (xGPU): memory of one GPU, with or without a share of its compute time.

Sources: CCE's user guide, https://support.huaweicloud.com/eu/usermanual-cce/cce_10_0644.html for the steps of 5 % and
cce_10_0742.html there for the combinations; the unit is in the resource's name.
"""

from unigpu.requests import ComputePolicy, Request
from unigpu.units import MiB, Percent
from webhook.translation.container_reader import ContainerReader
from webhook.translation.dialect import Dialect

MEMORY = "volcano.sh/gpu-mem.128Mi"
CORES = "volcano.sh/gpu-core.percentage"


def read(reader: ContainerReader) -> Request | None:
    """Return the container's request, or None with problems in the reader."""
    memory = reader.memory(MEMORY, MiB(128))
    cores = reader.number(CORES, low=5, high=100, step=5, accepted="a multiple of 5 from 5 to 100")
    if cores and not memory and not reader.problems:
        reader.refuse(CORES, f"needs {MEMORY}", f"together with {MEMORY} of 1 or more")
    if reader.problems:
        return None
    compute = ComputePolicy.HARD if cores else ComputePolicy.UNLIMITED
    return Request(gpus=1, memory=memory, cores=Percent(cores), policy=compute)


DIALECT = Dialect(name="cce", title="Huawei Cloud CCE", resources=(MEMORY, CORES), read=read)
