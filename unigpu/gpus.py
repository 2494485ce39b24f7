"""A node's GPUs, and the annotation in which the node agent publishes them (`unigpu.dev/inventory`)."""

import dataclasses
import json
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any, TypeVar

from unigpu import documents, errors
from unigpu.documents import MAX_INDEX, MAX_NUMBER, flag, whole
from unigpu.units import MAX_MEMORY, GpuUuid, MiB

Listed = TypeVar("Listed", bound=Sized)
VERSION = 1
MOST = 64
"""GPUs of one node. A node that says more would cost the scheduler time that others wait for."""


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
    numa: int | None = None
    """NUMA node of the machine that the GPU hangs on; None: unknown, or the machine has one only."""


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
                **({"numa": gpu.numa} if gpu.numa is not None else {}),
            }
            for gpu in gpus
        ],
    }
    return json.dumps(document, separators=(",", ":"))


def load(text: str) -> tuple[Gpu, ...]:
    """Return the GPUs that `dump` wrote.

    Raises Malformed.
    """
    from unigpu import quick_forms  # not at the top: it imports this module

    if (known := quick_forms.inventory(text)) is not None:
        return _bounded(known)
    try:
        document = documents.decode(text)
        if document["version"] != VERSION:
            raise errors.Malformed(f"inventory annotation has version {document['version']}, not {VERSION}")
        return tuple(map(_gpu, _bounded(document["gpus"])))
    except documents.INVALID as error:
        raise errors.Malformed(f"inventory annotation can't be read: {documents.brief(error)}") from error


def _bounded(found: Listed) -> Listed:
    if len(found) > MOST:
        raise errors.Malformed(f"inventory annotation has {len(found)} GPUs; accepted: {MOST} at most")
    return found


def _gpu(item: Mapping[str, Any]) -> Gpu:
    return Gpu(
        GpuUuid(documents.text(item["uuid"])),
        whole(item["index"], MAX_INDEX),
        whole(item["minor"], MAX_INDEX),
        documents.text(item["model"]),
        MiB(whole(item["memory"], MAX_MEMORY)),
        flag(item["healthy"]),
        {GpuUuid(other): whole(quality, MAX_NUMBER) for other, quality in item["links"].items()},
        documents.text(item.get("bus", "")),
        _fault(item.get("fault")),
        MiB(whole(item.get("foreign", 0), MAX_MEMORY)),
        whole(item["numa"], MAX_INDEX) if "numa" in item else None,
    )


def _fault(item: Any) -> Fault | None:
    if item is None:
        return None
    return Fault(*(documents.text(item[key]) for key in ("reason", "since", "epoch")))
