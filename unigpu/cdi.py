"""CDI specs: the device nodes, mounts and variables that the container runtime adds to a container.

Each container names two CDI devices. The first is named after the container's first slot, and adds what belongs to this
container alone: device nodes of its GPUs, its policy and usage files, its environment. The second is common to all
containers of a node, and adds libvgpu and the driver's libraries.

There are two devices because a runtime rereads every spec when one of them changes, and a driver has dozens of files.
If each slot's spec listed them all, a hundred containers started at once would wait for seconds.

Format: Container Device Interface specification, https://github.com/cncf-tags/container-device-interface.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath, PurePosixPath
from typing import Any

from unigpu import documents, errors, grants, names

VERSION = "0.5.0"
"""The oldest CDI version that has every field used here, so that containerd 1.7 accepts it."""


@dataclass(frozen=True, slots=True)
class Mount:
    """One bind mount."""

    host: str
    """Path on the node."""
    container: str
    writable: bool = False
    executable: bool = True
    """True for libraries and programs, False for data."""


@dataclass(frozen=True, slots=True)
class DeviceNode:
    """One device node; the runtime reads its device numbers from the host's file."""

    container: str
    host: str
    """Path on the node."""


@dataclass(frozen=True, slots=True)
class Edits:
    """Changes to a container's configuration (CDI `containerEdits`)."""

    mounts: Sequence[Mount] = ()
    nodes: Sequence[DeviceNode] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables; each replaces one of the same name, from the image or from the pod."""

    def plus(self, other: "Edits") -> "Edits":
        """Return both sets of edits; for a variable that both set, the other's value."""
        return Edits(
            (*self.mounts, *other.mounts),
            (*self.nodes, *other.nodes),
            {**self.env, **other.env},
        )


COMMON_FILE = f"{names.CDI_COMMON.partition('=')[0].replace('/', '-')}.json"
"""Name of the common device's file in the CDI folder."""


def device_names(slots: Sequence[str]) -> tuple[str, str]:
    """Return the fully qualified CDI device names of a container with these slots; the lowest slot names its own."""
    return f"{names.CDI_KIND}={min(slots)}", names.CDI_COMMON


def file_name(slot: str) -> str:
    """Return the name of the slot's file in the CDI folder."""
    return f"{names.CDI_KIND.replace('/', '-')}-{slot}.json"


def slot_of(file: str) -> str | None:
    """Return the slot whose file has this name, or None if unigpu didn't write the file."""
    prefix, suffix = file_name("\0").split("\0")
    inner = file.removeprefix(prefix).removesuffix(suffix)
    return inner if inner and file == prefix + inner + suffix else None


ANCHORED = (names.CONTAINER_LIBRARY, names.CONTAINER_POLICY, names.CONTAINER_USAGE)
"""Files that are mounted over those of the same name in the anchor, the folder at CONTAINER_ROOT."""


def common_edits(library: PurePath, preload: PurePath, anchor: PurePath) -> Edits:
    """Return the edits that make a container managed: libvgpu, loaded into every program.

    `anchor` is a folder on the node with an empty file for each of ANCHORED. It is a mount of its own, because a folder
    that is a mount can be neither renamed nor removed, and nothing can be created in it. Runtimes mount it before the
    files below it: CDI has them order mounts by depth.

    NVIDIA_VISIBLE_DEVICES=void makes NVIDIA's runtime hook add nothing; it would add all GPUs, or the wrong one.
    """
    return Edits(
        mounts=(
            Mount(str(anchor), names.CONTAINER_ROOT, executable=False),
            Mount(str(library), names.CONTAINER_LIBRARY),
            Mount(str(preload), names.CONTAINER_PRELOAD, executable=False),
        ),
        env={names.ENV_MANAGED: "1", names.ENV_NVIDIA_VISIBLE_DEVICES: "void"},
    )


def container_edits(folder: PurePath) -> Edits:
    """Return the edits that mount a container's policy and usage files from its folder on the node."""
    return Edits(
        mounts=(
            Mount(str(folder / grants.POLICY_FILE), names.CONTAINER_POLICY, executable=False),
            Mount(str(folder / grants.USAGE_FILE), names.CONTAINER_USAGE, writable=True, executable=False),
        ),
    )


def dump(slot: str, edits: Edits) -> str:
    """Return the text of a slot's CDI spec."""
    return _dump(names.CDI_KIND, slot, edits)


def dump_common(edits: Edits) -> str:
    """Return the text of the common device's CDI spec."""
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
    """Return the folder of the container to which a slot's CDI spec belongs.

    Raises Malformed if unigpu didn't write the spec.
    """
    try:
        mounts = documents.decode(text)["devices"][0]["containerEdits"]["mounts"]
        host = next(mount["hostPath"] for mount in mounts if mount["containerPath"] == names.CONTAINER_POLICY)
        return PurePosixPath(documents.text(host)).parent
    except (*documents.INVALID, StopIteration) as error:
        raise errors.Malformed(f"CDI spec wasn't written by unigpu: {documents.brief(error)}") from error
