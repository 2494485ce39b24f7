"""What `kubectl describe` says of a pod's GPUs, and of its controller's, without asking anybody else."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from demo.kube import Kube, wait_for
from unigpu import names

NAMESPACE = "events"
PATIENCE = 180.0
LIMITS = {"nvidia.com/vgpu": "1", "nvidia.com/gpumem": "200"}
WITHOUT_EFFECT = {"nvidia.com/vgpu-mode": "mps"}


@pytest.fixture
def namespace(kube: Kube) -> Iterator[str]:
    # A webhook that ends takes the events with it that it was about to write.
    webhooks = f"{names.LABEL_COMPONENT}=webhook"
    wait_for(
        "no webhook of an earlier installation is left",
        lambda: all(
            "deletionTimestamp" not in one["metadata"] for one in kube.items("pods", names.SYSTEM_NAMESPACE, webhooks)
        ),
        PATIENCE,
    )
    kube.namespace(NAMESPACE)
    yield NAMESPACE
    kube.run("delete", "deployments", "--all", "-n", NAMESPACE, "--grace-period=1", timeout=PATIENCE)
    wait_for("all pods are gone", lambda: not kube.items("pods", NAMESPACE), PATIENCE)


def described(kube: Kube, kind: str, name: str, *parts: str) -> str:
    """The description, once it has all of these parts."""

    def look() -> str | None:
        # kubectl breaks no lines, but aligns columns.
        text = re.sub(r" +", " ", kube.run("describe", kind, name, "-n", NAMESPACE))
        return text if all(part in text for part in parts) else None

    return wait_for(
        f"{kind} {name} says {parts}", look, PATIENCE, lambda: kube.run("describe", kind, name, "-n", NAMESPACE)
    )


def test_a_pod_and_its_controller_say_what_happened(kube: Kube, probe_image: str, namespace: str) -> None:
    template: dict[str, Any] = {
        "metadata": {"labels": {"app": "web"}, "annotations": WITHOUT_EFFECT},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {
                    "name": "main",
                    "image": probe_image,
                    "command": ["/usr/local/bin/probe", "--stay"],
                    "resources": {"limits": LIMITS},
                }
            ],
        },
    }
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    web = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}
    kube.apply([web], namespace)
    wait_for("its pod exists", lambda: kube.items("pods", NAMESPACE), PATIENCE)
    (pod,) = (one["metadata"]["name"] for one in kube.items("pods", NAMESPACE))
    (replica_set,) = (one["metadata"]["name"] for one in kube.items("replicasets", NAMESPACE))

    text = described(kube, "pod", pod, names.EVENT_GPU_ASSIGNED, names.EVENT_MEMORY_REFUSED)
    assert re.search(r"Normal GpuAssigned .* container main: GPU \d \(.*\): 200 MiB of its memory", text)
    assert re.search(r"Warning GpuMemoryRefused .* container main was refused memory of GPU \d", text)
    assert f"accepted: kubectl unigpu limit {pod} -n {namespace} -c main --memory MIB" in text

    text = described(kube, "replicaset", replica_set, names.EVENT_REQUEST_WARNING)
    assert "its pods: pod: annotation nvidia.com/vgpu-mode = mps: has no effect: " in text

    kube.run("annotate", "pod", pod, "-n", namespace, f"{names.ANNOTATION_LIMITS}=memory=190")
    described(kube, "pod", pod, names.EVENT_LIMITS_CHANGED)
    kube.run("delete", "pod", pod, "-n", namespace, "--grace-period=1", timeout=PATIENCE)
    text = described(kube, "replicaset", replica_set, names.EVENT_LIMITS_ENDED)
    assert f"the next pod of ReplicaSet {replica_set} starts as requested (main: 200 MiB)" in text


def test_a_pod_that_seems_to_ask_for_a_gpu_is_told_that_it_does_not(
    kube: Kube, probe_image: str, namespace: str
) -> None:
    """On a node of ACK such a pod sees every GPU; here it runs without one, and its controller says why."""
    container = {
        "name": "main",
        "image": probe_image,
        "command": ["sleep", "100000"],
        "env": [{"name": "CGPU_DISABLE", "value": "true"}],
    }
    template = {
        "metadata": {"labels": {"app": "open"}, "annotations": {"gpu-fractionn": "0.5"}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
    }
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "open"}}, "template": template}
    kube.apply([{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "open"}, "spec": spec}], namespace)
    wait_for("its pod exists", lambda: kube.items("pods", NAMESPACE), PATIENCE)
    (replica_set,) = (one["metadata"]["name"] for one in kube.items("replicasets", NAMESPACE))
    described(
        kube,
        "replicaset",
        replica_set,
        "container main: env CGPU_DISABLE = true: has no effect without a request for a GPU",
        "pod: annotation gpu-fractionn = 0.5: unknown, has no effect; accepted: annotation gpu-fraction",
    )
