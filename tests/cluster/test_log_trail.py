"""One search by a pod's UID finds its whole way in the logs of all parts: admission, placement, grant, release."""

import json
from typing import Any

from demo.kube import Kube, wait_for
from tests.cluster.test_breach import PROBE
from unigpu import names

NAMESPACE = "trail"
PATIENCE = 180.0
SYSTEM = names.SYSTEM_NAMESPACE
WAY = (
    ("webhook", "webhook", "reviewed"),
    ("scheduler", "extender", "bound"),
    ("node-agent", "deviceplugin", "allocated"),
    ("node-agent", "deviceplugin", "released"),
)
"""Component, container and event, in the order in which a pod meets them."""


def lines(kube: Kube, component: str, container: str, uid: str) -> list[dict[str, Any]]:
    """What all replicas of a part have logged of the pod."""
    found = []
    for pod in kube.items("pods", SYSTEM, f"{names.LABEL_COMPONENT}={component}"):
        text = kube.run("logs", "-n", SYSTEM, pod["metadata"]["name"], "-c", container)
        found += [json.loads(line) for line in text.splitlines() if uid in line]
    return found


def trail(kube: Kube, uid: str) -> list[dict[str, Any]]:
    """All that is said of the pod, in order."""
    parts = dict.fromkeys((component, container) for component, container, _ in WAY)
    return sorted((line for part in parts for line in lines(kube, *part, uid)), key=lambda line: str(line["time"]))


def test_a_pods_uid_finds_its_whole_way(kube: Kube, probe_image: str) -> None:
    kube.namespace(NAMESPACE)
    container = {
        "name": "main",
        "image": probe_image,
        "command": [PROBE, "--stay"],
        "resources": {"limits": {"aliyun.com/gpu-mem": "1"}},
    }
    spec = {"containers": [container], "terminationGracePeriodSeconds": 1}
    labels = {"matchLabels": {"app": "followed"}}
    template = {"metadata": {"labels": labels["matchLabels"]}, "spec": spec}
    controller = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "followed"}}
    kube.apply([{**controller, "spec": {"selector": labels, "template": template}}], NAMESPACE)

    def running() -> dict[str, Any] | None:
        pods = kube.items("pods", NAMESPACE)
        return pods[0] if pods and pods[0]["status"].get("phase") == "Running" else None

    pod = wait_for("the pod runs", running, PATIENCE)["metadata"]
    kube.run("delete", "deployment", "followed", "-n", NAMESPACE, timeout=PATIENCE)

    def whole() -> list[dict[str, Any]] | None:
        found = trail(kube, pod["uid"])
        return found if any(line["message"] == "released" for line in found) else None

    found = wait_for("its grant is released", whole, PATIENCE, lambda: str(trail(kube, pod["uid"])))
    said = [line["message"] for line in found]
    steps = [said.index(event) for _, _, event in WAY]
    assert steps == sorted(steps), said
    assert {(line["pod"], line["pod_uid"]) for line in found} == {(f"{NAMESPACE}/{pod['name']}", pod["uid"])}
    kube.run("delete", "namespace", NAMESPACE, "--wait=false")
