"""Programs that bypass libvgpu, and programs without a grant: seen, said, counted, and forgotten when they end."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from demo import install, report
from demo.kube import Kube, wait_for
from unigpu import gpus, names

NAMESPACE = "breach"
PATIENCE = 120.0
PROMISED = 5.0
"""Seconds after which the agent notices. A busy machine may take longer; the test prints what it took."""
PROBE = "/usr/local/bin/probe"
STATE = install.SIMULATED["nodeAgent.driver.simulated.state"]
LIBRARIES = install.SIMULATED["nodeAgent.driver.simulated.libraries"]
OWN_LOADER = (
    "sed s#/etc/ld.so.preload#/etc/ld.so.prelaod# /lib64/ld-linux-x86-64.so.2 > /tmp/ld.so && chmod +x /tmp/ld.so"
    f" && exec /tmp/ld.so {PROBE} --no-take --hold 13000 --stay"
)
"""A copy of the dynamic linker that loads no libvgpu."""
Tell = Callable[[str], None]


@pytest.fixture
def namespace(kube: Kube) -> Iterator[str]:
    kube.namespace(NAMESPACE)
    wait_for("no breach is left", lambda: not published(kube), PATIENCE, lambda: f"Still published: {published(kube)}")
    for place in (NAMESPACE, "default"):  # those of nodes are in the latter
        kube.run("delete", "events", "--all", "-n", place)
    yield NAMESPACE
    kube.run("delete", "pods", "--all", "-n", NAMESPACE, "--grace-period=1", timeout=PATIENCE)
    wait_for("all pods are gone", lambda: not kube.items("pods", NAMESPACE), PATIENCE)


def pod(name: str, image: str, command: list[str], memory: int) -> dict[str, Any]:
    limits = {names.RESOURCE_VGPU: "1", names.RESOURCE_MEMORY: str(memory)}
    container = {"name": "main", "image": image, "command": command, "resources": {"limits": limits}}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 1, "restartPolicy": "Never"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def stranger(name: str, image: str, memory: int) -> dict[str, Any]:
    """A pod that asks for nothing and takes memory of every GPU, by way of the node's folders."""
    document = pod(name, image, [PROBE, "--no-take", "--hold", str(memory), "--stay"], 0)
    container = document["spec"]["containers"][0]
    del container["resources"]
    container["env"] = [{"name": "UNIGPU_SIM_DIR", "value": STATE}, {"name": "LD_LIBRARY_PATH", "value": LIBRARIES}]
    folders = {"state": STATE, "libraries": LIBRARIES}
    container["volumeMounts"] = [{"name": key, "mountPath": folder} for key, folder in folders.items()]
    document["spec"]["volumes"] = [{"name": key, "hostPath": {"path": folder}} for key, folder in folders.items()]
    return document


def told(kube: Kube, reason: str, kind: str) -> list[str]:
    """Messages of the events with this reason, about pods of this test or about nodes."""
    namespace = NAMESPACE if kind == "Pod" else "default"
    return [
        event["message"]
        for event in kube.items("events", namespace)
        if event["reason"] == reason and event["involvedObject"]["kind"] == kind
    ]


def foreign(kube: Kube) -> list[int]:
    """MiB of each GPU of the node that nobody was granted."""
    (node,) = kube.json("get", "nodes")["items"]
    return [gpu.foreign for gpu in gpus.load(node["metadata"]["annotations"][names.ANNOTATION_INVENTORY])]


def samples(kube: Kube, name: str) -> list[tuple[dict[str, str], float]]:
    return [
        (sample.labels, sample.value)
        for page in report.pages(kube).values()
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name
    ]


def published(kube: Kube) -> set[tuple[str, str]]:
    """Pod and kind of each breach that the metrics have."""
    return {(labels["pod"], labels["kind"]) for labels, _ in samples(kube, names.METRIC_CONTAINER_BREACH)}


def holds(kube: Kube, name: str) -> Any:
    return report.probe_output(kube, NAMESPACE, name)


def describe(kube: Kube, name: str) -> str:
    return kube.run("describe", "pod", "-n", NAMESPACE, name) + kube.run("logs", "-n", NAMESPACE, name)


def condition(kube: Kube, name: str) -> str:
    """Why the pod isn't scheduled; empty: it is, or nobody tried yet."""
    status = kube.json("get", "pod", "-n", NAMESPACE, name)["status"]
    return "".join(
        str(one.get("message", ""))
        for one in status.get("conditions", [])
        if one["type"] == "PodScheduled" and one["status"] == "False"
    )


def test_a_stranger_is_seen_and_counted(kube: Kube, probe_image: str, namespace: str, gpu_mib: int, tell: Tell) -> None:
    kube.apply([stranger("stranger", probe_image, 20_000)], namespace)
    wait_for("the stranger holds memory", lambda: holds(kube, "stranger"), PATIENCE, lambda: describe(kube, "stranger"))
    began = time.monotonic()
    for kind in ("Pod", "Node"):
        texts = wait_for(f"events on the {kind}", lambda: told(kube, names.EVENT_STRANGER, kind), PATIENCE)  # noqa: B023
        assert "container main has no grant on this node and holds 20" in texts[0]
    tell(f"stranger: noticed within {time.monotonic() - began:.1f} s; promised {PROMISED:.0f} s")
    wait_for("all four GPUs count it", lambda: sum(gpu >= 20_000 for gpu in foreign(kube)) == 4, PATIENCE)
    wait_for(
        "metrics say so",
        lambda: sum(value >= 20_000 << 20 for _, value in samples(kube, names.METRIC_GPU_FOREIGN)) == 4,
        PATIENCE,
    )

    kube.apply([pod("large", probe_image, [PROBE, "--stay"], gpu_mib - 10_000)], namespace)
    kube.apply([pod("small", probe_image, [PROBE, "--step", "64", "--stay"], 2000)], namespace)
    wait_for("a small pod finds room", lambda: holds(kube, "small"), PATIENCE, lambda: describe(kube, "small"))
    reason = wait_for("the large pod is refused", lambda: condition(kube, "large"), PATIENCE)
    assert "too little free memory" in reason

    kube.run("delete", "pod", "stranger", "-n", namespace, "--grace-period=1", timeout=PATIENCE)
    wait_for("the end is said", lambda: told(kube, names.EVENT_STRANGER_GONE, "Node"), PATIENCE)
    wait_for("nothing is foreign any more", lambda: not any(foreign(kube)), PATIENCE)
    wait_for("the large pod finds room", lambda: holds(kube, "large"), PATIENCE, lambda: describe(kube, "large"))


def test_a_program_that_bypasses_libvgpu(kube: Kube, probe_image: str, namespace: str, tell: Tell) -> None:
    kube.apply([pod("honest", probe_image, [PROBE, "--step", "64", "--stay"], 3200)], namespace)
    kube.apply([pod("cheat", probe_image, ["sh", "-c", OWN_LOADER], 3200)], namespace)
    seen = wait_for("the program runs", lambda: holds(kube, "cheat"), PATIENCE, lambda: describe(kube, "cheat"))
    began = time.monotonic()
    assert seen["gpus"][0]["total_bytes"] > 20 << 30, f"libvgpu was loaded: {seen}"
    texts = wait_for(
        "both breaches have an event",
        lambda: texts if len(texts := told(kube, names.EVENT_BREACH, "Pod")) >= 2 else None,
        PATIENCE,
        lambda: json.dumps(told(kube, names.EVENT_BREACH, "Node")),
    )
    tell(f"breach: noticed within {time.monotonic() - began:.1f} s; promised {PROMISED:.0f} s")
    assert any("and 3200 MiB are granted" in text for text in texts)
    assert any("without libvgpu" in text for text in texts)
    ours = [text for text in told(kube, names.EVENT_BREACH, "Node") if f"pod {NAMESPACE}/" in text]
    assert ours and all(text.startswith(f"pod {NAMESPACE}/cheat: ") for text in ours)
    wait_for("the node counts it", lambda: sum(amount > 9000 for amount in foreign(kube)) == 1, PATIENCE)
    wanted = {("cheat", "memory"), ("cheat", "unmanaged")}
    wait_for("metrics say so", lambda: published(kube) == wanted, PATIENCE, lambda: str(published(kube)))

    kube.run("delete", "pod", "cheat", "-n", namespace, "--grace-period=1", timeout=PATIENCE)
    wait_for("the node is itself again", lambda: not any(foreign(kube)), PATIENCE)
    wait_for("and so are the metrics", lambda: not published(kube), PATIENCE, lambda: str(published(kube)))
    assert holds(kube, "honest")["gpus"][0]["total_bytes"] == 3200 << 20


def test_a_breach_is_ended_where_the_chart_says_so(
    kube: Kube, probe_image: str, namespace: str, project: dict[str, Any]
) -> None:
    images = {role: image.name for role, image in project.items()}
    install.install(kube, images, simulated=True, more=["nodeAgent.onBreach=end"])
    try:
        kube.apply([pod("cheat", probe_image, ["sh", "-c", OWN_LOADER], 3200)], namespace)
        wait_for(
            "the program is ended",
            lambda: kube.json("get", "pod", "-n", namespace, "cheat")["status"].get("phase") == "Failed",
            PATIENCE,
            lambda: describe(kube, "cheat"),
        )
        wait_for("an event says so", lambda: told(kube, names.EVENT_OFFENDERS_KILLED, "Pod"), PATIENCE)
        (status,) = kube.json("get", "pod", "-n", namespace, "cheat")["status"]["containerStatuses"]
        assert status["state"]["terminated"]["exitCode"] == 137
    finally:
        install.install(kube, images, simulated=True)
