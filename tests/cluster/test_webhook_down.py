"""No webhook answers: whatever the failure policy, nobody gets a GPU without limits, and other pods notice nothing."""

import functools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cluster import images
from demo import install, report
from demo.kube import CommandFailed, Kube, wait_for
from unigpu import names

PATIENCE = 120.0
NAMESPACE = "webhook-down"
DEPLOYMENT = ("deployment", names.SERVICE_WEBHOOK, "-n", names.SYSTEM_NAMESPACE)
Tell = Callable[[str], None]

ASKING: dict[str, dict[str, Any]] = {
    "alibaba": {"limits": {"aliyun.com/gpu-mem": "3"}},
    "tencent": {"limits": {"tencent.com/vcuda-core": "50", "tencent.com/vcuda-memory": "30"}},
    "whole-gpu": {"limits": {"nvidia.com/gpu": "1"}},
    "by-annotation": {"annotations": {"gpu-fraction": "0.5"}},
    "unified": {"limits": {names.RESOURCE_VGPU: "1", names.RESOURCE_MEMORY: "1024"}},
    "unified-to-our-scheduler": {
        "limits": {names.RESOURCE_VGPU: "1", names.RESOURCE_MEMORY: "1024"},
        "spec": {"schedulerName": names.SCHEDULER_NAME},
    },
}
"""Pods that a webhook would have translated. The last two ask for what the nodes have."""


def pod(name: str, image: str, asks: dict[str, Any]) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": image,
        "command": ["/usr/local/bin/probe", "--stay"],
        "resources": {"limits": asks.get("limits", {})},
    }
    metadata = {"name": name, "annotations": asks.get("annotations", {}), "labels": {"asks": "gpu"}}
    spec = {"terminationGracePeriodSeconds": 1, "containers": [container], **asks.get("spec", {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def plain(name: str, image: str) -> dict[str, Any]:
    """A pod without GPUs, which stays."""
    made = pod(name, image, {})
    made["metadata"]["labels"] = {"asks": "nothing"}
    made["spec"]["containers"][0]["command"] = ["sleep", "infinity"]
    return made


@pytest.fixture
def namespace(kube: Kube) -> Iterator[str]:
    kube.namespace(NAMESPACE)
    yield NAMESPACE
    kube.run("delete", "pods", "--all", "-n", NAMESPACE, "--grace-period=1", timeout=PATIENCE)
    wait_for("all pods are gone", lambda: not kube.items("pods", NAMESPACE), PATIENCE)
    kube.run("delete", "events", "--all", "-n", NAMESPACE)


@pytest.fixture
def down(kube: Kube, policy: str, project: dict[str, images.Image]) -> Iterator[None]:
    """No webhook, with this failure policy; afterwards the chart as it was."""
    by_role = {role: image.name for role, image in project.items()}
    install.install(kube, by_role, simulated=True, more=[f"webhook.failurePolicy={policy}"])
    kube.run("scale", *DEPLOYMENT, "--replicas=0")
    wait_for("no webhook is left", lambda: not webhooks(kube), PATIENCE)
    yield
    up(kube)
    install.install(kube, by_role, simulated=True)


def webhooks(kube: Kube) -> list[dict[str, Any]]:
    return kube.items("pods", names.SYSTEM_NAMESPACE, f"{names.LABEL_COMPONENT}=webhook")


def up(kube: Kube) -> None:
    kube.run("scale", *DEPLOYMENT, "--replicas=2")
    kube.run("rollout", "status", *DEPLOYMENT, f"--timeout={PATIENCE:.0f}s", timeout=PATIENCE + 10)


def create(kube: Kube, document: dict[str, Any]) -> dict[str, Any]:
    text = kube.run("create", "-n", NAMESPACE, "-f", "-", "-o", "json", stdin=json.dumps(document))
    made: dict[str, Any] = json.loads(text)
    return made


def lives_as_ever(kube: Kube, image: str, policy: str) -> None:
    """A pod without GPUs is created, changed and deleted as on a cluster that has no unigpu."""
    made = create(kube, plain(f"plain-{policy.lower()}", image))
    name = made["metadata"]["name"]
    assert names.ANNOTATION_REQUEST not in made["metadata"].get("annotations", {})
    assert made["spec"]["schedulerName"] == "default-scheduler"
    assert made["spec"]["containers"][0]["resources"] == {}
    wait_for("it runs", lambda: phase(kube, name) == "Running", PATIENCE, lambda: describe(kube, name))
    kube.run("label", "pod", name, "-n", NAMESPACE, "mine=x")
    kube.run("delete", "pod", name, "-n", NAMESPACE, "--grace-period=1", timeout=PATIENCE)


def phase(kube: Kube, name: str) -> str:
    return str(kube.json("get", "pod", name, "-n", NAMESPACE)["status"].get("phase", ""))


def describe(kube: Kube, name: str) -> str:
    return kube.run("describe", "pod", name, "-n", NAMESPACE)


def stuck(kube: Kube, name: str) -> str | None:
    """Why the pod's program doesn't run: the scheduler, the node, or the runtime says so; None while nobody does."""
    selector = f"type=Warning,involvedObject.name={name}"
    events = kube.json("get", "events", "-n", NAMESPACE, "--field-selector", selector)["items"]
    found = [event for event in events if event["reason"] != names.EVENT_ADMISSION_SKIPPED]
    return f"{found[-1]['reason']}: {found[-1]['message'].splitlines()[0]}" if found else None


@pytest.mark.parametrize("policy", ["Fail"])
def test_fail_refuses_pods_with_gpus_and_only_those(
    kube: Kube, probe_image: str, namespace: str, tell: Tell, policy: str, request: pytest.FixtureRequest
) -> None:
    create(kube, pod("earlier", probe_image, ASKING["alibaba"]))
    words = wait_for("an earlier pod sees its share", lambda: report.probe_output(kube, NAMESPACE, "earlier"), PATIENCE)
    assert [gpu["total_bytes"] for gpu in words["gpus"]] == [3072 << 20]
    request.getfixturevalue("down")
    for name, asks in ASKING.items():
        with pytest.raises(CommandFailed) as refused:
            create(kube, pod(name, probe_image, asks))
        assert "failed calling webhook" in refused.value.stderr
        tell(f"Fail    {name:26} refused: {refused.value.stderr.rpartition(': ')[2][:90]}")
    lives_as_ever(kube, probe_image, policy)
    tell(f"Fail    {'without GPUs':26} created, ran, changed, deleted")
    kube.run("label", "pod", "earlier", "-n", NAMESPACE, "mine=x")
    assert phase(kube, "earlier") == "Running"
    kube.run("delete", "pod", "earlier", "-n", NAMESPACE, "--grace-period=1", timeout=PATIENCE)
    tell(f"Fail    {'a pod from before':26} went on with its 3072 MiB, was changed and deleted")


@pytest.mark.parametrize("policy", ["Ignore"])
def test_ignore_lets_pods_in_without_gpus_and_they_are_reported(
    kube: Kube, probe_image: str, namespace: str, tell: Tell, down: None, policy: str
) -> None:
    for name, asks in ASKING.items():
        made = create(kube, pod(name, probe_image, asks))
        assert names.ANNOTATION_REQUEST not in made["metadata"].get("annotations", {})
    lives_as_ever(kube, probe_image, policy)
    tell(f"Ignore  {'without GPUs':26} created, ran, changed, deleted")
    for name in ASKING:
        if name == "by-annotation":  # to the scheduler it is a pod like any other: it runs, and finds no GPU
            words = wait_for(f"{name} reports what it sees", lambda: output(kube, "by-annotation"), PATIENCE)
            assert "gpus" not in words
            tell(f"Ignore  {name:26} runs without a GPU: {words}")
            continue
        why = wait_for(f"{name} is held up", functools.partial(stuck, kube, name), PATIENCE)
        assert phase(kube, name) != "Running" and report.probe_output(kube, NAMESPACE, name) is None
        tell(f"Ignore  {name:26} {phase(kube, name)}, {why[:110]}")
    up(kube)
    for name in ASKING:
        wait_for(f"{name} is reported", functools.partial(reported, kube, name), PATIENCE)
        tell(f"Ignore  {name:26} reported: event {names.EVENT_ADMISSION_SKIPPED}: {reported(kube, name)}")
    counts = wait_for("every replica counts them", lambda: counted(kube), PATIENCE)
    tell(f"Ignore  {names.METRIC_WEBHOOK_SKIPPED} {counts}")


def output(kube: Kube, name: str) -> str | None:
    """What the pod's program printed."""
    try:
        return kube.run("logs", "-n", NAMESPACE, name).strip() or None
    except CommandFailed:
        return None


def reported(kube: Kube, name: str) -> str | None:
    """The message of the event on the pod."""
    selector = f"reason={names.EVENT_ADMISSION_SKIPPED},involvedObject.name={name}"
    events = kube.json("get", "events", "-n", NAMESPACE, "--field-selector", selector)["items"]
    assert len(events) < 2, "reported twice"
    return str(events[0]["message"]) if events else None


def counted(kube: Kube) -> list[int] | None:
    """What each replica's metric says, once all count every pod."""
    folder = f"/api/v1/namespaces/{names.SYSTEM_NAMESPACE}/pods"
    found = []
    for replica in webhooks(kube):
        page = kube.raw(f"{folder}/{replica['metadata']['name']}:{names.PORT_WEBHOOK_METRICS}/proxy/metrics")
        found += [
            int(float(line.split()[1]))
            for line in page.splitlines()
            if line.startswith(f"{names.METRIC_WEBHOOK_SKIPPED} ")
        ]
    ours = len(ASKING)
    return found if found == [ours, ours] else None
