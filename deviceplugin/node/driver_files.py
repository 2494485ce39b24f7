"""The real driver's files on the node, part by part, and where each is mounted in a container.

No ldconfig runs in the container: every name of a library is mounted into the folders that dynamic linkers search by
default. What is known by name is looked for next to libcuda and in the usual folders; NVIDIA's own list, where the node
has one, adds what only it knows.
"""

import platform
from collections.abc import Collection, Iterator, Sequence
from pathlib import PurePosixPath

from deviceplugin.node.nvidia_spec import NodeSpec, NvidiaSpecs
from deviceplugin.store import files
from unigpu import cdi, driver_parts, names
from unigpu.driver_parts import Part
from unigpu.gpus import Gpu
from unigpu_node.driver_root import CUDA, DriverRoot

CONTAINER_FOLDERS: Sequence[str] = names.CONTAINER_DRIVER_FOLDERS[platform.machine()]
"""Of this machine."""
_BELOW = ("gbm", "vdpau")
"""Folders below that of the libraries from which loaders of their own take modules."""
_MODULES = frozenset({*_BELOW, "xorg", "drivers", "extensions"})
"""Folders of such modules, which no linker searches."""
_FOLDERS_32 = ("usr/lib/i386-linux-gnu", "usr/lib32")
_DATA = ("usr/share", "etc")
_DRI = PurePosixPath("/dev/dri")
_NODE_LINKS = PurePosixPath("/dev/dri/by-path")


class DriverFiles:
    """Finds them."""

    def __init__(self, root: DriverRoot, specs: NvidiaSpecs) -> None:
        self._root = root
        self._specs = specs

    def mounts(self, parts: Collection[Part]) -> tuple[cdi.Mount, ...]:
        """Return the mounts of these parts. Raises Unavailable where the driver can't be found or read."""
        if not parts:
            return ()
        found: dict[str, cdi.Mount] = {}
        for mount in (
            *self._libraries(parts),
            *self._libraries32(parts),
            *self._programs(parts),
            *self._data(parts),
        ):
            found.setdefault(mount.container, mount)
        for mount in self._listed(self._specs.now(), parts, found.keys()):
            found.setdefault(mount.container, mount)
        return tuple(found.values())

    def display_nodes(self, gpu: Gpu) -> list[PurePosixPath]:
        """Return the device nodes by which programs draw with the GPU; none where the node has none."""
        listed = [path for path in self._specs.now().of_gpu.get(f"nvidia{gpu.minor}", ()) if path.parent == _DRI]
        if not listed:
            # NVML prints a domain of eight digits, and the kernel has four.
            address = gpu.bus.lower()[-12:]
            node_root = DriverRoot(self._root.host, PurePosixPath("/"))
            links = self._root.seen(_NODE_LINKS)
            names_ = sorted(link.name for link in links.iterdir()) if address and links.is_dir() else []
            listed = [node_root.resolve(_NODE_LINKS / name) for name in names_ if name.startswith(f"pci-{address}-")]
        return [path for path in listed if self._root.seen(path).exists()]

    def _libraries(self, parts: Collection[Part]) -> Iterator[cdi.Mount]:
        folder = self._root.folder_of(CUDA)
        for name in self._names(folder):
            if driver_parts.of_library(name) in parts:
                yield from _everywhere(str(self._root.resolve(folder / name)), name)
        for below in _BELOW:
            if self._root.seen(folder / below).is_dir():
                for name in self._names(folder / below):
                    if driver_parts.of_library(name) in parts:
                        yield from _everywhere(str(self._root.resolve(folder / below / name)), f"{below}/{name}")

    def _names(self, folder: PurePosixPath) -> list[str]:
        with files.reporting("read", self._root.seen(folder)):
            return sorted(entry.name for entry in self._root.seen(folder).iterdir())

    def _programs(self, parts: Collection[Part]) -> Iterator[cdi.Mount]:
        if Part.BASIC in parts:
            for name in driver_parts.PROGRAMS:
                program = self._root.resolve(self._root.root / "usr/bin" / name)
                if self._root.seen(program).exists():
                    yield cdi.Mount(str(program), f"/usr/bin/{name}")

    def _data(self, parts: Collection[Part]) -> Iterator[cdi.Mount]:
        for name, part in driver_parts.FILES.items():
            for folder in _DATA:
                file = self._root.resolve(self._root.root / folder / name)
                if part in parts and self._root.seen(file).is_file():
                    yield cdi.Mount(str(file), f"/{folder}/{name}", executable=False)

    def _libraries32(self, parts: Collection[Part]) -> Iterator[cdi.Mount]:
        for folder in _FOLDERS_32 if Part.COMPAT32 in parts else ():
            if self._root.seen(self._root.root / folder).is_dir():
                for name in self._names(self._root.root / folder):
                    if driver_parts.of_library(name) is not None:
                        yield cdi.Mount(str(self._root.resolve(self._root.root / folder / name)), f"/{folder}/{name}")

    def _listed(self, spec: NodeSpec, parts: Collection[Part], known: Collection[str]) -> Iterator[cdi.Mount]:
        for host, container in spec.mounts:
            part = driver_parts.of_file(container)
            if part not in parts or not self._root.seen(host).exists():
                continue
            if f"{CONTAINER_FOLDERS[0]}/{container.name}" in known:
                continue  # found next to libcuda, with all of its names
            linked = container.name.startswith("lib") and ".so" in container.name and part is not Part.COMPAT32
            if linked and container.parent.name not in _MODULES:
                for name in self._names_of(host):
                    yield from _everywhere(str(host), name)
            else:
                yield cdi.Mount(str(host), str(container))

    def _names_of(self, library: PurePosixPath) -> list[str]:
        """The library's names in its own folder: its own, and those of links to it."""
        inside = library.is_relative_to(self._root.root)
        root = self._root if inside else DriverRoot(self._root.host, PurePosixPath("/"))
        stem, file = library.name.partition(".so")[0], root.resolve(library)
        names_ = [name for name in self._names(library.parent) if name.partition(".so")[0] == stem]
        return [name for name in names_ if root.resolve(library.parent / name) == file]


def _everywhere(host: str, name: str) -> Iterator[cdi.Mount]:
    for folder in CONTAINER_FOLDERS:
        yield cdi.Mount(host, f"{folder}/{name}")
