"""Read the options of `make demo` and check that this machine can run it, before anything is changed.

Uses only the standard library, because it runs before the project's Python environment exists.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cluster import doctor, settings, state

ANSWER = 20
"""Seconds in which the user's own cluster must answer."""
LOCAL = settings.Settings(gpus=4)
"""The cluster that the demo starts."""
IMAGES = {"services": "IMAGE", "probe": "PROBE_IMAGE", "scheduler": "SCHEDULER_IMAGE"}
"""Environment variables that name the images for the user's own cluster."""


class PreflightError(Exception):
    """The demo can't run; the text says what to change."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The cluster, tools and images that the demo uses."""

    kubeconfig: Path
    existing: bool
    """Whether the cluster is the user's own: the demo neither builds, starts nor stops anything for it."""
    kubectl: str
    helm: str
    images: Mapping[str, str]
    """Image names by role (services, probe, scheduler); empty where the demo builds them."""
    driver: str
    """`nvidia` or `simulated`."""


def plan(environment: Mapping[str, str]) -> Plan:
    """Derive the plan from environment variables.

    Raises PreflightError with all problems, one sentence each.
    """
    chosen = environment.get("KUBECONFIG", "")
    local = settings.Layout(settings.DEFAULT_NAME).published_kubeconfig
    driver = environment.get("DRIVER", "")
    problems = []
    if driver not in ("", "nvidia", "simulated"):
        problems.append(f"DRIVER = {driver}: unknown driver; accepted: nvidia, simulated")
    images = {role: environment.get(variable, "") for role, variable in IMAGES.items()}
    if not chosen or Path(chosen).resolve() == local.resolve():
        given = [variable for variable in (*IMAGES.values(), "DRIVER") if environment.get(variable)]
        if given and not problems:
            one = len(given) == 1
            problems.append(
                f"{', '.join(given)} only {'applies' if one else 'apply'} to your own cluster: set KUBECONFIG too, or"
                f" unset {'it' if one else 'them'} to use the local cluster, which has its own images and simulated"
                " GPUs."
            )
        if problems:
            raise PreflightError("\n".join(problems))
        return Plan(local, False, str(settings.BIN / "kubectl"), str(settings.BIN / "helm"), {}, "simulated")
    if not Path(chosen).is_file():
        problems.append(
            f"KUBECONFIG = {chosen}: not a file; accepted: the path of a kubeconfig, or unset for the local cluster"
        )
    if absent := [IMAGES[role] for role, name in images.items() if not name]:
        problems.append(
            f"KUBECONFIG is set to your own cluster, so set {', '.join(absent)} to images that it can pull (see"
            " docs/install.md), or unset KUBECONFIG to use the local cluster."
        )
    tools = {name: _tool(name) for name in ("kubectl", "helm")}
    if lacking := [name for name, path in tools.items() if path is None]:
        problems.append(
            f"{' and '.join(lacking)} not found on the PATH: install {'it' if len(lacking) == 1 else 'them'}, or run"
            " `make cluster`."
        )
    if problems:
        raise PreflightError("\n".join(problems))
    return Plan(Path(chosen).resolve(), True, tools["kubectl"] or "", tools["helm"] or "", images, driver or "nvidia")


def _tool(name: str) -> str | None:
    built = settings.BIN / name
    return shutil.which(name) or (str(built) if built.exists() else None)


def require(wanted: Plan, *, build: bool) -> None:
    """Check the machine before anything is changed; `build`: the Kubernetes programs must be built.

    Raises PreflightError with all problems, one sentence each.
    """
    problems = [] if _has_venv() else ["Python's venv module is not installed: run `apt-get install python3-venv`."]
    if wanted.existing:
        problems += doctor.disk_problems()
        problems += _cluster_problems(wanted)
    elif os.geteuid() != 0:
        problems.append(
            "The local cluster needs root to create namespaces, mounts and network devices: run `make demo` as root"
            " (sudo)."
        )
    else:
        problems += _local_problems(build=build)
    if problems:
        raise PreflightError("\n".join(dict.fromkeys(problems)))


def _local_problems(*, build: bool) -> list[str]:
    """Return the problems that prevent building and starting the local cluster."""
    problems = []
    absent = doctor.missing_packages()
    if absent and shutil.which("apt-get") is None:
        names = ", ".join(package.name for package in absent)
        problems.append(
            f"These packages are not installed, and there is no apt-get to install them: {names}. Install them"
            " yourself."
        )
    # libvgpu and the simulated driver are always compiled, Kubernetes only when its sources changed.
    problems += doctor.build_problems() if build else [*doctor.compiler_problems(), *doctor.disk_problems()]
    problems += doctor.kernel_problems()
    if known := state.load(settings.Layout(LOCAL.name)):
        if known.settings != LOCAL:
            problems.append(
                f"The local cluster is running with other settings than the demo's ({known.settings.nodes} nodes,"
                f" {known.settings.gpus} GPUs each, {known.settings.profile}): stop it first with `make down`."
            )
    elif shutil.which("ip") is not None:
        problems += doctor.network_problems(LOCAL)
    return problems


def _cluster_problems(wanted: Plan) -> list[str]:
    """Check that the user's own cluster answers, and permits this user to install the chart."""
    command = [wanted.kubectl, "--request-timeout=10s", "auth", "can-i", "create", "clusterroles"]
    environment = {**os.environ, "KUBECONFIG": str(wanted.kubeconfig)}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER, env=environment, check=False)
    except subprocess.TimeoutExpired:
        return [
            f"The cluster in {wanted.kubeconfig} didn't answer within {ANSWER} s: check the address and the network."
        ]
    if done.returncode == 0:
        return []
    if done.stdout.strip() == "no":
        return [
            f"The user in {wanted.kubeconfig} may not create cluster roles, which the chart needs: use an"
            " administrator."
        ]
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return [f"The cluster in {wanted.kubeconfig} can't be reached: {last}"]


def _has_venv() -> bool:
    try:
        import venv  # noqa: F401
        from ensurepip import version  # in Debian, not part of python3
    except ImportError:
        return False
    return bool(version())
