"""The driver, real or simulated: what a container gets of it with its GPUs, and where the agent finds NVML."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from deviceplugin.node import driver_files
from deviceplugin.node.driver_files import DriverFiles
from deviceplugin.node.nvidia_spec import NvidiaSpecs
from deviceplugin.settings import Settings
from unigpu import cdi, driver_parts, errors, names
from unigpu.driver_parts import Capability, Part, Wanted
from unigpu.gpus import Gpu
from unigpu_node.driver_root import CUDA, NVML, DriverRoot

_MODULE = Path("/sys/module/nvidia")
_PCI = Path("/sys/bus/pci/devices")
_NVIDIA = "0x10de"
_DISPLAY = "0x03"
"""Beginning of the class of GPUs, with outputs and without."""
_NEEDED = {
    "nvidiactl": "accepted: a driver that is loaded (nvidia-modprobe)",
    "nvidia-uvm": "accepted: its module loaded, and the node made (nvidia-modprobe -u)",
}
_SHARED_NODES = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools")


class Driver(Protocol):
    """Real or simulated."""

    def common(self) -> cdi.Edits:
        """Return what every container gets. Raises Unavailable where a part is missing."""

    def own(self, gpus: Sequence[Gpu], wanted: Wanted) -> cdi.Edits:
        """Return what a container with these GPUs gets besides. Raises Unavailable where a part is missing."""

    def nvml(self) -> Path:
        """Return the path of NVML's library in the agent's container. Raises Unavailable."""

    def environment(self) -> Mapping[str, str]:
        """Return the variables that a process needs to use the driver."""

    def problem(self) -> str:
        """Return why no container could use the driver; empty where it could. It is called often."""

    def instance(self) -> str:
        """Return what differs each time the driver is loaded; empty where it isn't loaded."""

    def needless(self) -> bool:
        """Return whether the node has neither the driver nor a GPU that would need one."""


def of(settings: Settings) -> Driver:
    """Return the driver that the settings name."""
    if settings.simulator_dir is not None and settings.simulator_lib is not None:
        return Simulated(settings.simulator_dir, settings.simulator_lib)
    default = driver_parts.capabilities(settings.driver_capabilities)
    return Real(settings.host_root, settings.driver_root, default)


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
            for folder in driver_files.CONTAINER_FOLDERS
        ]
        state = str(self.state / "state")
        mounts.append(cdi.Mount(state, state, writable=True, executable=False))
        return cdi.Edits(mounts=_there(mounts), env=self.environment())

    def own(self, gpus: Sequence[Gpu], wanted: Wanted) -> cdi.Edits:
        """The GPUs' files, whatever is wanted: there are no other parts."""
        files = [str(self.state / f"gpu{gpu.minor}") for gpu in gpus]
        return cdi.Edits(mounts=_there([cdi.Mount(file, file, executable=False) for file in files]))

    def nvml(self) -> Path:
        """The simulated NVML."""
        return self.libraries / NVML

    def environment(self) -> Mapping[str, str]:
        """Where the state is."""
        return {names.ENV_SIM_DIR: str(self.state)}

    def problem(self) -> str:
        """A file that is missing."""
        try:
            self.common()
        except errors.Unavailable as error:
            return str(error)
        return ""

    def instance(self) -> str:
        """The state file's inode: a state that is created again is another driver."""
        return _inode(self.state / "state")

    def needless(self) -> bool:
        """Never: somebody asked for simulated GPUs on this node."""
        return False


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


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

    def __init__(
        self,
        host: Path,
        root: PurePosixPath,
        default: frozenset[Capability] = driver_parts.BASIC,
        pci: Path = _PCI,
    ) -> None:
        """`host`: where the agent sees the node's root. `root`: the driver's root on the node. `default`: capabilities
        of a container whose author names none. `pci`: where the kernel lists the node's devices."""
        self._pci = pci
        self._root = DriverRoot(host, root)
        self._files = DriverFiles(self._root, NvidiaSpecs(host))
        self._default = default

    def common(self) -> cdi.Edits:
        """Libraries under each of their names, programs, and the device nodes that all share."""
        nodes = (node for name in _SHARED_NODES if (node := self._find(name)) is not None)
        return cdi.Edits(mounts=self._files.mounts(self._common_parts), nodes=tuple(nodes))

    def own(self, gpus: Sequence[Gpu], wanted: Wanted) -> cdi.Edits:
        """The GPUs' device nodes, and the parts that not every container gets."""
        parts = driver_parts.parts(wanted, self._default)
        nodes = [self._node(f"nvidia{gpu.minor}") for gpu in gpus]
        if Part.GRAPHICS in parts:
            modeset = self._find("nvidia-modeset")
            nodes += [modeset] if modeset is not None else []
            nodes += [_plain(path) for gpu in gpus for path in self._files.display_nodes(gpu)]
        return cdi.Edits(mounts=self._files.mounts(parts - self._common_parts), nodes=tuple(nodes))

    def nvml(self) -> Path:
        """NVML in the driver's root."""
        return self._root.library(NVML)

    def environment(self) -> Mapping[str, str]:
        """Nothing: the device nodes are enough."""
        return {}

    def problem(self) -> str:
        """A device node without which no CUDA program starts."""
        for name, help in _NEEDED.items():
            if self._find(name) is None:
                return f"the node has no device node {name}, without which no CUDA program starts; {help}"
        return ""

    def instance(self) -> str:
        """The inode of the module's folder in sysfs, which the kernel numbers afresh at each load."""
        return _inode(_MODULE)

    def needless(self) -> bool:
        """No library of the driver, and no GPU of NVIDIA's on the bus. A GPU without PCI comes with its driver."""
        with contextlib.suppress(errors.Unavailable, OSError):
            self.nvml()
            return False
        return not any(
            _read(device / "vendor") == _NVIDIA and _read(device / "class").startswith(_DISPLAY)
            for device in self._pci.glob("*")
        )

    @property
    def _common_parts(self) -> frozenset[Part]:
        return driver_parts.parts(Wanted(), self._default)

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


def _plain(path: PurePosixPath) -> cdi.DeviceNode:
    return cdi.DeviceNode(container=str(path), host=str(path))
