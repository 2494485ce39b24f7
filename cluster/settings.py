"""Settings of a cluster, and the paths of its files."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
import re

from cluster import errors

ROOT = pathlib.Path(__file__).resolve().parent.parent
"""Checkout that contains this package; all output goes to its build folder."""

BUILD = ROOT / "build"
BIN = BUILD / "bin"
SIMULATOR = BUILD / "simulator"

DEFAULT_NAME = "unigpu"
"""The cluster of `make up`, whose kubeconfig is build/kubeconfig."""

OLDER_KUBERNETES = ("1.29", "1.32")
"""Versions that a cluster can run instead of the one in cluster/kubernetes: the oldest supported one, and one between.
Each has a Go module of its own, cluster/kubernetes-VERSION."""


def kubernetes_programs(version: str) -> pathlib.Path:
    """Return the folder with kube-apiserver, kubelet and so on of one of OLDER_KUBERNETES; "" is the newest."""
    return BUILD / f"kubernetes-{version}" if version else BIN


def at_least(version: str, minor: int) -> bool:
    """Return whether a version, as in Settings.kubernetes, is Kubernetes 1.`minor` or later."""
    return not version or int(version.removeprefix("1.")) >= minor


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """Requested settings of a cluster; recorded with it, so that a second `up` can compare."""

    name: str = DEFAULT_NAME
    """At most 20 lower-case letters, digits and dashes; prefix of the names of nodes, cgroups and folders."""
    nodes: int = 1
    """Number of nodes; each has its own GPUs."""
    gpus: int = 4
    """Simulated GPUs per node; 0 for a plain cluster, which needs no simulator."""
    profile: str = "l40s"
    """Model of the simulated GPUs, as `unigpu-sim` names it."""
    kubernetes: str = ""
    """One of OLDER_KUBERNETES for control plane and nodes; empty for the newest."""

    def check(self) -> None:
        """Check the values. Raises PreflightError, naming the setting and the accepted values."""
        if not re.fullmatch(r"[a-z]([a-z0-9-]{0,18}[a-z0-9])?", self.name):
            raise errors.PreflightError(
                f"--name = {self.name}: not a valid cluster name; accepted: at most 20 lower-case letters, digits and"
                " dashes, starting with a letter and not ending with a dash"
            )
        if not 1 <= self.nodes <= 20:
            raise errors.PreflightError(f"--nodes = {self.nodes}: out of range; accepted: 1 to 20")
        if not 0 <= self.gpus <= 16:
            raise errors.PreflightError(f"--gpus = {self.gpus}: out of range; accepted: 0 to 16 per node")
        check_kubernetes(self.kubernetes)


def check_kubernetes(version: str) -> None:
    """Check that a cluster can run that version. Raises PreflightError, naming the accepted ones."""
    if version and version not in OLDER_KUBERNETES:
        raise errors.PreflightError(
            f"--kubernetes = {version}: not available; accepted: {', '.join(OLDER_KUBERNETES)}; without it: the newest"
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """Paths of the files of one cluster."""

    name: str

    @property
    def mark(self) -> str:
        """Six characters that identify this cluster, even if another checkout has one of the same name."""
        return hashlib.sha256(f"{ROOT}:{self.name}".encode()).hexdigest()[:6]

    @property
    def home(self) -> pathlib.Path:
        """Folder of the cluster; `down` removes it."""
        return BUILD / "cluster" / self.name

    @property
    def lock(self) -> pathlib.Path:
        """Lock of `up` and `down`; outside `home`, because it outlives the cluster."""
        return BUILD / "cluster" / f"{self.name}.lock"

    @property
    def state(self) -> pathlib.Path:
        return self.home / "state.json"

    @property
    def certificates(self) -> pathlib.Path:
        return self.home / "certificates"

    @property
    def kubeconfig(self) -> pathlib.Path:
        """Kubeconfig of the administrator."""
        return self.home / "kubeconfig"

    @property
    def published_kubeconfig(self) -> pathlib.Path:
        """Kubeconfig for users: build/kubeconfig for the default cluster."""
        return BUILD / "kubeconfig" if self.name == DEFAULT_NAME else self.kubeconfig

    @property
    def logs(self) -> pathlib.Path:
        return self.home / "logs"

    @property
    def units(self) -> pathlib.Path:
        """Folder with a description and a process record for each unit."""
        return self.home / "units"

    def node(self, node: str) -> pathlib.Path:
        """Folder of the files that a node writes, laid out as inside the node."""
        return self.home / "nodes" / node
