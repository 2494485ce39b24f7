"""The node's GPUs over time: what one look through NVML says, added to what was known before."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from unigpu import errors
from unigpu.gpus import Gpu
from unigpu.units import GpuUuid, MiB

XIDS_OF_PROGRAMS = frozenset({13, 31, 43, 45, 68, 109})
"""XIDs that a faulty program causes; the GPU is well."""


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One GPU as seen in one look."""

    index: int
    gpu: Gpu | None
    """None: it can't be read."""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at all GPUs."""

    readings: Sequence[GpuReading] = ()
    xids: Mapping[GpuUuid, int] = field(default_factory=dict)
    """The latest XID of each GPU that reported one since the look before."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """What is known of the GPUs."""

    gpus: Sequence[Gpu] = ()
    """By index."""
    unhealthy: Mapping[GpuUuid, str] = field(default_factory=dict)
    """Why a GPU is unhealthy."""
    xid_at: Mapping[GpuUuid, float] = field(default_factory=dict)
    """When a GPU reported a critical XID last, on the caller's clock."""


def read(line: bytes) -> Sample:
    """One line of the probe.

    Raises Unavailable with what the driver said where it can't be asked at all, Malformed for anything else.
    """
    try:
        document: Any = json.loads(line)
        if "error" in document:
            raise errors.Unavailable(f"the driver doesn't answer: {document['error']}")
        return Sample(
            readings=tuple(_reading(item) for item in document["gpus"]),
            xids={GpuUuid(uuid): int(xid) for uuid, xid in document["xids"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.Malformed(f"the probe's line is not of the expected form: {error!r}") from error


def _reading(item: Mapping[str, Any]) -> GpuReading:
    if "problem" in item:
        return GpuReading(int(item["index"]), None, str(item["problem"]))
    return GpuReading(
        int(item["index"]),
        Gpu(
            uuid=GpuUuid(item["uuid"]),
            index=int(item["index"]),
            minor=int(item["minor"]),
            model=str(item["model"]),
            memory=MiB(int(item["memory"])),
            links={GpuUuid(other): int(quality) for other, quality in item["links"].items()},
        ),
    )


def after(known: Inventory, sample: Sample, now: float, quiet: float) -> Inventory:
    """What is known after a look.

    A GPU that can't be read any more keeps its identity, and is unhealthy until it answers again. One that reported a
    critical XID is unhealthy until it answers and has reported none for `quiet` seconds. One that the driver doesn't
    number any more is gone.
    """
    before = {gpu.index: gpu for gpu in known.gpus}
    critical = {uuid: xid for uuid, xid in sample.xids.items() if xid not in XIDS_OF_PROGRAMS}
    xid_at = {**known.xid_at, **dict.fromkeys(critical, now)}
    xid_at = {uuid: at for uuid, at in xid_at.items() if now - at < quiet}
    gpus, unhealthy = [], {}
    for reading in sample.readings:
        gpu = reading.gpu if reading.gpu is not None else before.get(reading.index)
        if gpu is None:
            continue
        if reading.gpu is None:
            unhealthy[gpu.uuid] = reading.problem
        elif gpu.uuid in xid_at:
            earlier = known.unhealthy.get(gpu.uuid, "XID")
            unhealthy[gpu.uuid] = f"XID {critical[gpu.uuid]}" if gpu.uuid in critical else earlier
        gpus.append(dataclasses.replace(gpu, healthy=gpu.uuid not in unhealthy))
    return Inventory(tuple(gpus), unhealthy, xid_at)


def lost(known: Inventory, problem: str) -> Inventory:
    """What is known when the driver doesn't answer at all: the same GPUs, none of them healthy."""
    return dataclasses.replace(
        known,
        gpus=tuple(dataclasses.replace(gpu, healthy=False) for gpu in known.gpus),
        unhealthy={gpu.uuid: problem for gpu in known.gpus},
    )
