"""Thirty pods of random mixed requests at once, round after round: each runs on the GPUs that its allocation names."""

import os
import random
from typing import Any

import pytest

from demo import report
from demo.kube import Kube, wait_for
from unigpu import allocations, names, requests

ROUNDS = int(os.environ.get("UNIGPU_ROUNDS", "2"))
"""`make soak` and `make check-allocation` ask for more."""
PODS = 30
PATIENCE = 180.0
NAMESPACE = "exact"


def wish(random_source: random.Random) -> dict[str, str]:
    """Limits of one container, in one of the vendors' languages; 60 of the largest fit four GPUs of 24 GiB."""
    return random_source.choice(
        [
            {"aliyun.com/gpu-mem": "1"},
            {"tencent.com/vcuda-core": str(random_source.choice([3, 5])), "tencent.com/vcuda-memory": "4"},
            {"nvidia.com/gpu": "1", "nvidia.com/gpumem": str(random_source.randint(600, 1500))},
            {
                "nvidia.com/gpu": "2",
                "nvidia.com/gpumem": str(random_source.randint(500, 750)),
                "nvidia.com/gpucores": "3",
            },
            {names.RESOURCE_VGPU: "1", names.RESOURCE_MEMORY: str(random_source.randint(600, 1500))},
        ]
    )


def pod(name: str, image: str, random_source: random.Random) -> dict[str, Any]:
    containers = [
        {
            "name": f"c{number}",
            "image": image,
            "command": ["/usr/local/bin/probe", "--step", "64", "--stay"],
            "resources": {"limits": wish(random_source)},
        }
        for number in range(random_source.choice([1, 1, 1, 2]))
    ]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": containers, "terminationGracePeriodSeconds": 1},
    }


@pytest.mark.parametrize("turn", range(ROUNDS))
def test_every_container_runs_on_the_gpus_that_its_allocation_names(kube: Kube, probe_image: str, turn: int) -> None:
    source = random.Random(f"round {turn}")
    kube.namespace(NAMESPACE)
    wanted = [pod(f"round-{turn}-{number}", probe_image, source) for number in range(PODS)]
    try:
        kube.apply(wanted, NAMESPACE)
        running = wait_for(f"{PODS} pods run", lambda: all_run(kube), PATIENCE, lambda: state(kube))
        for one in running:
            for container in one["spec"]["containers"]:
                check(kube, one, container["name"])
    finally:
        kube.run("delete", "pods", "--all", "-n", NAMESPACE, "--wait=true", timeout=PATIENCE)


def all_run(kube: Kube) -> list[dict[str, Any]] | None:
    pods = kube.items("pods", NAMESPACE)
    failed = {one["metadata"]["name"]: one["status"] for one in pods if one["status"].get("phase") == "Failed"}
    assert not failed, f"the kubelet refused or a container ended: {failed}"
    running = [one for one in pods if one["status"].get("phase") == "Running"]
    return running if len(running) == PODS else None


def state(kube: Kube) -> str:
    return kube.run("get", "pods", "-n", NAMESPACE, "-o", "wide") + kube.run(
        "get", "events", "-n", NAMESPACE, "--field-selector", "type=Warning"
    )


def check(kube: Kube, one: dict[str, Any], container: str) -> None:
    notes = one["metadata"]["annotations"]
    shares = allocations.load(notes[names.ANNOTATION_ALLOCATION]).containers[container]
    request = requests.load(notes[names.ANNOTATION_REQUEST]).containers[container]
    words = wait_for(
        f"the program of {one['metadata']['name']}/{container} reports what it sees",
        lambda: report.probe_output(kube, NAMESPACE, one["metadata"]["name"], container),
        PATIENCE,
    )
    assert [gpu["uuid"] for gpu in words["gpus"]] == [share.gpu for share in shares]
    for gpu, share in zip(words["gpus"], shares, strict=True):
        assert share.memory == request.memory
        assert gpu["total_bytes"] == share.memory << 20
        assert 0 < gpu["taken_mib"] <= share.memory
        assert gpu["error"] == "CUDA_ERROR_OUT_OF_MEMORY"
