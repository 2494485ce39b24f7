"""CDI specs: what the container runtime gives to a container.

A container names two devices. One is named after its first slot, and has what is its own: the GPUs' device nodes, its
policy and usage files, its environment. The other is the same for all containers of a node: the driver's libraries and
libvgpu. They are two because a runtime reads every spec again whenever one changes, and a driver has dozens of names:
with all of them in each slot's spec, a hundred containers that start at once would wait for seconds.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath, PurePosixPath
from typing import Any

from unigpu import errors, grants, names

VERSION = "0.5.0"
"""The oldest that knows all that is said here, so that containerd 1.7 takes it."""


@dataclass(frozen=True, slots=True)
class Mount:
    """One bind mount."""

    host: str
    """Path on the node."""
    container: str
    writable: bool = False
    executable: bool = True
    """Libraries and programs are; data isn't."""


@dataclass(frozen=True, slots=True)
class DeviceNode:
    """One device node; its numbers are read by the runtime from the node's own."""

    container: str
    host: str
    """Path on the node."""


@dataclass(frozen=True, slots=True)
class Edits:
    """What is added to the container."""

    mounts: Sequence[Mount] = ()
    nodes: Sequence[DeviceNode] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    """Replaces variables of the same name, wherever they come from."""

    def plus(self, other: "Edits") -> "Edits":
        """Both; the other's environment wins."""
        return Edits(
            (*self.mounts, *other.mounts),
            (*self.nodes, *other.nodes),
            {**self.env, **other.env},
        )


COMMON_FILE = f"{names.CDI_COMMON.partition('=')[0].replace('/', '-')}.json"
"""Name of the common device's file in the CDI folder."""


def device_names(slots: Sequence[str]) -> tuple[str, str]:
    """The fully qualified CDI devices of a container that holds these slots: its own is named by the first in order."""
    return f"{names.CDI_KIND}={min(slots)}", names.CDI_COMMON


def file_name(slot: str) -> str:
    """Name of the slot's file in the CDI folder."""
    return f"{names.CDI_KIND.replace('/', '-')}-{slot}.json"


def slot_of(file: str) -> str | None:
    """The slot whose file has this name, None for a file that isn't ours."""
    prefix, suffix = file_name("\0").split("\0")
    inner = file.removeprefix(prefix).removesuffix(suffix)
    return inner if inner and file == prefix + inner + suffix else None


def managed(library: PurePath, preload: PurePath) -> Edits:
    """What makes a container ours: libvgpu, loaded into every program.

    A vendor's own runtime hook is told to add nothing: it would add every GPU, or another.
    """
    return Edits(
        mounts=(
            Mount(str(library), names.CONTAINER_LIBRARY),
            Mount(str(preload), names.CONTAINER_PRELOAD, executable=False),
        ),
        env={names.ENV_MANAGED: "1", names.ENV_NVIDIA_VISIBLE_DEVICES: "void"},
    )


def own(folder: PurePath) -> Edits:
    """A container's own policy and usage files, from its folder on the node."""
    return Edits(
        mounts=(
            Mount(str(folder / grants.POLICY_FILE), names.CONTAINER_POLICY, executable=False),
            Mount(str(folder / grants.USAGE_FILE), names.CONTAINER_USAGE, writable=True, executable=False),
        ),
    )


def dump(slot: str, edits: Edits) -> str:
    """The text of a slot's file."""
    return _dump(names.CDI_KIND, slot, edits)


def dump_common(edits: Edits) -> str:
    """The text of the common device's file."""
    kind, _, device = names.CDI_COMMON.partition("=")
    return _dump(kind, device, edits)


def _dump(kind: str, device: str, edits: Edits) -> str:
    document: dict[str, Any] = {
        "cdiVersion": VERSION,
        "kind": kind,
        "devices": [
            {
                "name": device,
                "containerEdits": {
                    "env": [f"{key}={value}" for key, value in edits.env.items()],
                    "deviceNodes": [
                        {"path": node.container}
                        | ({"hostPath": node.host} if node.host != node.container else {})
                        | {"permissions": "rw"}
                        for node in edits.nodes
                    ],
                    "mounts": [
                        {
                            "hostPath": mount.host,
                            "containerPath": mount.container,
                            "options": [
                                "bind",
                                "rw" if mount.writable else "ro",
                                "nosuid",
                                "nodev",
                                *(() if mount.executable else ("noexec",)),
                            ],
                        }
                        for mount in edits.mounts
                    ],
                },
            }
        ],
    }
    return json.dumps(document, separators=(",", ":"))


def folder_of(text: str) -> PurePosixPath:
    """The folder of the container that a spec belongs to.

    Raises Malformed where the text isn't a spec of ours.
    """
    try:
        mounts = json.loads(text)["devices"][0]["containerEdits"]["mounts"]
        host = next(mount["hostPath"] for mount in mounts if mount["containerPath"] == names.CONTAINER_POLICY)
        return PurePosixPath(host).parent
    except (ValueError, KeyError, TypeError, IndexError, StopIteration) as error:
        raise errors.Malformed(f"CDI spec isn't one of ours: {error!r}") from error
