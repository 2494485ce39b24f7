"""Reads a line of the probe: one sample of the node's GPUs, or of the processes on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deviceplugin.node.health import GpuReading, Sample
from unigpu import documents, errors, telemetry
from unigpu.documents import MAX_INDEX, MAX_NUMBER, flag, whole
from unigpu.gpus import Gpu
from unigpu.units import MAX_MEMORY, Bytes, GpuUuid, MiB, to_bytes

_MAX_BYTES = to_bytes(MAX_MEMORY)


@dataclass(frozen=True, slots=True)
class ProcessReading:
    """One process on one GPU, as NVML lists it."""

    pid: int
    memory: Bytes | None
    """None: the driver doesn't say."""


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes on the GPUs that can be read."""

    listed: Mapping[GpuUuid, Sequence[ProcessReading]]
    used: Mapping[GpuUuid, Bytes] = field(default_factory=dict)
    """Memory in use of each GPU, by whomever; GPUs of which the driver doesn't say it are absent."""


def read(line: bytes) -> Sample | Processes:
    """Return the sample.

    Raises Unavailable with the driver's words where the driver doesn't answer at all, Malformed for anything else.
    """
    try:
        document = documents.decode(line.decode())
        if "error" in document:
            raise errors.Unavailable(f"the driver doesn't answer: {document['error']}")
        if "processes" in document:
            return _processes(document)
        return Sample(
            readings=tuple(_reading(item) for item in document["gpus"]),
            xids={
                GpuUuid(uuid): tuple(whole(xid, MAX_NUMBER) for xid in xids) for uuid, xids in document["xids"].items()
            },
            session=documents.text(document["session"]),
        )
    except documents.INVALID as error:
        raise errors.Malformed(f"the probe's line can't be read: {documents.brief(error)}") from error


def _processes(document: Mapping[str, Any]) -> Processes:
    return Processes(
        listed={
            GpuUuid(uuid): tuple(
                ProcessReading(whole(pid, MAX_NUMBER), None if memory is None else Bytes(whole(memory, _MAX_BYTES)))
                for pid, memory in listed
            )
            for uuid, listed in document["processes"].items()
        },
        used={GpuUuid(uuid): Bytes(whole(amount, _MAX_BYTES)) for uuid, amount in document.get("used", {}).items()},
    )


def _reading(item: Mapping[str, Any]) -> GpuReading:
    if "problem" in item:
        uuid = item.get("uuid")
        return GpuReading(
            None, documents.text(item["problem"]), None if uuid is None else GpuUuid(documents.text(uuid))
        )
    recovery = item.get("recovery")
    return GpuReading(
        Gpu(
            uuid=GpuUuid(documents.text(item["uuid"])),
            index=whole(item["index"], MAX_INDEX),
            minor=whole(item["minor"], MAX_INDEX),
            model=documents.text(item["model"]),
            memory=MiB(whole(item["memory"], MAX_MEMORY)),
            links={GpuUuid(other): whole(quality, MAX_NUMBER) for other, quality in item["links"].items()},
            bus=documents.text(item.get("bus", "")),
            numa=None if item.get("numa") is None else whole(item["numa"], MAX_INDEX),
        ),
        recovery=None if recovery is None else whole(recovery, MAX_NUMBER),
        mig=flag(item.get("mig", False)),
        compute_mode=whole(item.get("compute_mode", 0), MAX_NUMBER),
        rows_failed=flag(item.get("rows_failed", False)),
        ecc_uncorrected=whole(item.get("ecc_uncorrected", 0), MAX_NUMBER),
        telemetry=telemetry.from_document(item["telemetry"]),
    )
