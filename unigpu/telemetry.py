"""What the driver says of each GPU now: memory in use, load, sensors. The node agent writes it for the exporter.

The node agent alone talks to the driver. `telemetry.json` in its folder holds the last sample; a reader takes it for
current as long as the file says.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unigpu import documents, errors
from unigpu.documents import MAX_INDEX, MAX_NUMBER, whole
from unigpu.units import MAX_MEMORY, Bytes, GpuUuid, to_bytes

VERSION = 1
TELEMETRY_FILE = "telemetry.json"
_MAX_BYTES = to_bytes(MAX_MEMORY)
_MAX_PERCENT = 100
MAX_VALID = 86_400
"""Seconds."""


@dataclass(frozen=True, slots=True)
class GpuTelemetry:
    """One GPU. None: the GPU doesn't have it, or doesn't say."""

    uuid: GpuUuid
    index: int
    """NVML's."""
    model: str
    total: Bytes
    """Memory, with what the driver keeps for itself."""
    used: Bytes
    utilisation: int | None = None
    """Percent of the driver's last sampling period in which a kernel ran."""
    temperature: int | None = None
    """°C."""
    power: int | None = None
    """mW."""
    sm_clock: int | None = None
    """MHz."""
    memory_clock: int | None = None
    """MHz."""


_OPTIONAL = {
    "utilisation": _MAX_PERCENT,
    "temperature": MAX_NUMBER,
    "power": MAX_NUMBER,
    "sm_clock": MAX_NUMBER,
    "memory_clock": MAX_NUMBER,
}
"""Highest value of each field that may be missing."""


@dataclass(frozen=True, slots=True)
class Telemetry:
    """One sample of all GPUs that answer."""

    gpus: Sequence[GpuTelemetry] = ()
    valid: int = 0
    """Seconds from the file's time of change for which the sample is current."""


def plausible(field: str, value: int | None) -> int | None:
    """Return a driver's value of an optional field; None where it can't be."""
    return value if value is not None and 0 <= value <= _OPTIONAL[field] else None


def to_document(gpu: GpuTelemetry) -> dict[str, Any]:
    """Return the GPU as JSON has it."""
    optional = {field: value for field in _OPTIONAL if (value := getattr(gpu, field)) is not None}
    fixed = {"uuid": gpu.uuid, "index": gpu.index, "model": gpu.model, "total": gpu.total, "used": gpu.used}
    return fixed | optional


def from_document(item: Mapping[str, Any]) -> GpuTelemetry:
    """Return the GPU that `to_document` wrote. Raises one of `documents.INVALID`."""
    return GpuTelemetry(
        GpuUuid(documents.text(item["uuid"])),
        whole(item["index"], MAX_INDEX),
        documents.text(item["model"]),
        Bytes(whole(item["total"], _MAX_BYTES)),
        Bytes(whole(item["used"], _MAX_BYTES)),
        **{field: whole(item[field], most) for field, most in _OPTIONAL.items() if field in item},
    )


def dump(telemetry: Telemetry) -> str:
    """Return the file's text."""
    gpus = [to_document(gpu) for gpu in telemetry.gpus]
    return json.dumps({"version": VERSION, "valid": telemetry.valid, "gpus": gpus}) + "\n"


def load(text: str) -> Telemetry:
    """Return the sample that `dump` wrote.

    Raises Malformed.
    """
    try:
        document = documents.decode(text)
        if document["version"] != VERSION:
            raise errors.Malformed(f"telemetry has version {document['version']}; this is for {VERSION}")
        gpus = tuple(from_document(item) for item in document["gpus"])
        return Telemetry(gpus, whole(document["valid"], MAX_VALID))
    except documents.INVALID as error:
        raise errors.Malformed(f"telemetry can't be read: {documents.brief(error)}") from error
