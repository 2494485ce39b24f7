"""Build the programs of the cluster from source: `python -m cluster build`. Uses only the standard library.

Four Go modules, because their dependencies clash: Kubernetes with etcd and Helm as one binary (one link instead of
eight), containerd with its shim and its client, kwok, which plays nodes for tests and benchmarks of many, and Kueue's
arithmetic as a program. The last two are built only when they are asked for. So is each older Kubernetes, which has a
module with its own programs alone: etcd, Helm and containerd of the other modules serve it too. The version of each is
in its go.mod.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
from collections.abc import Sequence

from cluster import errors, linux, progress, settings, stamps

SOURCES = settings.ROOT / "cluster"
KUBERNETES_LINKS = ("kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubelet")
"""Programs of every version."""
NEWEST_LINKS = ("etcd", "helm", "kubectl")
"""Programs that only the newest has too."""
CONTAINERD_PROGRAMS = ("containerd", "containerd-shim-runc-v2", "ctr")

MEMORY_FOR_SPEED = 3 * 1024**3
"""Bytes per CPU, each of which compiles one package at a time; deliberately generous."""

LEAN = ("-trimpath", "-buildvcs=false", "-gcflags=all=-dwarf=false -l", "-gcflags=std=-dwarf=false")
"""No debug information, which makes the binary a third smaller, and inlining only in Go's standard library, which makes
compilation a fifth shorter. On a one-machine cluster, build time matters more than the speed of these programs."""

OVERLAY = "overlay.json"
"""File of a module with sources that it takes from another's folder, as Go's option -overlay reads it. Links would do
the same, but not every copy of a checkout keeps them."""


def build_all() -> None:
    """Build every program that is missing or whose sources changed. Raises BuildFailed, PreflightError."""
    settings.BIN.mkdir(parents=True, exist_ok=True)
    for module in _modules():
        if not module.is_current():
            module.build()
    _link(settings.BIN, (*KUBERNETES_LINKS, *NEWEST_LINKS))
    build_pause()


def build_kubernetes(version: str) -> None:
    """Build one of settings.OLDER_KUBERNETES if it is missing or its sources changed. Raises BuildFailed."""
    module = kubernetes(version)
    module.folder.mkdir(parents=True, exist_ok=True)
    if not module.is_current():
        module.build()
    _link(module.folder, KUBERNETES_LINKS)


def _link(folder: pathlib.Path, names: Sequence[str]) -> None:
    """Give the binary each of its programs' names."""
    for name in names:
        link = folder / name
        if not link.is_symlink():
            link.unlink(missing_ok=True)
            link.symlink_to("kubernetes")


def build_if_needed(module: Module) -> None:
    """Build kwok() or kueue() if it is missing or its sources changed. Raises BuildFailed, PreflightError."""
    settings.BIN.mkdir(parents=True, exist_ok=True)
    if not module.is_current():
        module.build()


def required(module: str, requirement: str) -> str:
    """Return the version of another module that a module's go.mod requires."""
    text = (SOURCES / module / "go.mod").read_text()
    found = re.search(rf"^\s*(?:require )?{re.escape(requirement)} (v\S+)", text, re.MULTILINE)
    if found is None:
        raise errors.BuildFailed(f"cluster/{module}/go.mod does not require {requirement}.")
    return found.group(1)


def _kubernetes_flags(module: str) -> str:
    version = required(module, "k8s.io/kubernetes")
    major, minor, *_ = version.removeprefix("v").split(".")
    values = {
        "k8s.io/component-base/version.gitVersion": version,
        "k8s.io/component-base/version.gitMajor": major,
        "k8s.io/component-base/version.gitMinor": minor,
        "k8s.io/client-go/pkg/version.gitVersion": version,
    }
    return " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in values.items())])


def _containerd_flags() -> str:
    version = required("containerd", "github.com/containerd/containerd/v2")
    return f"-s -w -X github.com/containerd/containerd/v2/version.Version={version}"


def is_current() -> bool:
    """Return whether both Go modules of the cluster are built from the current sources."""
    return all(module.is_current() for module in _modules())


@dataclasses.dataclass(frozen=True, slots=True)
class Module:
    """A Go module and the programs that it is built into."""

    name: str
    packages: tuple[str, ...]
    output: pathlib.Path
    link_flags: str
    products: tuple[str, ...]
    folder: pathlib.Path
    """Where the products are."""

    @property
    def stamp(self) -> pathlib.Path:
        """File with the hash of the inputs that it was built from."""
        return self.folder / f".{self.name}.stamp"

    def sources(self) -> dict[str, pathlib.Path]:
        """Return the files of its Go sources by the names under which they are compiled."""
        folder = SOURCES / self.name
        found = {file.name: file for file in folder.glob("*.go")}
        if (folder / OVERLAY).exists():
            shared = json.loads((folder / OVERLAY).read_text())["Replace"]
            found |= {name: (folder / path).resolve() for name, path in shared.items()}
        return found

    def inputs(self) -> str:
        """Hash of sources, pinned dependencies and flags."""
        folder = SOURCES / self.name
        files = [*self.sources().values(), folder / "go.mod", folder / "go.sum"]
        return stamps.digest(files, [*LEAN, self.link_flags, *self.packages])

    def is_current(self) -> bool:
        """Return whether its programs were built from its current inputs."""
        return stamps.current(self.stamp, self.inputs(), [self.folder / product for product in self.products])

    def build(self) -> None:
        """Compile and link. Raises BuildFailed."""
        value = self.inputs()
        with progress.step(f"building {self.name} from source"):
            folder = SOURCES / self.name
            overlay = [f"-overlay={OVERLAY}"] if (folder / OVERLAY).exists() else []
            flags = [*LEAN, *overlay, "-ldflags", self.link_flags]
            command = ["go", "build", *flags, "-o", str(self.output), *self.packages]
            run(command, folder, {"CGO_ENABLED": "0", **_collector()})
        stamps.leave(self.stamp, value)


def _collector() -> dict[str, str]:
    """Return settings that make Go's compiler collect garbage less often, where memory allows, to save CPU time."""
    available = re.search(r"^MemAvailable:\s+(\d+) kB", pathlib.Path("/proc/meminfo").read_text(), re.MULTILINE)
    plenty = available is not None and int(available[1]) * 1024 >= MEMORY_FOR_SPEED * (os.cpu_count() or 1)
    return {"GOGC": "400"} if plenty and "GOGC" not in os.environ else {}


def kubernetes(version: str = "") -> Module:
    """Return the module of one of settings.OLDER_KUBERNETES, or of the newest."""
    name = f"kubernetes-{version}" if version else "kubernetes"
    folder = settings.kubernetes_programs(version)
    return Module(name, (".",), folder / "kubernetes", _kubernetes_flags(name), ("kubernetes",), folder)


def kwok() -> Module:
    """Return the module of the program that plays nodes."""
    flags = f"-s -w -X sigs.k8s.io/kwok/pkg/consts.Version={required('kwok', 'sigs.k8s.io/kwok')}"
    return Module("kwok", ("tool",), settings.BIN / "kwok", flags, ("kwok",), settings.BIN)


def kueue() -> Module:
    """Return the module of the program that counts as Kueue does."""
    return Module("kueue", (".",), settings.BIN / "kueue-counts", "-s -w", ("kueue-counts",), settings.BIN)


def _modules() -> tuple[Module, Module]:
    return (
        kubernetes(),
        Module("containerd", ("tool",), settings.BIN, _containerd_flags(), CONTAINERD_PROGRAMS, settings.BIN),
    )


def build_pause() -> pathlib.Path:
    """Compile the pause program; return its path."""
    source, program = SOURCES / "pause.c", settings.BIN / "pause"
    value = stamps.digest([source])
    if not stamps.current(settings.BIN / ".pause.stamp", value, [program]):
        compiler = os.environ.get("CC", "cc")
        run([compiler, "-Os", "-static", "-s", "-Wall", "-Werror", "-o", str(program), str(source)], SOURCES)
        stamps.leave(settings.BIN / ".pause.stamp", value)
    return program


def run(command: Sequence[str], folder: pathlib.Path, environment: dict[str, str] | None = None) -> None:
    """Run a builder. Raises BuildFailed with the last lines of its output."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            # When this process ends for any reason, the builder must not keep running next to a second one.
            preexec_fn=lambda: linux.die_with_parent(signal.SIGTERM),
        )
    except FileNotFoundError:
        raise errors.PreflightError(
            f"The program {command[0]!r} is missing; run `python -m cluster doctor` to see what to install."
        ) from None
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-40:])
        raise errors.BuildFailed(f"{command[0]} failed with exit status {done.returncode}:\n{tail}")
