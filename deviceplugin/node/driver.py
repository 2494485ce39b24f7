"""The driver's own parts: which of them a container gets with its GPUs, and where the agent finds NVML.

No ldconfig runs in the container: every name of a library is mounted into the folders that dynamic linkers search by
default. Which libraries, programs and device nodes a container needs for compute follows NVIDIA's container toolkit:
https://github.com/NVIDIA/libnvidia-container/blob/main/src/nvc_info.c
https://github.com/NVIDIA/nvidia-container-toolkit/tree/main/pkg/nvcdi
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from deviceplugin.settings import Settings
from deviceplugin.store import files
from unigpu import cdi, errors, names
from unigpu.gpus import Gpu
from unigpu_node.driver_root import CUDA, NVML, DriverRoot

_LIBRARIES = re.compile(
    r"lib(cuda|cudadebugger|nvidia-(ml|cfg|ptxjitcompiler|nvvm|nvvm70|gpucomp|compiler|opencl|allocator|sandboxutils"
    r"|tileiras|pkcs11|pkcs11-openssl3))\.so(\.[0-9.]+)?"
)
_PROGRAMS = ("nvidia-smi", "nvidia-debugdump", "nvidia-cuda-mps-control")
_MODULE = Path("/sys/module/nvidia")
_SHARED_NODES = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools")


class Driver(Protocol):
    """Real or simulated."""

    def common(self) -> cdi.Edits:
        """Return what every container gets. Raises Unavailable where a part is missing."""

    def own(self, gpus: Sequence[Gpu]) -> cdi.Edits:
        """Return what a container with these GPUs gets besides. Raises Unavailable where a part is missing."""

    def nvml(self) -> Path:
        """Return the path of NVML's library in the agent's container. Raises Unavailable."""

    def environment(self) -> Mapping[str, str]:
        """Return the variables that a process needs to use the driver."""

    def instance(self) -> str:
        """Return what differs each time the driver is loaded; empty where it isn't loaded."""


def of(settings: Settings) -> Driver:
    """Return the driver that the settings name."""
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

    def instance(self) -> str:
        """The state file's inode: a state that is created again is another driver."""
        return _inode(self.state / "state")


def _inode(path: Path) -> str:
    try:
        return str(path.stat().st_ino)
    except OSError:
        return ""


def _there(mounts: Sequence[cdi.Mount]) -> tuple[cdi.Mount, ...]:
    for mount in mounts:
        if not Path(mount.host).exists():
            raise errors.Unavailable(f"the simulated driver has no {mount.host}")
    return tuple(mounts)


class Real:
    """NVIDIA's driver, installed on the node or by a container under a root of its own."""

    def __init__(self, host: Path, root: PurePosixPath) -> None:
        """`host`: where the agent sees the node's root. `root`: the driver's root on the node."""
        self._root = DriverRoot(host, root)

    def common(self) -> cdi.Edits:
        """Libraries under each of their names, programs, and the device nodes that all share."""
        folder = self._root.folder_of(CUDA)
        mounts = [
            cdi.Mount(str(self._root.resolve(folder / name)), f"{into}/{name}")
            for name in self._libraries(folder)
            for into in names.CONTAINER_DRIVER_FOLDERS
        ]
        for name in _PROGRAMS:
            program = self._root.resolve(self._root.root / "usr/bin" / name)
            if self._root.seen(program).exists():
                mounts.append(cdi.Mount(str(program), f"/usr/bin/{name}"))
        nodes = (node for name in _SHARED_NODES if (node := self._find(name)) is not None)
        return cdi.Edits(mounts=tuple(mounts), nodes=tuple(nodes))

    def own(self, gpus: Sequence[Gpu]) -> cdi.Edits:
        """The GPUs' device nodes."""
        return cdi.Edits(nodes=tuple(self._node(f"nvidia{gpu.minor}") for gpu in gpus))

    def nvml(self) -> Path:
        """NVML in the driver's root."""
        return self._root.library(NVML)

    def environment(self) -> Mapping[str, str]:
        """Nothing: the device nodes are enough."""
        return {}

    def instance(self) -> str:
        """The inode of the module's folder in sysfs, which the kernel numbers afresh at each load."""
        return _inode(_MODULE)

    def _libraries(self, folder: PurePosixPath) -> list[str]:
        with files.reporting("read", self._root.seen(folder)):
            return sorted(entry.name for entry in self._root.seen(folder).iterdir() if _LIBRARIES.fullmatch(entry.name))

    def _node(self, name: str) -> cdi.DeviceNode:
        node = self._find(name)
        if node is None:
            raise errors.Unavailable(f"the node has no device node {name}")
        return node

    def _find(self, name: str) -> cdi.DeviceNode | None:
        for path in dict.fromkeys((PurePosixPath("/dev") / name, self._root.root / "dev" / name)):
            if self._root.seen(path).exists():
                return cdi.DeviceNode(container=f"/dev/{name}", host=str(path))
        return None
