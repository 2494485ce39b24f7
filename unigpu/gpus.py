"""A node's GPUs, and the annotation in which the node agent publishes them (`unigpu.dev/inventory`)."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from unigpu import documents, errors
from unigpu.documents import MAX_INDEX, MAX_NUMBER, flag, whole
from unigpu.units import MAX_MEMORY, GpuUuid, MiB

VERSION = 1


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a GPU is unhealthy."""

    reason: str
    """For people."""
    since: str
    """When it was first seen, UTC."""
    epoch: str = ""
    """Boot and life of the driver in which it was seen, if only a reset of the GPU ends it; empty: it passes."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One physical GPU."""

    uuid: GpuUuid
    index: int
    """Index of the GPU on its node, as NVML counts."""
    minor: int
    """Number of its device node, `/dev/nvidia<minor>`; often, but not always, the index."""
    model: str
    memory: MiB
    """MiB of memory in total."""
    healthy: bool = True
    links: Mapping[GpuUuid, int] = field(default_factory=dict)
    """Quality of the link to each other GPU of the node; higher is better. 100 for each NVLink, or without NVLink 10 to
    50 by the distance on PCIe. Absent: unknown."""
    bus: str = ""
    """PCI bus ID, as NVML prints it; empty: unknown."""
    fault: Fault | None = None
    """Why it is unhealthy; None: it is healthy, or the reason isn't known."""
    foreign: MiB = MiB(0)
    """MiB in use that no container was granted, as the node agent sees it: nobody else can have them."""


def dump(gpus: Sequence[Gpu]) -> str:
    """Return the annotation's text."""
    document = {
        "version": VERSION,
        "gpus": [
            {
                "uuid": gpu.uuid,
                "index": gpu.index,
                "minor": gpu.minor,
                "model": gpu.model,
                "memory": gpu.memory,
                "healthy": gpu.healthy,
                "links": dict(gpu.links),
                **({"bus": gpu.bus} if gpu.bus else {}),
                **({"fault": dataclasses.asdict(gpu.fault)} if gpu.fault is not None else {}),
                **({"foreign": gpu.foreign} if gpu.foreign else {}),
            }
            for gpu in gpus
        ],
    }
    return json.dumps(document, separators=(",", ":"))


def load(text: str) -> tuple[Gpu, ...]:
    """Return the GPUs that `dump` wrote.

    Raises Malformed.
    """
    try:
        document = documents.decode(text)
        if document["version"] != VERSION:
            raise errors.Malformed(f"inventory annotation has version {document['version']}, not {VERSION}")
        return tuple(
            Gpu(
                uuid=GpuUuid(documents.text(item["uuid"])),
                index=whole(item["index"], MAX_INDEX),
                minor=whole(item["minor"], MAX_INDEX),
                model=documents.text(item["model"]),
                memory=MiB(whole(item["memory"], MAX_MEMORY)),
                healthy=flag(item["healthy"]),
                links={GpuUuid(other): whole(quality, MAX_NUMBER) for other, quality in item["links"].items()},
                bus=documents.text(item.get("bus", "")),
                fault=_fault(item.get("fault")),
                foreign=MiB(whole(item.get("foreign", 0), MAX_MEMORY)),
            )
            for item in document["gpus"]
        )
    except documents.INVALID as error:
        raise errors.Malformed(f"inventory annotation can't be read: {documents.brief(error)}") from error


def _fault(item: Any) -> Fault | None:
    if item is None:
        return None
    return Fault(*(documents.text(item[key]) for key in ("reason", "since", "epoch")))
