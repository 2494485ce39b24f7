"""What `make demo` is asked to do, and whether the ground carries it: looked at before anything is changed.

Only the standard library: this runs before the project's Python environment exists.
"""

import os
import shutil
import ssl
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cluster import doctor, settings

PYTHON_NEEDED = (3, 11)


class BadGround(Exception):
    """Something is missing or in the way; the text says what to change."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Where the demo goes."""

    kubeconfig: Path
    existing: bool
    """The cluster is the user's own: nothing is built for it, started, or stopped."""
    kubectl: str
    helm: str
    images: Mapping[str, str]
    """Roles services, probe and scheduler; empty where they are made here."""
    driver: str
    """nvidia or simulated."""


def plan(environment: Mapping[str, str]) -> Plan:
    """Read what the user wants.

    Raises BadGround with every problem, a sentence each.
    """
    chosen = environment.get("KUBECONFIG", "")
    local = settings.Layout(settings.DEFAULT_NAME).published_kubeconfig
    if not chosen or Path(chosen).resolve() == local.resolve():
        return Plan(local, False, str(settings.BIN / "kubectl"), str(settings.BIN / "helm"), {}, "simulated")
    problems = []
    if not Path(chosen).is_file():
        problems.append(f"KUBECONFIG names {chosen}, which is not a file: name one, or unset it for a local cluster.")
    wanted = {"services": "IMAGE", "probe": "PROBE_IMAGE", "scheduler": "SCHEDULER_IMAGE"}
    images = {role: environment.get(variable, "") for role, variable in wanted.items()}
    if absent := [wanted[role] for role, name in images.items() if not name]:
        problems.append(
            f"KUBECONFIG names a cluster of yours, so say which images it can pull: {', '.join(absent)} "
            "(see docs/install.md), or unset KUBECONFIG for a local cluster."
        )
    tools = {name: _tool(name) for name in ("kubectl", "helm")}
    for name, path in tools.items():
        if path is None:
            problems.append(f"{name} is neither on the PATH nor built here: install it, or run `make cluster`.")
    driver = environment.get("DRIVER", "nvidia")
    if driver not in ("nvidia", "simulated"):
        problems.append(f"DRIVER is {driver!r}: take nvidia or simulated.")
    if problems:
        raise BadGround("\n".join(problems))
    return Plan(Path(chosen), True, tools["kubectl"] or "", tools["helm"] or "", images, driver)


def _tool(name: str) -> str | None:
    built = settings.BIN / name
    return shutil.which(name) or (str(built) if built.exists() else None)


def require(wanted: Plan, *, build: bool) -> None:
    """Look at the machine before anything is changed; `build`: the Kubernetes programs aren't current.

    Raises BadGround with every problem, a sentence each.
    """
    problems = []
    if sys.version_info < PYTHON_NEEDED:
        needed = ".".join(map(str, PYTHON_NEEDED))
        problems.append(f"Python {needed} or later is needed, here is {sys.version.split()[0]}.")
    if not _has_venv():
        problems.append("Python can't make environments here: run `apt-get install python3-venv`.")
    if not wanted.existing:
        if os.geteuid() != 0:
            problems.append("The local cluster needs root, for namespaces, mounts and network devices: run as root.")
        elif doctor.missing_packages() and shutil.which("apt-get") is None:
            names = ", ".join(package.name for package in doctor.missing_packages())
            problems.append(f"This is no Debian (there is no apt-get), and these are missing: {names}. Install them.")
        if build:
            problems += doctor.build_problems()
        else:
            problems += doctor.disk_problems()
        problems += doctor.kernel_problems()
    if problems:
        raise BadGround("\n".join(dict.fromkeys(problems)))


def _has_venv() -> bool:
    try:
        import ensurepip  # noqa: F401  Debian leaves it out of python3
        import venv  # noqa: F401
    except ImportError:
        return False
    return bool(ssl.OPENSSL_VERSION)
