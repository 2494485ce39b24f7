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


def install(kube: Kube, images: Mapping[str, str], *, simulated: bool, more: Sequence[str] = ()) -> None:
    """Install the chart, or bring it up to date, and wait until every part is ready.

    `images` by role: services and scheduler. `more`: further `--set` values, `key=value`.
    Raises CommandFailed.
    """
    values = {f"image.{key}": value for key, value in reference(images["services"]).items()}
    values |= {f"scheduler.image.{key}": value for key, value in reference(images["scheduler"]).items()}
    values |= SIMULATED if simulated else {}
    settings = [word for key, value in values.items() for word in ("--set-string", f"{key}={value}")]
    settings += [word for pair in more for word in ("--set", pair)]
    try:
        kube.run(
            *("upgrade", "--install", RELEASE, str(CHART), "--namespace", names.SYSTEM_NAMESPACE, "--create-namespace"),
            *("--wait", "--timeout", f"{PATIENCE}s", *settings),
            program=kube.helm,
            timeout=PATIENCE + 30,
        )
    except CommandFailed as problem:
        raise CommandFailed([kube.helm, "upgrade"], problem.code, f"{problem.told}\n{_state(kube)}") from problem


def _state(kube: Kube) -> str:
    """What keeps the parts from being ready: the pods, and the last words of the containers that aren't."""
    namespace = ("-n", names.SYSTEM_NAMESPACE)
    told = [kube.run("get", "pods", *namespace)]
    for pod in kube.items("pods", names.SYSTEM_NAMESPACE):
        for container in pod["status"].get("containerStatuses", []):
            if not container["ready"]:
                name = pod["metadata"]["name"]
                log = kube.run("logs", *namespace, name, "-c", container["name"], "--tail=12")
                told.append(f"{name}, container {container['name']}, its last words:\n{log}")
    return "\n".join(told)


def reference(image: str) -> dict[str, str]:
    """`repository` and `tag` of an image's name; the registry, if there is one, stays in the repository.

    >>> reference("unigpu:0123")
    {'repository': 'unigpu', 'tag': '0123'}
    """
    repository, colon, tag = image.rpartition(":")
    if not colon or "/" in tag:
        return {"repository": image, "tag": "latest"}
    return {"repository": repository, "tag": tag}
