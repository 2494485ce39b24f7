"""The unified form, written by hand: unigpu's own resources (docs/reference/dialects.md)."""

from unigpu import names
from unigpu.requests import ComputePolicy, Request
from unigpu.units import MiB, Percent
from webhook.translation.container_reader import MAX_GPUS, ContainerReader
from webhook.translation.dialect import Dialect

NO_AMOUNT = (
    "stands for a percentage of the GPU's memory, or no limit; this copy has lost the annotation that says which"
)
ACCEPTED_AMOUNT = (
    f"the annotation {names.ANNOTATION_REQUEST} of the original (kubectl debug --keep-annotations), an amount in MiB, "
    "or no such field for all of the memory"
)


def read(reader: ContainerReader) -> Request | None:
    """Return the container's request, or None with problems in the reader."""
    gpus = reader.gpus(names.RESOURCE_VGPU)
    memory = reader.memory(names.RESOURCE_MEMORY, MiB(1))
    cores = reader.number(names.RESOURCE_CORES, high=MAX_GPUS * 100)
    if reader.problems:
        return None
    if not gpus:
        field = names.RESOURCE_MEMORY if memory else names.RESOURCE_CORES
        reader.refuse(field, f"needs {names.RESOURCE_VGPU}", f"together with {names.RESOURCE_VGPU} of 1 to {MAX_GPUS}")
        return None
    if reader.has(names.RESOURCE_MEMORY) and not memory:
        reader.refuse(names.RESOURCE_MEMORY, NO_AMOUNT, ACCEPTED_AMOUNT)
    for field, total in ((names.RESOURCE_MEMORY, memory), (names.RESOURCE_CORES, cores)):
        if total % gpus:
            reader.refuse(field, f"doesn't divide evenly among {gpus} GPUs", f"a multiple of {gpus}")
    if cores > gpus * 100:
        reader.refuse(names.RESOURCE_CORES, f"exceeds the compute time of {gpus} GPUs", f"up to {gpus * 100}")
    if reader.problems:
        return None
    reader.count_only = not memory and not cores
    if not memory and cores in (0, gpus * 100):
        return Request(gpus=gpus, whole=True)
    if not memory:
        why = "without memory reserves all memory of each GPU, so no other container fits there"
        reader.warn(names.RESOURCE_CORES, why, f"together with {names.RESOURCE_MEMORY}")
    return Request(
        gpus=gpus,
        memory=MiB(memory // gpus),
        memory_percent=Percent(0 if memory else 100),
        cores=Percent(cores // gpus),
        policy=ComputePolicy.HARD if cores else ComputePolicy.UNLIMITED,
    )


DIALECT = Dialect(name="unigpu", title="unigpu itself", resources=names.UNIFIED_RESOURCES, read=read)
