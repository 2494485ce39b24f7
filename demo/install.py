"""The chart on a cluster, with the images that the cluster can pull; the demo and the cluster's tests share it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from demo.kube import CommandFailed, Kube
from unigpu import names

CHART = Path(__file__).resolve().parent.parent / "helm" / "unigpu"
RELEASE = "unigpu"
PATIENCE = 240
"""Seconds until all parts are ready; images are pulled within this."""

SIMULATED = {
    "nodeAgent.driver.kind": "simulated",
    "nodeAgent.driver.simulated.state": "/run/unigpu-sim",
    "nodeAgent.driver.simulated.libraries": "/usr/local/unigpu-sim/lib",
}
"""Where the nodes of the local cluster have their simulated GPUs."""


PENDING = "another operation"
"""In what helm says when its record tells of an operation that has not ended."""


def install(
    kube: Kube, images: Mapping[str, str], *, simulated: bool, more: Sequence[str] = (), alone: bool = True
) -> None:
    """Install the chart, or bring it up to date, and wait until every part is ready.

    `images` by role: services and scheduler. `more`: further `--set` values, `key=value`. `alone`: nobody else installs
    there, so that an operation which has not ended is one that was killed, and is forgotten; otherwise values that were
    set there before are kept.
    Raises CommandFailed.
    """
    values = {f"image.{key}": value for key, value in reference(images["services"]).items()}
    values |= {f"scheduler.image.{key}": value for key, value in reference(images["scheduler"]).items()}
    values |= SIMULATED if simulated else {}
    settings = [word for key, value in values.items() for word in ("--set-string", f"{key}={value}")]
    settings += [word for pair in more for word in ("--set", pair)]
    try:
        _upgrade(kube, settings, keep=not alone)
    except CommandFailed as problem:
        if PENDING not in problem.told:
            raise _explained(kube, problem) from problem
        if not alone:
            told = (
                f"{problem.told}\nIf that was helm that was killed, `helm rollback {RELEASE} --namespace"
                f" {names.SYSTEM_NAMESPACE}` ends it, or `helm uninstall` if it was the first one."
            )
            raise CommandFailed([kube.helm, "upgrade"], problem.code, told) from problem
        _forget_pending(kube)
        try:
            _upgrade(kube, settings, keep=False)
        except CommandFailed as another:
            raise _explained(kube, another) from another


def _upgrade(kube: Kube, settings: Sequence[str], *, keep: bool) -> None:
    """`keep`: values that somebody set when unigpu was installed there stay."""
    kube.run(
        *("upgrade", "--install", RELEASE, str(CHART), "--namespace", names.SYSTEM_NAMESPACE, "--create-namespace"),
        *("--wait", "--timeout", f"{PATIENCE}s", *settings),
        *(("--reset-then-reuse-values",) if keep else ()),
        program=kube.helm,
        timeout=PATIENCE + 30,
    )


def _forget_pending(kube: Kube) -> None:
    """Remove helm's record of what was killed; the next operation takes over the objects that it made."""
    selector = f"owner=helm,name={RELEASE},status in (pending-install,pending-upgrade,pending-rollback)"
    kube.run("delete", "secrets", "-n", names.SYSTEM_NAMESPACE, "-l", selector)


def _explained(kube: Kube, problem: CommandFailed) -> CommandFailed:
    return CommandFailed([kube.helm, "upgrade"], problem.code, f"{problem.told}\n{_state(kube)}")


def _state(kube: Kube) -> str:
    """What keeps the parts from being ready: the pods, and the last words of the containers that aren't."""
    namespace = ("-n", names.SYSTEM_NAMESPACE)
    try:
        told = [kube.run("get", "pods", *namespace)]
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
                    log = silent.told  # it has not been started
                told.append(f"{name}, container {container['name']}, its last words:\n{log}")
    return "\n".join(told)


def reference(image: str) -> dict[str, str]:
    """An image's name as the chart takes it; `registry` is all before the last slash, and is left out if there is none.

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
