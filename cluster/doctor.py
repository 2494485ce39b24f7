"""Check whether this machine can run a cluster. Each problem is one sentence that says what to change."""

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
    """A Debian package that the cluster or its tests require."""

    name: str
    probe: str
    """File that it installs, or name of a program on the PATH."""
    reason: str


PACKAGES = (
    Package("runc", "runc", "containerd starts every container with it"),
    Package("containernetworking-plugins", "/usr/lib/cni/ptp", "connects pods to their node"),
    Package("nftables", "nft", "kube-proxy routes Services with it"),
    Package("iproute2", "ip", "creates the nodes' network: a bridge and veth pairs"),
    Package("busybox-static", "/bin/busybox", "the busybox image consists of it"),
    Package("mmdebstrap", "mmdebstrap", "builds the base of the project's images"),
    Package("buildah", "buildah", "builds the project's images from the Dockerfile"),
    Package("ca-certificates", "/etc/ssl/certs/ca-certificates.crt", "verifies package downloads"),
)

GO_NEEDED = (1, 26)
DISK_NEEDED = 8 * 1024**3
"""Bytes for the compilers' caches, the programs, the images, and a cluster."""
CACHES_NEEDED = (2 * 1024**3, 2 * 1024**3)
"""Bytes that Go's build cache and module cache take when they start empty."""


def missing_packages() -> list[Package]:
    """Return the required Debian packages that are not installed."""
    return [package for package in PACKAGES if not is_there(package)]


def is_there(package: Package) -> bool:
    """Return whether the package's file or program is found."""
    probe = package.probe
    if probe.startswith("/"):
        return pathlib.Path(probe).exists()
    return shutil.which(probe, path=_search_path()) is not None


def _search_path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def build_problems() -> list[str]:
    """Return the problems that prevent building the programs."""
    problems = []
    go = shutil.which("go")
    if go is None:
        problems.append(
            f"Go is not installed: install Go {GO_NEEDED[0]}.{GO_NEEDED[1]} or later, and put it on the PATH."
        )
    else:
        version = subprocess.run([go, "version"], capture_output=True, text=True).stdout
        found = re.search(r"go(\d+)\.(\d+)", version)
        if found is None or (int(found[1]), int(found[2])) < GO_NEEDED:
            problems.append(
                f"Go is too old ({version.strip() or 'unknown version'}): install Go {GO_NEEDED[0]}.{GO_NEEDED[1]} or"
                " later."
            )
        problems += _cache_problems(go)
    problems += compiler_problems()
    problems += disk_problems()
    return problems


def _cache_problems(go: str) -> list[str]:
    """Check the free space for Go's caches, which may be on another disk than the build folder."""
    answer = subprocess.run([go, "env", "GOCACHE", "GOMODCACHE"], capture_output=True, text=True).stdout
    problems = []
    for name, line, needed in zip(("GOCACHE", "GOMODCACHE"), answer.splitlines(), CACHES_NEEDED, strict=False):
        folder = pathlib.Path(line)
        if not folder.is_absolute():
            continue
        there = next(place for place in (folder, *folder.parents) if place.exists())
        free = shutil.disk_usage(there).free
        if not os.access(there, os.W_OK):
            problems.append(
                f"Go can't write to its cache {folder}: set {name} to a folder that this user may write to."
            )
        elif free < needed and not (there == folder and any(folder.iterdir())):
            problems.append(
                f"The disk with Go's cache {folder} has only {free / 1024**3:.1f} GiB free: free up"
                f" {needed / 1024**3:.0f} GiB, or set {name} to a folder on another disk."
            )
    return problems


def compiler_problems() -> list[str]:
    """Check that the C compiler works, by compiling a one-line program."""
    compiler = os.environ.get("CC", "cc")
    if shutil.which(compiler) is None:
        return [
            f"The C compiler {compiler!r} is not installed: install the Debian packages gcc and libc6-dev, or set CC."
        ]
    tried = subprocess.run(
        [compiler, "-static", "-x", "c", "-", "-o", "/dev/null"],
        input='#include <stdio.h>\nint main(void) { return puts("") < 0; }\n',
        capture_output=True,
        text=True,
    )
    if tried.returncode == 0:
        return []
    why = next((line for line in tried.stderr.splitlines() if "error" in line.lower()), tried.stderr.strip()[:200])
    return [f"The C compiler {compiler!r} doesn't work ({why}): install the Debian package libc6-dev, or set CC."]


def disk_problems(folder: pathlib.Path = settings.BUILD) -> list[str]:
    """Check the free space to build, or to run once everything is built. Creates nothing."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        return [
            f"All output goes to {folder}, but {there} is read-only for this user: change its owner or permissions."
        ]
    free = shutil.disk_usage(there).free
    built = (settings.BIN / "kubernetes").exists()
    needed = DISK_NEEDED // 4 if built else DISK_NEEDED
    if free >= needed:
        return []
    return [f"The disk with {folder} has only {free / 1024**3:.1f} GiB free: free up {needed / 1024**3:.0f} GiB."]


def run_problems(wanted: settings.Settings) -> list[str]:
    """Return the problems that prevent running a cluster."""
    if os.geteuid() != 0:
        return [
            "A cluster needs root to create namespaces, mounts and network devices: run the command as root (sudo)."
        ]
    problems = []
    absent = missing_packages()
    if absent:
        names = " ".join(package.name for package in absent)
        why = "; ".join(f"{package.name}: {package.reason}" for package in absent)
        problems.append(f"Debian packages are not installed ({why}): run `apt-get install {names}`.")
    unbuilt = [name for name in ("kubernetes", "containerd", "pause") if not (settings.BIN / name).exists()]
    if unbuilt:
        problems.append(f"These programs are not built yet: {', '.join(unbuilt)}. Run `make cluster`.")
    older = wanted.kubernetes
    if older and not (settings.kubernetes_programs(older) / "kubernetes").exists():
        problems.append(f"Kubernetes {older} is not built yet: run `make cluster KUBERNETES={older}`.")
    if wanted.gpus and (sentence := simulated.missing()):
        problems.append(sentence)
    problems += disk_problems()
    problems += kernel_problems()
    if not absent:
        problems += network_problems(wanted)
    return problems


def kernel_problems() -> list[str]:
    """Return what the kernel, or the container that this process runs in, doesn't permit."""
    problems = []
    try:
        places = cgroups.hierarchies()
    except errors.PreflightError as problem:
        return [str(problem)]
    for place, _ in places:
        if not os.access(place, os.W_OK) or os.statvfs(place).f_flag & os.ST_RDONLY:
            problems.append(f"Control groups are read-only ({place}): if this is a container, start it privileged.")
            break
    if "overlay" not in pathlib.Path("/proc/filesystems").read_text().split():
        problems.append("The kernel's overlay file system is not loaded: run `modprobe overlay`.")
    reason = _try_namespaces()
    if reason:
        problems.append(
            f"The kernel refuses new namespaces and mounts ({reason}): if this is a container, start it privileged."
        )
    return problems


def _try_namespaces() -> str:
    """Create a node's namespaces in a child process, and drop them; return the kernel's refusal, or an empty string."""
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
    """Return conflicts with the cluster's bridge, subnet and control groups."""
    layout = settings.Layout(wanted.name)
    if layout.state.exists():
        return []  # it is running, with a network of its own
    if network.exists(network.bridge_name(layout)) or cgroups.exists(layout):
        return [
            f"The folder of the cluster {wanted.name} was deleted while the cluster was running:"
            f" run `make down NAME={wanted.name}` to stop it."
        ]
    try:
        network.choose_subnet(network.taken_subnets())
    except errors.PreflightError as problem:
        return [str(problem)]
    return []


def require(wanted: settings.Settings) -> None:
    """Check that a cluster can run. Raises PreflightError with all problems, one sentence per line."""
    raise_for(run_problems(wanted))


def raise_for(problems: Iterable[str]) -> None:
    """Raise PreflightError if there are any problems."""
    found = list(problems)
    if found:
        raise errors.PreflightError("\n".join(found))
