"""Install the chart on a cluster, with images that it can pull; used by the demo and the cluster tests."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from demo.kube import CommandFailed, Kube
from unigpu import names

CHART = Path(__file__).resolve().parent.parent / "helm" / "unigpu"
RELEASE = "unigpu"
PATIENCE = 240
"""Seconds until all parts must be ready, including image pulls."""

SIMULATED = {
    "nodeAgent.driver.kind": "simulated",
    "nodeAgent.driver.simulated.gpus": "0",
    "nodeAgent.driver.simulated.state": "/run/unigpu-sim",
    "nodeAgent.driver.simulated.libraries": "/usr/local/unigpu-sim/lib",
}
"""Chart values for the simulated GPUs of the local cluster's nodes."""


PENDING = "another operation"
"""Part of helm's error message when its record has an unfinished operation."""


def install(
    kube: Kube, images: Mapping[str, str], *, simulated: bool, more: Sequence[str] = (), alone: bool = True
) -> None:
    """Install or upgrade the chart, and wait until every part is ready.

    `images` by role: services and scheduler. `more`: further `--set` values, `key=value`. `alone`: no one else installs
    there, so an unfinished operation was killed and its record is removed, and what kubectl has changed is set back;
    otherwise previously set values are kept.
    Raises CommandFailed.
    """
    settings = values(images, simulated=simulated, more=more)
    try:
        _upgrade(kube, settings, keep=not alone)
    except CommandFailed as problem:
        if PENDING not in problem.stderr:
            raise _explained(kube, problem) from problem
        if not alone:
            message = (
                f"{problem.stderr}\nIf a previous helm was killed, recover with `helm rollback {RELEASE} --namespace"
                f" {names.SYSTEM_NAMESPACE}`, or with `helm uninstall` if it was the first installation."
            )
            raise CommandFailed([kube.helm, "upgrade"], problem.code, message) from problem
        _forget_pending(kube)
        try:
            _upgrade(kube, settings, keep=False)
        except CommandFailed as another:
            raise _explained(kube, another) from another


def values(images: Mapping[str, str], *, simulated: bool, more: Sequence[str] = ()) -> list[str]:
    """Return helm's arguments for these images and values."""
    named = {f"image.{key}": value for key, value in reference(images["services"]).items()}
    named |= {f"scheduler.image.{key}": value for key, value in reference(images["scheduler"]).items()}
    found = [word for key, value in named.items() for word in ("--set-string", f"{key}={value}")]
    # Not as text: among them is a number, and the chart's schema tells both apart.
    pairs = [*(f"{key}={value}" for key, value in (SIMULATED if simulated else {}).items()), *more]
    return found + [word for pair in pairs for word in ("--set", pair)]


def _upgrade(kube: Kube, settings: Sequence[str], *, keep: bool) -> None:
    """Run `helm upgrade --install`; `keep`: keep the values of the previous installation."""
    kube.run(
        *("upgrade", "--install", RELEASE, str(CHART), "--namespace", names.SYSTEM_NAMESPACE, "--create-namespace"),
        *("--wait", "--timeout", f"{PATIENCE}s", *settings),
        *(("--reset-then-reuse-values",) if keep else ("--force-conflicts",)),
        program=kube.helm,
        timeout=PATIENCE + 30,
    )


def _forget_pending(kube: Kube) -> None:
    """Remove helm's record of a killed operation; the next operation takes over its objects."""
    selector = f"owner=helm,name={RELEASE},status in (pending-install,pending-upgrade,pending-rollback)"
    kube.run("delete", "secrets", "-n", names.SYSTEM_NAMESPACE, "-l", selector)


def _explained(kube: Kube, problem: CommandFailed) -> CommandFailed:
    return CommandFailed([kube.helm, "upgrade"], problem.code, f"{problem.stderr}\n{_state(kube)}")


def _state(kube: Kube) -> str:
    """Report why parts aren't ready: the pods, and the last log lines of containers that aren't ready."""
    namespace = ("-n", names.SYSTEM_NAMESPACE)
    try:
        found = [kube.run("get", "pods", *namespace)]
        pods = kube.items("pods", names.SYSTEM_NAMESPACE)
    except CommandFailed as problem:
        return str(problem)
    for pod in pods:
        for container in pod["status"].get("containerStatuses", []):
            if not container["ready"]:
                name = pod["metadata"]["name"]
                try:
                    log = kube.run("logs", *namespace, name, "-c", container["name"], "--tail=12")
                except CommandFailed as silent:
                    log = silent.stderr  # the container hasn't started
                found.append(f"Last log lines of {name}, container {container['name']}:\n{log}")
    return "\n".join(found)


def reference(image: str) -> dict[str, str]:
    """Split an image's name into the chart's values; `registry` is everything before the last slash, if there is one.

    >>> reference("unigpu:0123")
    {'repository': 'unigpu', 'tag': '0123'}
    >>> reference("registry.example:5000/gpu/unigpu")
    {'registry': 'registry.example:5000/gpu', 'repository': 'unigpu', 'tag': 'latest'}
    """
    registry, _, name = image.rpartition("/")
    name, _, digest = name.partition("@")
    repository, _, tag = name.partition(":")
    found = {"registry": registry, "repository": repository, "tag": tag or "latest", "digest": digest}
    return {key: value for key, value in found.items() if value}
