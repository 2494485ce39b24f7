"""Read the options of `make demo` and check that this machine can run it, before anything is changed.

Only the standard library: this runs before the project's Python environment exists.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cluster import doctor, settings, state

ANSWER = 20
"""Seconds for a cluster of the user's own to answer."""
LOCAL = settings.Settings(gpus=4, profile="p40")
"""The cluster that the demo brings up."""
IMAGES = {"services": "IMAGE", "probe": "PROBE_IMAGE", "scheduler": "SCHEDULER_IMAGE"}
"""Variables that name the images of a cluster of the user's own."""


class PreflightError(Exception):
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

    Raises PreflightError with every problem, a sentence each.
    """
    chosen = environment.get("KUBECONFIG", "")
    local = settings.Layout(settings.DEFAULT_NAME).published_kubeconfig
    driver = environment.get("DRIVER", "")
    problems = []
    if driver not in ("", "nvidia", "simulated"):
        problems.append(f"DRIVER is {driver!r}: take nvidia or simulated.")
    images = {role: environment.get(variable, "") for role, variable in IMAGES.items()}
    if not chosen or Path(chosen).resolve() == local.resolve():
        given = [variable for variable in (*IMAGES.values(), "DRIVER") if environment.get(variable)]
        if given and not problems:
            problems.append(
                f"{', '.join(given)} is for a cluster of yours: name that with KUBECONFIG, or unset it for a local"
                " cluster, which has images and simulated GPUs of its own."
            )
        if problems:
            raise PreflightError("\n".join(problems))
        return Plan(local, False, str(settings.BIN / "kubectl"), str(settings.BIN / "helm"), {}, "simulated")
    if not Path(chosen).is_file():
        problems.append(f"KUBECONFIG names {chosen}, which is not a file: name one, or unset it for a local cluster.")
    if absent := [IMAGES[role] for role, name in images.items() if not name]:
        problems.append(
            f"KUBECONFIG names a cluster of yours, so say which images it can pull: {', '.join(absent)} "
            "(see docs/install.md), or unset KUBECONFIG for a local cluster."
        )
    tools = {name: _tool(name) for name in ("kubectl", "helm")}
    if lacking := [name for name, path in tools.items() if path is None]:
        problems.append(
            f"{' and '.join(lacking)} can't be found on the PATH: install what is missing, or run `make cluster`."
        )
    if problems:
        raise PreflightError("\n".join(problems))
    return Plan(Path(chosen).resolve(), True, tools["kubectl"] or "", tools["helm"] or "", images, driver or "nvidia")


def _tool(name: str) -> str | None:
    built = settings.BIN / name
    return shutil.which(name) or (str(built) if built.exists() else None)


def require(wanted: Plan, *, build: bool) -> None:
    """Look at the machine before anything is changed; `build`: the Kubernetes programs aren't current.

    Raises PreflightError with every problem, a sentence each.
    """
    problems = [] if _has_venv() else ["Python can't make environments here: run `apt-get install python3-venv`."]
    if wanted.existing:
        problems += doctor.disk_problems()
        problems += _cluster_problems(wanted)
    elif os.geteuid() != 0:
        problems.append("The local cluster needs root, for namespaces, mounts and network devices: run as root.")
    else:
        problems += _local_problems(build=build)
    if problems:
        raise PreflightError("\n".join(dict.fromkeys(problems)))


def _local_problems(*, build: bool) -> list[str]:
    """What keeps the local cluster from being built and started."""
    problems = []
    absent = doctor.missing_packages()
    if absent and shutil.which("apt-get") is None:
        names = ", ".join(package.name for package in absent)
        problems.append(f"This is no Debian (there is no apt-get), and these are missing: {names}. Install them.")
    # libvgpu and the simulated driver are compiled on every machine, Kubernetes only when its sources changed.
    problems += doctor.build_problems() if build else [*doctor.compiler_problems(), *doctor.disk_problems()]
    problems += doctor.kernel_problems()
    if known := state.load(settings.Layout(LOCAL.name)):
        if known.settings != LOCAL:
            problems.append(
                f"The local cluster is up with other settings than the demo's ({known.settings.nodes} nodes,"
                f" {known.settings.gpus} GPUs each, {known.settings.profile}): run `make down` first."
            )
    elif shutil.which("ip") is not None:
        problems += doctor.network_problems(LOCAL)
    return problems


def _cluster_problems(wanted: Plan) -> list[str]:
    """Whether the user's own cluster answers, and lets this user install."""
    command = [wanted.kubectl, "--request-timeout=10s", "auth", "can-i", "create", "clusterroles"]
    environment = {**os.environ, "KUBECONFIG": str(wanted.kubeconfig)}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER, env=environment, check=False)
    except subprocess.TimeoutExpired:
        return [f"The cluster of {wanted.kubeconfig} doesn't answer within {ANSWER} s."]
    if done.returncode == 0:
        return []
    if done.stdout.strip() == "no":
        return [f"The user of {wanted.kubeconfig} may not create cluster roles, and the chart has some."]
    last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
    return [f"The cluster of {wanted.kubeconfig} can't be asked: {last}"]


def _has_venv() -> bool:
    try:
        import venv  # noqa: F401
        from ensurepip import version  # Debian leaves it out of python3
    except ImportError:
        return False
    return bool(version())
