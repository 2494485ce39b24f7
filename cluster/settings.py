"""What a cluster is asked to be, and where its files are."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
import re

from cluster import errors

ROOT = pathlib.Path(__file__).resolve().parent.parent
"""The checkout that this package is in; everything that is written goes into its build folder."""

BUILD = ROOT / "build"
BIN = BUILD / "bin"
SIMULATOR = BUILD / "simulator"

DEFAULT_NAME = "unigpu"
"""The cluster of `make up`, whose kubeconfig is build/kubeconfig."""


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """What `up` is asked for; recorded with the cluster, so that a second `up` can compare."""

    name: str = DEFAULT_NAME
    """Lower-case letters, digits and dashes, at most 20; names of nodes, cgroups and folders begin with it."""
    nodes: int = 1
    """How many nodes; each has GPUs of its own."""
    gpus: int = 4
    """Simulated GPUs of each node; 0 for a plain cluster, which needs no simulator."""
    profile: str = "p40"
    """Model of the simulated GPUs, a name that `unigpu-sim` knows."""

    def check(self) -> None:
        """Raises PreflightError, naming the setting and what would be accepted."""
        if not re.fullmatch(r"[a-z]([a-z0-9-]{0,18}[a-z0-9])?", self.name):
            raise errors.PreflightError(
                f"The cluster name {self.name!r} can't be used: take lower-case letters, digits and dashes, at most 20,"
                " beginning with a letter."
            )
        if not 1 <= self.nodes <= 20:
            raise errors.PreflightError(f"A local cluster has 1 to 20 nodes, not {self.nodes}.")
        if not 0 <= self.gpus <= 16:
            raise errors.PreflightError(f"A node has 0 to 16 simulated GPUs, not {self.gpus}.")


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """Where the files of one cluster are."""

    name: str

    @property
    def mark(self) -> str:
        """Six characters that are this cluster's alone, also beside one of the same name of another checkout."""
        return hashlib.sha256(f"{ROOT}:{self.name}".encode()).hexdigest()[:6]

    @property
    def home(self) -> pathlib.Path:
        """Everything of the cluster; `down` removes it."""
        return BUILD / "cluster" / self.name

    @property
    def lock(self) -> pathlib.Path:
        """Held by `up` and `down`; outside of `home`, because it outlives it."""
        return BUILD / "cluster" / f"{self.name}.lock"

    @property
    def state(self) -> pathlib.Path:
        return self.home / "state.json"

    @property
    def certificates(self) -> pathlib.Path:
        return self.home / "certificates"

    @property
    def kubeconfig(self) -> pathlib.Path:
        """The administrator's."""
        return self.home / "kubeconfig"

    @property
    def published_kubeconfig(self) -> pathlib.Path:
        """Where people and programs look for it: build/kubeconfig for the default cluster."""
        return BUILD / "kubeconfig" if self.name == DEFAULT_NAME else self.kubeconfig

    @property
    def logs(self) -> pathlib.Path:
        return self.home / "logs"

    @property
    def units(self) -> pathlib.Path:
        """A description and a process record for each unit."""
        return self.home / "units"

    def node(self, node: str) -> pathlib.Path:
        """What a node writes, under the names that it has inside of the node."""
        return self.home / "nodes" / node
