"""What the node agent wrote down when it handed GPUs to a container: `grant.json` in the container's folder.

The exporter and the agent itself read it back, so that neither needs the API server to know whose folder it is.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from unigpu import errors
from unigpu.allocations import Share
from unigpu.requests import Role
from unigpu.units import GpuUuid, MiB, Percent

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
    """Device IDs that the kubelet gave, sorted; the first names the CDI device."""
    shares: Sequence[Share]
    indexes: Mapping[GpuUuid, int]
    """NVML's index of each GPU on the node."""
    isolated: bool
    """Whether its author wants it limited; the policy says what is enforced."""
    dialect: str
    role: Role = Role.MAIN
    """Whether its share adds to the pod's, or overlaps with it."""
    changes: int = 0
    """How often its limits were changed."""
    boot: str = ""
    """The node's boot in which its processes run or ran: after another, what the usage file says of locks is void."""


def folder(root: PurePath, pod_uid: str, container: str) -> PurePath:
    """The container's folder under the node's root of containers."""
    return root / pod_uid / container


def dump(grant: Grant) -> str:
    """The file's text."""
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
        "boot": grant.boot,
    }
    return json.dumps(document, indent=1) + "\n"


def load(text: str) -> Grant:
    """The reverse of `dump`.

    Raises Malformed.
    """
    try:
        document: Any = json.loads(text)
        if document["version"] != VERSION:
            raise errors.Malformed(f"grant has version {document['version']}; this is for {VERSION}")
        return Grant(
            namespace=document["namespace"],
            pod=document["pod"],
            pod_uid=document["pod_uid"],
            container=document["container"],
            slots=tuple(document["slots"]),
            shares=tuple(
                Share(GpuUuid(item["gpu"]), MiB(item["memory"]), Percent(item["cores"]), bool(item["whole"]))
                for item in document["shares"]
            ),
            indexes={GpuUuid(uuid): int(index) for uuid, index in document["indexes"].items()},
            isolated=bool(document["isolated"]),
            dialect=document["dialect"],
            role=Role(document["role"]),
            changes=int(document.get("changes", 0)),
            boot=document["boot"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.Malformed(f"grant is not of the expected form: {error!r}") from error
