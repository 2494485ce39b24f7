"""The node agent's record of the GPUs that it handed to a container: `grant.json` in the container's folder.

The node agent and the exporter read it back, so that neither has to ask the API server to which pod a folder belongs.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from unigpu import documents, errors
from unigpu.allocations import Share
from unigpu.documents import MAX_INDEX, MAX_NUMBER, flag, whole
from unigpu.requests import Role
from unigpu.units import FULL, MAX_MEMORY, GpuUuid, MiB, Percent

VERSION = 1
GRANT_FILE = "grant.json"
POLICY_FILE = "policy"
USAGE_FILE = "usage"


@dataclass(frozen=True, slots=True)
class Grant:
    """One container's GPUs on this node."""

    namespace: str
    pod: str
    pod_uid: str
    container: str
    slots: Sequence[str]
    """Device IDs that the kubelet handed out, sorted; the first names the CDI device."""
    shares: Sequence[Share]
    indexes: Mapping[GpuUuid, int]
    """Index of each GPU on the node, as NVML counts."""
    isolated: bool
    """False if the pod's author switched isolation off. The policy file says what is enforced."""
    dialect: str
    role: Role = Role.MAIN
    """When the container runs: its share adds to the pod's, or overlaps with it."""
    changes: int = 0
    """How often the container's limits have changed."""
    models: Mapping[GpuUuid, str] = field(default_factory=dict)
    """Model of each GPU, as NVML names it; those that aren't known are absent."""
    boot: str = ""
    """Boot ID of the node when the container's processes last ran. After another boot, the usage file's processes are
    gone."""
    env: Mapping[str, str] | None = None
    """Variables that the container got, so that it can be started again while the API server is away. None: the grant
    is of a version that didn't note them."""

    @property
    def log_fields(self) -> dict[str, Any]:
        """What names the container in every part's log."""
        return {"pod": f"{self.namespace}/{self.pod}", "pod_uid": self.pod_uid, "container": self.container}


def folder(root: PurePath, pod_uid: str, container: str) -> PurePath:
    """Return the container's folder under the node's folder of all containers."""
    return root / pod_uid / container


def dump(grant: Grant) -> str:
    """Return the file's text."""
    document = {
        "version": VERSION,
        "namespace": grant.namespace,
        "pod": grant.pod,
        "pod_uid": grant.pod_uid,
        "container": grant.container,
        "slots": list(grant.slots),
        "shares": [
            {"gpu": share.gpu, "memory": share.memory, "cores": share.cores, "whole": share.whole}
            for share in grant.shares
        ],
        "indexes": dict(grant.indexes),
        "isolated": grant.isolated,
        "dialect": grant.dialect,
        "role": grant.role,
        "changes": grant.changes,
        "models": dict(grant.models),
        "boot": grant.boot,
        **({"env": dict(grant.env)} if grant.env is not None else {}),
    }
    return json.dumps(document, indent=1) + "\n"


def load(text: str) -> Grant:
    """Return the grant that `dump` wrote.

    Raises Malformed.
    """
    try:
        document = documents.decode(text)
        if document["version"] != VERSION:
            raise errors.Malformed(f"grant has version {document['version']}, not {VERSION}")
        return Grant(
            namespace=documents.text(document["namespace"]),
            pod=documents.text(document["pod"]),
            pod_uid=documents.text(document["pod_uid"]),
            container=documents.text(document["container"]),
            slots=tuple(documents.text(slot) for slot in document["slots"]),
            shares=tuple(
                Share(
                    GpuUuid(documents.text(item["gpu"])),
                    MiB(whole(item["memory"], MAX_MEMORY)),
                    Percent(whole(item["cores"], FULL)),
                    flag(item["whole"]),
                )
                for item in document["shares"]
            ),
            indexes={GpuUuid(uuid): whole(index, MAX_INDEX) for uuid, index in document["indexes"].items()},
            isolated=flag(document["isolated"]),
            dialect=documents.text(document["dialect"]),
            role=Role(document["role"]),
            changes=whole(document.get("changes", 0), MAX_NUMBER),
            models={GpuUuid(uuid): documents.text(model) for uuid, model in document.get("models", {}).items()},
            boot=documents.text(document["boot"]),
            env=_env(document["env"]) if "env" in document else None,
        )
    except documents.INVALID as error:
        raise errors.Malformed(f"grant can't be read: {documents.brief(error)}") from error


def _env(item: Mapping[str, str]) -> dict[str, str]:
    return {documents.text(name): documents.text(value) for name, value in item.items()}
