"""Whether this machine can carry a cluster; every finding is one sentence that says what to change."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
from collections.abc import Iterable

from cluster import cgroups, errors, linux, network, settings, simulated


@dataclasses.dataclass(frozen=True, slots=True)
class Package:
    """A Debian package that something here can't do without."""

    name: str
    probe: str
    """A file that it installs, or a program on the PATH."""
    reason: str


PACKAGES = (
    Package("runc", "runc", "containerd starts every container with it"),
    Package("containernetworking-plugins", "/usr/lib/cni/ptp", "they connect pods to their node"),
    Package("nftables", "nft", "kube-proxy writes the way to Services with it"),
    Package("iproute2", "ip", "it makes the bridge and the cables of the nodes"),
    Package("busybox-static", "/bin/busybox", "the busybox image is made of it"),
    Package("mmdebstrap", "mmdebstrap", "it makes the base of the project's images"),
    Package("buildah", "buildah", "it builds the project's images from the Dockerfile"),
    Package("ca-certificates", "/etc/ssl/certs/ca-certificates.crt", "package downloads are checked with them"),
)

GO_NEEDED = (1, 26)
DISK_NEEDED = 8 * 1024**3
"""Bytes: the compilers' caches, the programs, the images, and a cluster."""
CACHES_NEEDED = (2 * 1024**3, 2 * 1024**3)
"""Bytes of Go's caches of what is compiled and of modules, when they are empty."""


def missing_packages() -> list[Package]:
    """The Debian packages that are not installed."""
    return [package for package in PACKAGES if not is_there(package)]


def is_there(package: Package) -> bool:
    """Whether the package's file or program is found."""
    probe = package.probe
    if probe.startswith("/"):
        return pathlib.Path(probe).exists()
    return shutil.which(probe, path=_search_path()) is not None


def _search_path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def build_problems() -> list[str]:
    """What keeps the programs from being built."""
    problems = []
    go = shutil.which("go")
    if go is None:
        problems.append(f"Go is missing: install Go {GO_NEEDED[0]}.{GO_NEEDED[1]} or later and put it on the PATH.")
    else:
        version = subprocess.run([go, "version"], capture_output=True, text=True).stdout
        found = re.search(r"go(\d+)\.(\d+)", version)
        if found is None or (int(found[1]), int(found[2])) < GO_NEEDED:
            problems.append(
                f"Go {GO_NEEDED[0]}.{GO_NEEDED[1]} or later is needed, here is {version.strip() or 'an unknown one'}."
            )
        problems += _cache_problems(go)
    problems += compiler_problems()
    problems += disk_problems()
    return problems


def _cache_problems(go: str) -> list[str]:
    """Whether Go's caches have room, where they aren't on the disk of the build folder."""
    told = subprocess.run([go, "env", "GOCACHE", "GOMODCACHE"], capture_output=True, text=True).stdout
    problems = []
    for name, line, needed in zip(("GOCACHE", "GOMODCACHE"), told.splitlines(), CACHES_NEEDED, strict=False):
        folder = pathlib.Path(line)
        if not folder.is_absolute():
            continue
        there = next(place for place in (folder, *folder.parents) if place.exists())
        free = shutil.disk_usage(there).free
        if not os.access(there, os.W_OK):
            problems.append(f"Go can't write its cache {folder}: set {name} to a folder that this user may write.")
        elif free < needed and not (there == folder and any(folder.iterdir())):
            problems.append(
                f"The disk of Go's cache {folder} has {free / 1024**3:.1f} GiB free, and {needed / 1024**3:.0f} GiB are"
                f" needed: make room there, or set {name} to another folder."
            )
    return problems


def compiler_problems() -> list[str]:
    """Whether there is a C compiler with its library, tried on a program of one line."""
    compiler = os.environ.get("CC", "cc")
    if shutil.which(compiler) is None:
        return [f"No C compiler is found as {compiler!r}: install the Debian package gcc (and libc6-dev), or set CC."]
    tried = subprocess.run(
        [compiler, "-static", "-x", "c", "-", "-o", "/dev/null"],
        input='#include <stdio.h>\nint main(void) { return puts("") < 0; }\n',
        capture_output=True,
        text=True,
    )
    if tried.returncode == 0:
        return []
    why = next((line for line in tried.stderr.splitlines() if "error" in line.lower()), tried.stderr.strip()[:200])
    return [
        f"The C compiler {compiler!r} can't build a program ({why}): install the Debian package libc6-dev, or set CC."
    ]


def disk_problems(folder: pathlib.Path = settings.BUILD) -> list[str]:
    """Whether there is room to build, or, with the programs built, to run; makes nothing."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        return [f"Everything is written into {folder}, and that can't be: {there} is read-only for this user."]
    free = shutil.disk_usage(there).free
    built = (settings.BIN / "kubernetes").exists()
    needed = DISK_NEEDED // 4 if built else DISK_NEEDED
    if free >= needed:
        return []
    return [
        f"The disk of {folder} has {free / 1024**3:.1f} GiB free, and {needed / 1024**3:.0f} GiB are needed:"
        " make room there."
    ]


def run_problems(wanted: settings.Settings) -> list[str]:
    """What keeps a cluster from running."""
    if os.geteuid() != 0:
        return ["A cluster needs root, for namespaces, mounts and network devices: run the command as root (sudo)."]
    problems = []
    absent = missing_packages()
    if absent:
        names = " ".join(package.name for package in absent)
        why = "; ".join(f"{package.name}: {package.reason}" for package in absent)
        problems.append(f"Debian packages are missing ({why}): run `apt-get install {names}`.")
    unbuilt = [name for name in ("kubernetes", "containerd", "pause") if not (settings.BIN / name).exists()]
    if unbuilt:
        problems.append(f"Programs are not built ({', '.join(unbuilt)}): run `make cluster`.")
    if wanted.gpus and (sentence := simulated.missing()):
        problems.append(sentence)
    problems += disk_problems()
    problems += kernel_problems()
    if not absent:
        problems += network_problems(wanted)
    return problems


def kernel_problems() -> list[str]:
    """What the kernel, or the container that this runs in, does not permit."""
    problems = []
    try:
        places = cgroups.hierarchies()
    except errors.PreflightError as problem:
        return [str(problem)]
    for place, _ in places:
        if not os.access(place, os.W_OK) or os.statvfs(place).f_flag & os.ST_RDONLY:
            problems.append(f"Control groups are read-only here ({place}): a container must be started privileged.")
            break
    if "overlay" not in pathlib.Path("/proc/filesystems").read_text().split():
        problems.append("The kernel has no overlay file system: load it with `modprobe overlay`.")
    reason = _try_namespaces()
    if reason:
        problems.append(
            f"The kernel does not permit new namespaces and mounts ({reason}): a container must be privileged."
        )
    return problems


def _try_namespaces() -> str:
    """Makes and drops the namespaces of a node in a child process; returns the kernel's refusal, empty if none."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        reason = ""
        try:
            linux.unshare(
                linux.CLONE_NEWNS | linux.CLONE_NEWNET | linux.CLONE_NEWPID | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC
            )
            linux.mount("none", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
            linux.mount("tmpfs", "/run", "tmpfs")
        except OSError as refusal:
            reason = str(refusal)
        os.write(writer, reason.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        reason = stream.read()
    os.waitpid(child, 0)
    return reason


def network_problems(wanted: settings.Settings) -> list[str]:
    """What is in the way of the cluster's bridge, subnet and control groups."""
    layout = settings.Layout(wanted.name)
    if layout.state.exists():
        return []  # it is up: it has its network
    if network.exists(network.bridge_name(layout)) or cgroups.exists(layout):
        return [
            f"A cluster {wanted.name} of this checkout was not taken down before its folder was deleted:"
            f" run `make down NAME={wanted.name}`."
        ]
    try:
        network.choose_subnet(network.taken_subnets())
    except errors.PreflightError as problem:
        return [str(problem)]
    return []


def require(wanted: settings.Settings) -> None:
    """Raises PreflightError with everything that is wrong, one sentence a line."""
    raise_for(run_problems(wanted))


def raise_for(problems: Iterable[str]) -> None:
    """Raises PreflightError if there are any."""
    found = list(problems)
    if found:
        raise errors.PreflightError("\n".join(found))
