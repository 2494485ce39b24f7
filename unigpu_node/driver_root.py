"""The NVIDIA driver under a node's root that is mounted elsewhere: where its libraries are.

Links are followed as the node follows them. A link's target is read from the driver's root and not from the reader's
own, so that no link leads out of it. Source of the folders: where the driver's installer, Debian's and Red Hat's
packages and NVIDIA's driver container put libraries.
"""

import contextlib
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from unigpu import errors, linker_cache

CUDA = "libcuda.so.1"
NVML = "libnvidia-ml.so.1"
FOLDERS = (
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "usr/lib64",
    "lib64",
    "usr/lib",
)
_LINKS = 40
"""As many as Linux follows in one path."""


@dataclass(frozen=True, slots=True)
class DriverRoot:
    """One node's driver."""

    host: Path
    """Where the node's root is mounted; `/` on the node itself."""
    root: PurePosixPath
    """The driver's root as the node sees it: `/`, or for instance `/run/nvidia/driver`."""

    def seen(self, path: PurePosixPath) -> Path:
        """Return where this process sees a path of the node."""
        return self.host / path.relative_to("/")

    def resolve(self, path: PurePosixPath) -> PurePosixPath:
        """Return a path below the root without links, as the node sees it; it needn't exist.

        Raises Unavailable for links that lead in a circle.
        """
        parts = [*path.relative_to(self.root).parts]
        done = self.root
        links = 0
        while parts:
            part = parts.pop(0)
            if part == "..":
                done = done.parent if done != self.root else done
                continue
            target = self._link(done / part)
            if target is None:
                done = done / part
                continue
            links += 1
            if links > _LINKS:
                raise errors.Unavailable(f"{path} on the node is a link that leads in a circle")
            done = self.root if target.is_absolute() else done
            parts = [*(piece for piece in target.parts if piece not in ("/", ".")), *parts]
        return done

    def folder_of(self, library: str) -> PurePosixPath:
        """Return the folder, as the node sees it and without links, that has the library.

        The root's own dynamic linker knows best; where its cache doesn't have the library, it is in a usual folder.
        Raises Unavailable where there is none.
        """
        for path in self._cached(library):
            with contextlib.suppress(errors.Unavailable):
                if self.seen(self.resolve(path)).is_file():
                    return self.resolve(path.parent)
        for name in FOLDERS:
            folder = self.root / name
            with contextlib.suppress(errors.Unavailable):
                if self.seen(self.resolve(folder / library)).is_file():
                    return self.resolve(folder)
        raise errors.Unavailable(
            f"the NVIDIA driver's {library} isn't under {self.root} on the node: is the driver installed, and is "
            f"--driver-root its root?"
        )

    def library(self, name: str) -> Path:
        """Return the file of a library, as this process sees it. Raises Unavailable."""
        return self.seen(self.resolve(self.folder_of(name) / name))

    def _cached(self, library: str) -> Iterator[PurePosixPath]:
        """Paths of the library below the root, by the root's /etc/ld.so.cache; none where that can't be read."""
        with contextlib.suppress(errors.Malformed, errors.Unavailable, OSError):
            cache = self.seen(self.resolve(self.root / "etc/ld.so.cache")).read_bytes()
            for path in linker_cache.paths(cache, library, platform.machine()):
                parts = PurePosixPath(path).parts
                if parts[:1] == ("/",):
                    yield self.root.joinpath(*parts[1:])

    def _link(self, path: PurePosixPath) -> PurePosixPath | None:
        try:
            return PurePosixPath(self.seen(path).readlink())
        except OSError:
            return None


def nvml(host_root: Path, driver_root: PurePosixPath, simulator_lib: Path | None) -> Path:
    """Return the file of NVML, as this process sees it: the simulator's where there is one. Raises Unavailable."""
    if simulator_lib is not None:
        return simulator_lib / NVML
    return DriverRoot(host_root, driver_root).library(NVML)
