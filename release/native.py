"""Build libvgpu, the simulated driver and the probe for one processor, from the exported source."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import platform
import re
import shutil

from release.errors import ReleaseError
from release.run import require, run
from release.source import Source

MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Architecture as images spell it → as compilers and wheels spell it."""

TARGETS = ("build/lib/libvgpu.so", "build/probe/probe", "simulator")
SIMULATOR = ("libcuda.so.1", "libnvidia-ml.so.1", "libunigpu-sim.so")


@dataclasses.dataclass(frozen=True, slots=True)
class Built:
    """Programs in C of one processor."""

    libvgpu: pathlib.Path
    probe: pathlib.Path
    simulator: pathlib.Path
    """Folder of the simulated driver's libraries."""
    glibc: tuple[int, int]
    """Oldest glibc on which all of them load."""


def build(source: Source, architecture: str, into: pathlib.Path) -> Built:
    """Compile for `amd64` or `arm64`, without debug information. Raises ReleaseError."""
    tools = _tool_prefix(architecture)
    require("make", f"{tools}gcc", f"{tools}readelf")
    tree = into / f"source-{architecture}"
    shutil.copytree(source.folder, tree, symlinks=True)
    flags = f"-ffile-prefix-map={tree}=. -Wl,--build-id=sha1"
    machine = [] if architecture == "amd64" else ["VGPU_MACHINE="]
    command = ["make", "--silent", f"--jobs={os.cpu_count() or 1}", f"CC={tools}gcc {flags}", *machine, *TARGETS]
    run(command, tree)
    built = Built(tree / TARGETS[0], tree / TARGETS[1], into / f"simulator-{architecture}", (0, 0))
    built.simulator.mkdir()
    for name in SIMULATOR:
        shutil.copy2(tree / "build" / "simulator" / name, built.simulator / name)
    files = [built.libvgpu, built.probe, *(built.simulator / name for name in SIMULATOR)]
    for file in files:
        run([f"{tools}strip", "--strip-unneeded", str(file)], tree)
    oldest = max(_glibc(run([f"{tools}readelf", "--version-info", "--wide", str(file)], tree)) for file in files)
    return dataclasses.replace(built, glibc=oldest)


def _tool_prefix(architecture: str) -> str:
    machine = MACHINES.get(architecture)
    if machine is None:
        raise ReleaseError(f"architecture = {architecture}: not known; accepted: {', '.join(MACHINES)}")
    return "" if machine == platform.machine() else f"{machine}-linux-gnu-"


def _glibc(listing: str) -> tuple[int, int]:
    """Return the newest version of glibc that a listing of `readelf --version-info` needs."""
    needs = listing.partition("Version needs section")[2]
    found = [(int(major), int(minor)) for major, minor in re.findall(r"GLIBC_(\d+)\.(\d+)", needs)]
    return max(found, default=(2, 17))
