"""The driver's own parts: what of it a container gets with its GPUs, and where the agent finds NVML.

No ldconfig runs in the container: every name that a library is known by is mounted into the folders in which dynamic
linkers look without being told.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from deviceplugin.settings import Settings
from unigpu import cdi, errors, names
from unigpu.gpus import Gpu

CUDA = "libcuda.so.1"
NVML = "libnvidia-ml.so.1"

_FOLDERS = (
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "usr/lib64",
    "lib64",
    "usr/lib",
)
_LIBRARIES = re.compile(
    r"lib(cuda|cudadebugger|nvidia-(ml|cfg|ptxjitcompiler|nvvm|nvvm70|gpucomp|compiler|opencl|allocator|sandboxutils"
    r"|tileiras|pkcs11|pkcs11-openssl3))\.so(\.[0-9.]+)?"
)
_PROGRAMS = ("nvidia-smi", "nvidia-debugdump", "nvidia-cuda-mps-control")
_SHARED_NODES = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools")
_LINKS = 40


class Driver(Protocol):
    """Real or simulated."""

    def common(self) -> cdi.Edits:
        """What every container gets. Raises Unavailable where a part is missing."""

    def own(self, gpus: Sequence[Gpu]) -> cdi.Edits:
        """What a container with these GPUs gets besides. Raises Unavailable where a part is missing."""

    def nvml(self) -> Path:
        """NVML's library, as the agent sees it. Raises Unavailable."""

    def environment(self) -> Mapping[str, str]:
        """Variables that a process needs to use the driver."""


def of(settings: Settings) -> Driver:
    """The driver that the settings name."""
    if settings.simulator_dir is not None and settings.simulator_lib is not None:
        return Simulated(settings.simulator_dir, settings.simulator_lib)
    return Real(settings.host_root, settings.driver_root)


@dataclass(frozen=True, slots=True)
class Simulated:
    """`simulator/`'s driver: two libraries and a folder of state, at the same paths on the node and in containers.

    A process sees GPU i only where the folder has `gpu<i>`, so only the container's own are mounted.
    """

    state: Path
    libraries: Path

    def common(self) -> cdi.Edits:
        """The two libraries under their names, and the shared state."""
        mounts = [
            cdi.Mount(str(self.libraries / library), f"{folder}/{name}")
            for library in (CUDA, NVML)
            for name in (library, library.removesuffix(".1"))
            for folder in names.CONTAINER_DRIVER_FOLDERS
        ]
        state = str(self.state / "state")
        mounts.append(cdi.Mount(state, state, writable=True, executable=False))
        return cdi.Edits(mounts=_there(mounts), env=self.environment())

    def own(self, gpus: Sequence[Gpu]) -> cdi.Edits:
        """The GPUs' files."""
        files = [str(self.state / f"gpu{gpu.minor}") for gpu in gpus]
        return cdi.Edits(mounts=_there([cdi.Mount(file, file, executable=False) for file in files]))

    def nvml(self) -> Path:
        """The simulated NVML."""
        return self.libraries / NVML

    def environment(self) -> Mapping[str, str]:
        """Where the state is."""
        return {names.ENV_SIM_DIR: str(self.state)}


def _there(mounts: Sequence[cdi.Mount]) -> tuple[cdi.Mount, ...]:
    for mount in mounts:
        if not Path(mount.host).exists():
            raise errors.Unavailable(f"the simulated driver has no {mount.host}")
    return tuple(mounts)


@dataclass(frozen=True, slots=True)
class Real:
    """NVIDIA's driver, installed on the node or by a container under a root of its own."""

    host: Path
    """Where the agent sees the node's root."""
    root: PurePosixPath
    """The driver's root on the node."""

    def common(self) -> cdi.Edits:
        """Libraries under each of their names, programs, and the device nodes that all share."""
        folder = self._folder(CUDA)
        mounts = [
            cdi.Mount(str(self._on_node(folder / name)), f"{into}/{name}")
            for name in self._libraries(folder)
            for into in names.CONTAINER_DRIVER_FOLDERS
        ]
        for name in _PROGRAMS:
            program = self.root / "usr/bin" / name
            if self._seen(self._on_node(program)).exists():
                mounts.append(cdi.Mount(str(self._on_node(program)), f"/usr/bin/{name}"))
        nodes = (node for name in _SHARED_NODES if (node := self._find(name)) is not None)
        return cdi.Edits(mounts=tuple(mounts), nodes=tuple(nodes))

    def own(self, gpus: Sequence[Gpu]) -> cdi.Edits:
        """The GPUs' device nodes."""
        return cdi.Edits(nodes=tuple(self._node(f"nvidia{gpu.minor}") for gpu in gpus))

    def nvml(self) -> Path:
        """NVML as the driver's root has it."""
        return self._seen(self._on_node(self._folder(NVML) / NVML))

    def environment(self) -> Mapping[str, str]:
        """Nothing: the device nodes are all."""
        return {}

    def _folder(self, library: str) -> PurePosixPath:
        for name in _FOLDERS:
            folder = self.root / name
            if self._seen(self._on_node(folder / library)).is_file():
                return self._on_node(folder)
        raise errors.Unavailable(
            f"the NVIDIA driver's {library} isn't under {self.root} on the node: is the driver installed, and is "
            f"--driver-root its root?"
        )

    def _libraries(self, folder: PurePosixPath) -> list[str]:
        return sorted(entry.name for entry in self._seen(folder).iterdir() if _LIBRARIES.fullmatch(entry.name))

    def _node(self, name: str) -> cdi.DeviceNode:
        node = self._find(name)
        if node is None:
            raise errors.Unavailable(f"the node has no device node {name}")
        return node

    def _find(self, name: str) -> cdi.DeviceNode | None:
        for path in dict.fromkeys((PurePosixPath("/dev") / name, self.root / "dev" / name)):
            if self._seen(path).exists():
                return cdi.DeviceNode(container=f"/dev/{name}", host=str(path))
        return None

    def _seen(self, path: PurePosixPath) -> Path:
        return self.host / path.relative_to("/")

    def _on_node(self, path: PurePosixPath) -> PurePosixPath:
        """The path without links, as the node resolves it: a link's target is read from the driver's root, not from the
        agent's own."""
        parts = [*path.relative_to(self.root).parts]
        done = self.root
        for _ in range(_LINKS + len(parts) * _LINKS):
            if not parts:
                return done
            part = parts.pop(0)
            if part == "..":
                done = done.parent if done != self.root else done
                continue
            target = self._link(done / part)
            if target is None:
                done = done / part
            else:
                done = self.root if target.is_absolute() else done
                parts = [*(piece for piece in target.parts if piece not in ("/", ".")), *parts]
        raise errors.Unavailable(f"{path} on the node is a link that leads in a circle")

    def _link(self, path: PurePosixPath) -> PurePosixPath | None:
        try:
            return PurePosixPath(self._seen(path).readlink())
        except OSError:
            return None
