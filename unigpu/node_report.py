"""The node agent's report for the exporter, `report.json` in the agent's folder: metrics say what the inventory says.

It has the inventory as the node object shows it, the node's walls, and the findings that count. The agent renews the
file's time of change at each sample, so that a reader can tell it from a report that a dead agent left.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from unigpu import documents, errors, gpus, walls
from unigpu.breaches import Identity, Key, Kind
from unigpu.documents import MAX_NUMBER, whole
from unigpu.gpus import Gpu
from unigpu.units import MAX_MEMORY, Bytes, GpuUuid, MiB, to_bytes
from unigpu.walls import Walls

VERSION = 1
REPORT_FILE = "report.json"
STALE = 60.0
"""Seconds after which a report that wasn't renewed says nothing."""
_MAX_BYTES = to_bytes(MAX_MEMORY)
_MAX_TICKS = 2**63 - 1
"""Of a clock that starts with the boot."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A finding that counts."""

    key: Key
    memory: Bytes
    """In use."""
    allowed: Bytes
    """Of that, granted."""
    since: str
    """When it was first seen, UTC."""
    namespace: str = ""
    pod: str = ""
    """Names of the pod; empty where there is none, or it isn't known."""
    processes: Sequence[Identity] = ()
    """Those that are to blame."""


@dataclass(frozen=True, slots=True)
class Report:
    """What the agent knows of its node."""

    gpus: Sequence[Gpu] = ()
    findings: Sequence[Entry] = ()
    boot: str = ""
    """Boot ID of the node: findings of an earlier boot have ended."""
    walls: Walls | None = None
    """None: the agent is of a version that didn't say."""


def dump(report: Report) -> str:
    """Return the file's text."""
    document = {
        "version": VERSION,
        "boot": report.boot,
        "inventory": gpus.dump(report.gpus),
        **({"walls": walls.dump(report.walls)} if report.walls is not None else {}),
        "findings": [
            {
                "kind": entry.key.kind,
                "gpu": entry.key.gpu,
                "pod_uid": entry.key.pod_uid,
                "container": entry.key.container,
                "memory": entry.memory,
                "allowed": entry.allowed,
                "since": entry.since,
                "namespace": entry.namespace,
                "pod": entry.pod,
                "processes": entry.processes,
            }
            for entry in report.findings
        ],
    }
    return json.dumps(document, indent=1) + "\n"


def load(text: str) -> Report:
    """Return the report that `dump` wrote.

    Raises Malformed.
    """
    try:
        document = documents.decode(text)
        if document["version"] != VERSION:
            raise errors.Malformed(f"report has version {document['version']}; this is for {VERSION}")
        return Report(
            gpus=gpus.load(documents.text(document["inventory"])),
            findings=tuple(
                Entry(
                    key=Key(
                        Kind(item["kind"]),
                        GpuUuid(documents.text(item["gpu"])),
                        documents.text(item["pod_uid"]),
                        documents.text(item["container"]),
                    ),
                    memory=Bytes(whole(item["memory"], _MAX_BYTES)),
                    allowed=Bytes(whole(item["allowed"], _MAX_BYTES)),
                    since=documents.text(item["since"]),
                    namespace=documents.text(item["namespace"]),
                    pod=documents.text(item["pod"]),
                    processes=tuple(
                        (whole(pid, MAX_NUMBER), whole(started, _MAX_TICKS))
                        for pid, started in item.get("processes", ())
                    ),
                )
                for item in document["findings"]
            ),
            boot=documents.text(document["boot"]),
            walls=walls.load(documents.text(document["walls"])) if "walls" in document else None,
        )
    except documents.INVALID as error:
        raise errors.Malformed(f"report can't be read: {documents.brief(error)}") from error


def foreign(report: Report) -> dict[GpuUuid, MiB]:
    """Return the memory of each GPU that nobody was granted."""
    return {gpu.uuid: gpu.foreign for gpu in report.gpus if gpu.foreign}
