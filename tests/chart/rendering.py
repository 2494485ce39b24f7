"""The chart, rendered by the real helm."""

import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
HELM = ROOT / "build" / "bin" / "helm"
"""The one that `make cluster` builds, next to the other programs of a cluster."""
CHART = ROOT / "helm" / "unigpu"
EVERY_OPTION = Path(__file__).parent / "every-option.yaml"
NAMESPACE = "gpu-system"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
HOOK = "helm.sh/hook"

Document = dict[str, Any]


def helm_program() -> str | Path:
    """Return the helm that `make cluster` builds, or else the one on PATH; one of them must be there."""
    program = HELM if HELM.exists() else shutil.which("helm")
    if program is None:
        pytest.fail("no helm: install it, or build it with `make cluster`")
    return program


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run helm."""
    return subprocess.run([helm_program(), *arguments], capture_output=True, text=True, timeout=120)


@dataclass(frozen=True)
class Rendered:
    """What the chart renders."""

    documents: list[Document] = field(default_factory=list)
    """Objects of the installation."""
    hooks: list[Document] = field(default_factory=list)
    """Objects that are there only while Helm tests or uninstalls."""

    def get(self, kind: str, name: str) -> Document:
        """The one object of that kind and name."""
        (found,) = (item for item in self.of(kind) if item["metadata"]["name"] == name)
        return found

    def of(self, kind: str) -> list[Document]:
        """All objects of a kind."""
        return [item for item in self.documents if item["kind"] == kind]

    def workloads(self) -> list[Document]:
        """What makes pods."""
        return [*self.of("Deployment"), *self.of("DaemonSet")]

    def containers(self) -> dict[str, Document]:
        """Containers of all workloads by name; names are unique."""
        found = [item for load in self.workloads() for item in load["spec"]["template"]["spec"]["containers"]]
        by_name = {item["name"]: item for item in found}
        assert len(by_name) == len(found)
        return by_name


def render(*arguments: str | Path, values: Mapping[str, str] | None = None) -> Rendered:
    """The chart with `--set` values; fails the test where helm does."""
    settings = [word for key, value in (values or {}).items() for word in ("--set", f"{key}={value}")]
    done = helm("template", "release", CHART, "--namespace", NAMESPACE, *arguments, *settings)
    assert done.returncode == 0, done.stderr
    documents = [item for item in yaml.safe_load_all(done.stdout) if item]
    hooks = [item for item in documents if HOOK in item["metadata"].get("annotations", {})]
    return Rendered([item for item in documents if item not in hooks], hooks)
