"""The four values of `ack.node.gpu.schedule`: which pods a node takes, and what its containers see."""

from collections.abc import Iterator
from typing import Any

import pytest

from demo import report
from demo.kube import Kube, wait_for
from unigpu import names
from unigpu.units import BYTES_PER_MIB

NAMESPACE = "modes"
PATIENCE = 120.0
SHARE = {"aliyun.com/gpu-mem": "3"}
WHOLE = {"aliyun.com/gpu": "1"}


@pytest.fixture(params=["share", "cgpu", "topology", "default"])
def mode(kube: Kube, request: pytest.FixtureRequest) -> Iterator[str]:
    kube.namespace(NAMESPACE)
    kube.run("label", "nodes", "--all", "--overwrite", f"{names.LABEL_ACK_SCHEDULE}={request.param}")
    yield request.param
    kube.run("delete", "pods", "--all", "-n", NAMESPACE, "--grace-period=1", timeout=PATIENCE)
    kube.run("label", "nodes", "--all", f"{names.LABEL_ACK_SCHEDULE}-")


def pod(name: str, image: str, limits: dict[str, str]) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": image,
        "command": ["/usr/local/bin/probe", "--step", "64", "--stay"],
        "resources": {"limits": limits},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
    }


def test_a_node_takes_what_its_mode_says_and_isolates_accordingly(
    kube: Kube, probe_image: str, gpu_mib: int, mode: str
) -> None:
    kube.apply([pod("share", probe_image, SHARE), pod("whole", probe_image, WHOLE)], NAMESPACE)
    runs, waits = ("share", "whole") if mode in ("share", "cgpu") else ("whole", "share")
    words = wait_for(
        f"{runs} runs", lambda: report.probe_output(kube, NAMESPACE, runs), PATIENCE, lambda: describe(kube, runs)
    )
    (gpu,) = words["gpus"]
    assert gpu["total_bytes"] == (3072 if mode == "cgpu" else gpu_mib) * BYTES_PER_MIB
    wait_for(
        f"an event says why {waits} waits",
        lambda: "mode " + mode in kube.run("get", "events", "-n", NAMESPACE, "-o", "wide"),
        PATIENCE,
        lambda: describe(kube, waits),
    )
    assert kube.json("get", "pod", "-n", NAMESPACE, waits)["status"]["phase"] == "Pending"


def describe(kube: Kube, name: str) -> str:
    return kube.run("describe", "pod", "-n", NAMESPACE, name)
