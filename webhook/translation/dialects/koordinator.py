"""Koordinator's GPU sharing.

Amounts are totals over the GPUs, of which `koordinator.sh/gpu.shared` is the number. Source:
https://github.com/koordinator-sh/koordinator/blob/main/docs/proposals/scheduling/20230803-enhance-gpu-share-api.md, and
`pkg/scheduler/plugins/deviceshare/utils.go` there for the combinations that its scheduler takes.
"""

from unigpu.requests import ComputePolicy, Request
from unigpu.units import MiB, Percent
from webhook.translation.container_reader import MAX_GPUS, ContainerReader
from webhook.translation.dialect import Dialect

BOTH = "koordinator.sh/gpu"
CORES = "koordinator.sh/gpu-core"
MEMORY = "koordinator.sh/gpu-memory"
RATIO = "koordinator.sh/gpu-memory-ratio"
SHARED = "koordinator.sh/gpu.shared"
_PERCENT = f"1 to 100 for one GPU, or a multiple of 100 up to {MAX_GPUS * 100}"


def read(reader: ContainerReader) -> Request | None:
    """Return the container's request, or None with problems in the reader."""
    both = reader.number(BOTH, high=MAX_GPUS * 100, accepted=_PERCENT)
    cores = reader.number(CORES, high=MAX_GPUS * 100, accepted=_PERCENT)
    ratio = reader.number(RATIO, high=MAX_GPUS * 100, accepted=_PERCENT)
    memory = reader.memory_bytes(MEMORY)
    shared = reader.gpus(SHARED)
    if both and (cores or ratio or memory or shared):
        reader.refuse(BOTH, f"stands for both {CORES} and {RATIO}, so no other field can be set", f"{BOTH} alone")
    if memory and ratio:
        reader.refuse(RATIO, f"{MEMORY} is set too", "one of the two")
    if not (both or memory or ratio or reader.problems):
        field = CORES if cores else SHARED
        reader.refuse(field, f"needs {MEMORY} or {RATIO}", f"together with {MEMORY} or {RATIO}")
    if reader.problems:
        return None
    if both:
        return _shares(reader, BOTH, both, both, MiB(0), _gpus(reader, BOTH, both))
    gpus = shared or (_gpus(reader, RATIO, ratio) if ratio else 1)
    return _shares(reader, RATIO, ratio, cores, memory, gpus)


def _gpus(reader: ContainerReader, field: str, percent: int) -> int:
    """Return the number of GPUs that a percentage means without `gpu.shared`."""
    if percent > 100 and percent % 100:
        reader.refuse(field, "neither a share of one GPU nor whole GPUs", _PERCENT)
    return max(percent // 100, 1)


def _shares(reader: ContainerReader, field: str, ratio: int, cores: int, memory: MiB, gpus: int) -> Request | None:
    """Return the request with the amounts spread over the GPUs, or None with problems in the reader."""
    if reader.problems:
        return None
    for name, total in ((field, ratio), (CORES, cores)):
        if total % gpus or total > gpus * 100:
            accepted = f"a multiple of {gpus} up to {gpus * 100}"
            if reader.has(name):
                reader.refuse(name, f"can't be divided into whole percentages of {gpus} GPUs", accepted)
    if reader.problems:
        return None
    percent, share = Percent(ratio // gpus), Percent(cores // gpus)
    if percent == 100 and share in (0, 100):
        return Request(gpus=gpus, whole=True)
    return Request(
        gpus=gpus,
        memory=MiB(-(-memory // gpus)),
        memory_percent=percent,
        cores=share,
        policy=ComputePolicy.HARD if share else ComputePolicy.UNLIMITED,
    )


DIALECT = Dialect(name="koordinator", title="Koordinator", resources=(SHARED, MEMORY, RATIO, CORES, BOTH), read=read)
