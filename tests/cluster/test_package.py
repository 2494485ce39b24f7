"""An installation's whole life while a pod runs: upgraded, rolled back, removed, installed again.

On the way a namespace goes back to the system that it came from, as the migration guides say, and moves in again.
It takes minutes, in which no other test has an installation: `make check-package` and `make check-versions` run it.
"""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from cluster import images
from demo import install
from demo.kube import Kube, wait_for
from tests.cluster import harness
from unigpu import names

LONG = bool(os.environ.get("UNIGPU_SOAK")) or bool(harness.KUBERNETES)
NAMESPACE = "package"
PATIENCE = 180.0
MIB = 3 * 1024
PROBE = "/usr/local/bin/probe"
CLUSTER_WIDE = (
    "clusterroles,clusterrolebindings,mutatingwebhookconfigurations,validatingwebhookconfigurations,priorityclasses"
)
POLICIES = "validatingadmissionpolicies,validatingadmissionpolicybindings"
IN_NAMESPACE = "all,configmaps,secrets,serviceaccounts,roles,rolebindings,leases,networkpolicies,poddisruptionbudgets"


def template(image: str, limits: dict[str, str]) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": image,
        "command": [PROBE, "--stay", "--no-take"],
        "resources": {"limits": limits},
    }
    spec = {"terminationGracePeriodSeconds": 1, "containers": [container]}
    return {"metadata": {"labels": {"app": "moves"}}, "spec": spec}


@pytest.fixture
def namespace(kube: Kube, project: dict[str, images.Image]) -> Iterator[str]:
    """Its pods end, and the chart is installed as the other tests expect it, whatever happened."""
    kube.namespace(NAMESPACE)
    yield NAMESPACE
    install.install(kube, {role: image.name for role, image in project.items()}, simulated=True)
    kube.run("delete", "deployments,pods", "--all", "-n", NAMESPACE, "--grace-period=1", timeout=PATIENCE)
    wait_for("all pods are gone", lambda: not kube.items("pods", NAMESPACE), PATIENCE)


def helm(kube: Kube, command: str, *arguments: str) -> str:
    where = ("-n", names.SYSTEM_NAMESPACE, "--wait", "--timeout", f"{PATIENCE:.0f}s")
    return kube.run(command, install.RELEASE, *arguments, *where, program=kube.helm, timeout=PATIENCE + 30)


def is_translated(pod: dict[str, Any]) -> bool:
    return names.ANNOTATION_REQUEST in pod["metadata"].get("annotations", {})


def moved(kube: Kube, *, translated: bool) -> None:
    """Restart the deployment; its new pod belongs to unigpu, or is left to the system that was there before."""
    before = {one["metadata"]["uid"] for one in kube.items("pods", NAMESPACE, "app=moves")}
    kube.run("rollout", "restart", "deployment", "moves", "-n", NAMESPACE)

    def is_there() -> bool:
        found = kube.items("pods", NAMESPACE, "app=moves")
        return bool(found) and all(
            one["metadata"]["uid"] not in before and is_translated(one) == translated for one in found
        )

    wait_for(f"a new pod, {translated=}", is_there, PATIENCE, lambda: kube.run("get", "pods", "-n", NAMESPACE))
    if translated:
        kube.run("rollout", "status", "deployment", "moves", "-n", NAMESPACE, timeout=PATIENCE)


def holds(kube: Kube, name: str) -> int:
    """MiB that a program sees which starts in the pod now."""
    said = kube.run("exec", "-n", NAMESPACE, name, "--", PROBE, "--no-take")
    return int(json.loads(said)["gpus"][0]["total_bytes"]) >> 20


def left(kube: Kube, cluster_wide: str) -> list[str]:
    """Everything of the chart, and everything that its parts write at run time."""
    names_left = kube.run("get", cluster_wide, "-o", "name").split()
    names_left += kube.run("get", IN_NAMESPACE, "-n", names.SYSTEM_NAMESPACE, "-o", "name").split()
    (node,) = kube.json("get", "nodes")["items"]
    written = [*node["metadata"].get("annotations", {}), *node["metadata"]["labels"]]
    # The kubelet itself offers no slots any more, and forgets their capacity later.
    written += [name for name, amount in node["status"]["allocatable"].items() if amount != "0"]
    found = [*names_left, *written]
    return [name for name in found if names.DOMAIN in name or "unigpu-" in name]


@pytest.mark.skipif(not LONG, reason="takes minutes; `make check-package` runs it")
def test_pods_keep_their_limits_while_the_package_comes_and_goes(
    kube: Kube, namespace: str, probe_image: str, project: dict[str, images.Image]
) -> None:
    stays = template(probe_image, {"aliyun.com/gpu-mem": str(MIB // 1024)})
    stays = {"apiVersion": "v1", "kind": "Pod", **stays, "metadata": {"name": "stays"}}
    spec = {
        "replicas": 1,
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": {"app": "moves"}},
        "template": template(probe_image, {"nvidia.com/gpu": "1", "nvidia.com/gpumem": "1000"}),
    }
    moves = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "moves"}, "spec": spec}
    kube.apply([stays, moves], namespace)
    kube.run("wait", "pod/stays", "-n", namespace, "--for=condition=Ready", f"--timeout={PATIENCE:.0f}s", timeout=200)
    kube.run("rollout", "status", "deployment", "moves", "-n", namespace, timeout=PATIENCE)
    allocation = kube.json("get", "pod", "stays", "-n", namespace)["metadata"]["annotations"][
        names.ANNOTATION_ALLOCATION
    ]

    def undisturbed() -> None:
        pod = kube.json("get", "pod", "stays", "-n", namespace)
        (status,) = pod["status"]["containerStatuses"]
        assert (status["restartCount"], status["ready"]) == (0, True)
        assert pod["metadata"]["annotations"][names.ANNOTATION_ALLOCATION] == allocation
        assert holds(kube, "stays") == MIB

    undisturbed()
    excluded = ("--set", f"webhook.excludedNamespaces={{{NAMESPACE}}}", "--set", "log.level=debug")
    helm(kube, "upgrade", str(install.CHART), "--reset-then-reuse-values", *excluded)
    undisturbed()
    moved(kube, translated=False)

    helm(kube, "rollback")
    undisturbed()
    moved(kube, translated=True)

    helm(kube, "uninstall")
    undisturbed()
    # Kubernetes 1.29 doesn't serve policies.
    policies = f",{POLICIES}" if "validatingadmissionpolicies" in kube.run("api-resources") else ""
    kinds = f"{CLUSTER_WIDE}{policies}"
    wait_for("nothing is left", lambda: not left(kube, kinds), PATIENCE, lambda: str(left(kube, kinds)))
    events = kube.items("events", namespace)
    told = {one["involvedObject"]["name"] for one in events if one["reason"] == "UnigpuRemoved"}
    assert "stays" in told

    install.install(kube, {role: image.name for role, image in project.items()}, simulated=True)
    undisturbed()
    moved(kube, translated=True)
