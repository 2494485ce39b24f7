"""Read the two annotations of which a large cluster has very many, each in one step.

A form of structs that forbid unknown fields accepts nothing that looking at each field refuses, and takes a fifth of
the time. What isn't of the form is for the caller to look at. The modules of the annotations load this one where they
read a text, so that programs which read none, such as `gpucheck`, run with Python alone.
"""

from typing import Annotated, Literal, TypeVar

import msgspec

from unigpu.allocations import Allocation, Share
from unigpu.documents import MAX_INDEX, MAX_NUMBER
from unigpu.gpus import Fault, Gpu
from unigpu.units import FULL, MAX_MEMORY, GpuUuid, MiB, Percent

_Index = Annotated[int, msgspec.Meta(ge=0, le=MAX_INDEX)]
_Memory = Annotated[int, msgspec.Meta(ge=0, le=MAX_MEMORY)]
T = TypeVar("T")


class _Share(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    gpu: str
    memory: _Memory
    cores: Annotated[int, msgspec.Meta(ge=0, le=FULL)]
    whole: bool = False


class _Allocation(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    version: Literal[1]
    node: str
    containers: dict[str, list[_Share]]


class _Fault(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    reason: str
    since: str
    epoch: str


class _Gpu(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    uuid: str
    index: _Index
    minor: _Index
    model: str
    memory: _Memory
    healthy: bool
    links: dict[str, Annotated[int, msgspec.Meta(ge=0, le=MAX_NUMBER)]]
    bus: str = ""
    fault: _Fault | None = None
    foreign: _Memory = 0
    numa: _Index | msgspec.UnsetType = msgspec.UNSET


class _Inventory(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    version: Literal[1]
    gpus: list[_Gpu]


_ALLOCATION = msgspec.json.Decoder(_Allocation)
_INVENTORY = msgspec.json.Decoder(_Inventory)


def allocation(text: str) -> Allocation | None:
    """Return the allocation if the text is one and has nothing else in it."""
    known = _decoded(_ALLOCATION, text)
    if known is None:
        return None
    return Allocation(
        known.node,
        {
            name: tuple([Share(GpuUuid(one.gpu), MiB(one.memory), Percent(one.cores), one.whole) for one in shares])
            for name, shares in known.containers.items()
        },
    )


def inventory(text: str) -> tuple[Gpu, ...] | None:
    """Return the GPUs if the text is an inventory and has nothing else in it."""
    known = _decoded(_INVENTORY, text)
    return None if known is None else tuple([_gpu(one) for one in known.gpus])


def _decoded(form: "msgspec.json.Decoder[T]", text: str) -> T | None:
    try:
        return form.decode(text)
    except (ValueError, RecursionError):
        return None


def _gpu(gpu: _Gpu) -> Gpu:
    fault = gpu.fault
    return Gpu(
        GpuUuid(gpu.uuid),
        gpu.index,
        gpu.minor,
        gpu.model,
        MiB(gpu.memory),
        gpu.healthy,
        {GpuUuid(other): quality for other, quality in gpu.links.items()},
        gpu.bus,
        None if fault is None else Fault(fault.reason, fault.since, fault.epoch),
        MiB(gpu.foreign),
        None if gpu.numa is msgspec.UNSET else gpu.numa,
    )
