"""NVIDIA's own list of the driver's files and device nodes, where the node has one: its toolkit's CDI spec.

    nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml

It knows folders and files that nobody else does, such as those of a driver that was installed in an unusual way. Hooks
in it aren't carried out, and its devices aren't given away. Format: the Container Device Interface specification,
https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md
"""

import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from unigpu import documents, errors, logs
from unigpu_node.driver_root import DriverRoot

logger = logging.getLogger(__name__)

FOLDERS = (PurePosixPath("/etc/cdi"), PurePosixPath("/var/run/cdi"))
_KINDS = frozenset({"nvidia.com/gpu", "k8s.device-plugin.nvidia.com/gpu"})
_MOST = 4 << 20
"""Bytes; a spec of eight GPUs has 30,000."""
_LOADER = yaml.SafeLoader
"""The one in C ends the process where nesting is too deep."""


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """What NVIDIA's runtime would give a container."""

    mounts: Sequence[tuple[PurePosixPath, PurePosixPath]] = ()
    """Path on the node, and in containers."""
    nodes: Sequence[PurePosixPath] = ()
    """Device nodes of every container, by their path on the node."""
    of_gpu: Mapping[str, Sequence[PurePosixPath]] = field(default_factory=dict)
    """By the name of a GPU's own device node, `nvidia0`: all device nodes of that GPU."""


NONE = NodeSpec()


def load(text: str) -> NodeSpec | None:
    """Return what a CDI spec says of NVIDIA's GPUs; None where it is about something else. Raises Malformed."""
    try:
        document = documents.decode(text) if text.startswith("{") else yaml.load(text, Loader=_LOADER)
        if document["kind"] not in _KINDS:
            return None
        common = document.get("containerEdits") or {}
        of_gpu: dict[str, tuple[PurePosixPath, ...]] = {}
        for device in document["devices"]:
            nodes = _nodes(device["containerEdits"])
            own = [node.name for node in nodes if node.name.startswith("nvidia") and node.name[6:].isdecimal()]
            if len(own) == 1:
                of_gpu.setdefault(own[0], nodes)
        mounts = tuple((_path(item["hostPath"]), _path(item["containerPath"])) for item in common.get("mounts") or ())
        return NodeSpec(mounts, _nodes(common), of_gpu)
    except (*documents.INVALID, yaml.YAMLError) as error:
        raise errors.Malformed(f"it isn't a CDI spec: {documents.brief(error)}") from error


def _nodes(edits: Mapping[str, Any]) -> tuple[PurePosixPath, ...]:
    return tuple(_path(item.get("hostPath") or item["path"]) for item in edits.get("deviceNodes") or ())


def _path(value: object) -> PurePosixPath:
    path = PurePosixPath(documents.text(value))
    if not path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{documents.shorten(value)} is not an absolute path")
    return path


class NvidiaSpecs:
    """The node's spec, read again where the file has changed."""

    def __init__(self, host: Path) -> None:
        """`host`: where the node's root is mounted."""
        self._root = DriverRoot(host, PurePosixPath("/"))
        self._stamp: object = None
        self._spec = NONE

    def now(self) -> NodeSpec:
        """Return the first spec of NVIDIA's GPUs; NONE where the node has none. One that can't be read is logged."""
        files = self._files()
        stamp = [(file, status) for file, status in files]
        if stamp != self._stamp:
            self._stamp = stamp
            self._spec = next(filter(None, (self._read(file) for file, _ in files)), NONE)
        return self._spec

    def _files(self) -> list[tuple[Path, tuple[int, int]]]:
        found = []
        for folder in FOLDERS:
            with contextlib.suppress(OSError, errors.Unavailable):
                seen = self._root.seen(self._root.resolve(folder))
                for file in sorted(seen.iterdir()):
                    if "nvidia" in file.name and file.suffix in (".yaml", ".json"):
                        status = file.stat()
                        if status.st_size <= _MOST:
                            found.append((file, (status.st_ino, status.st_mtime_ns)))
        return found

    def _read(self, file: Path) -> NodeSpec | None:
        try:
            return load(file.read_text(errors="replace"))
        except (OSError, errors.Malformed) as error:
            logs.event(logger, "NVIDIA's CDI spec can't be read", logging.WARNING, file=file, reason=error)
            return None
