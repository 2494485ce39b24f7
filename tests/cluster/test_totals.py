"""Totals: whole GPUs and percentages count as memory, and nodes publish vendors' capacities where the chart says so."""

import datetime
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cluster import images
from demo import install
from demo.kube import Kube, wait_for
from tests.cluster.test_own_words import pod
from unigpu import names

NAMESPACE = "totals"
PATIENCE = 180.0
GPUS = 4


@pytest.fixture
def namespace(kube: Kube) -> Iterator[str]:
    kube.namespace(NAMESPACE)
    yield NAMESPACE
    kube.run("delete", "pods", "--all", "-n", NAMESPACE, "--grace-period=0", "--force", timeout=PATIENCE)
    wait_for("all pods are gone", lambda: not kube.items("pods", NAMESPACE), PATIENCE)


def running(kube: Kube, count: int) -> set[str]:
    """Names of the pods, once so many run."""

    def look() -> set[str] | None:
        found = kube.items("pods", NAMESPACE)
        names_ = {one["metadata"]["name"] for one in found if one["status"].get("phase") == "Running"}
        return names_ if len(names_) == count else None

    return wait_for(f"{count} pods run", look, PATIENCE, lambda: kube.run("describe", "pods", "-n", NAMESPACE))


def mixed(gpu: int) -> dict[str, dict[str, str]]:
    """Limits of pods that leave room for a small share at most on each of four GPUs of this size."""
    return {
        "whole": {"nvidia.com/gpu": "1"},
        "percentage": {"nvidia.com/gpu": "1", "nvidia.com/gpumem-percentage": "75"},
        "half": {"tencent.com/vcuda-core": "50", "tencent.com/vcuda-memory": str(gpu // 2 // 256)},
        "other-half": {"aliyun.com/gpu-mem": str(gpu // 2 // 1024)},
        "most": {"aliyun.com/gpu-mem": str(gpu * 5 // 6 // 1024)},
    }


def test_a_pod_of_higher_priority_gets_the_gpu_of_one_victim(
    kube: Kube, namespace: str, gpu_mib: int, tell: Callable[[str], None]
) -> None:
    """By the totals there is no room, so the kube-scheduler looks for victims; one is enough.

    The two halves of a GPU start last, so that the kube-scheduler by itself would evict both.
    """
    kube.apply(
        [
            {
                "apiVersion": "scheduling.k8s.io/v1",
                "kind": "PriorityClass",
                "metadata": {"name": "totals-high"},
                "value": 1000,
            }
        ],
        namespace,
    )
    before = mixed(gpu_mib)
    last = {"half", "other-half"}
    kube.apply([pod(name, limits) for name, limits in before.items() if name not in last], namespace)
    running(kube, len(before) - len(last))
    started = [one["status"]["startTime"] for one in kube.items("pods", NAMESPACE)]
    latest = max(map(datetime.datetime.fromisoformat, started)) + datetime.timedelta(seconds=1)
    wait_for("a later second to start in", lambda: datetime.datetime.now(datetime.UTC) >= latest, PATIENCE)
    kube.apply([pod(name, before[name]) for name in sorted(last)], namespace)
    running(kube, len(before))
    urgent = pod("urgent", {"nvidia.com/gpu": "1"})
    urgent["spec"]["priorityClassName"] = "totals-high"
    kube.apply([urgent], namespace)
    left = running(kube, len(before))
    evicted = before.keys() - left
    tell(f"a whole GPU of higher priority: {', '.join(sorted(evicted))} was evicted")
    assert "urgent" in left and len(evicted) == 1
    kube.run("delete", "priorityclass", "totals-high")


def own(memory: int) -> dict[str, str]:
    return {names.RESOURCE_VGPU: "1", names.RESOURCE_MEMORY: str(memory)}


def told(kube: Kube, name: str) -> str | None:
    """What the scheduler's event says would help the pod."""
    selector = f"reason={names.EVENT_NO_ROOM},involvedObject.name={name}"
    found = kube.json("get", "events", "-n", NAMESPACE, "--field-selector", selector)["items"]
    return str(found[0]["message"]) if found else None


def explained(kube: Kube, name: str) -> str:
    command = [sys.executable, "-m", "cli", "explain", name, "-n", NAMESPACE, "--kubeconfig", str(kube.kubeconfig)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    return " ".join(done.stdout.partition("What would help")[2].partition("Latest events")[0].split())


def test_a_pod_that_fits_the_totals_and_no_gpu_is_told_what_helps(
    kube: Kube, namespace: str, gpu_mib: int, tell: Callable[[str], None]
) -> None:
    """Nobody is evicted for it. Both proposals of its event are followed, and help."""
    held, wanted = gpu_mib * 3 // 4, gpu_mib // 2
    kube.apply([pod(f"holder-{number}", own(held)) for number in range(GPUS)], namespace)
    running(kube, GPUS)
    kube.apply([pod("waits", own(wanted))], namespace)
    said = wait_for(
        "an event says what would help",
        lambda: told(kube, "waits"),
        PATIENCE,
        lambda: kube.run("describe", "pod", "waits", "-n", NAMESPACE),
    )
    tell(said)
    assert "so nobody is evicted there" in said
    less = re.search(r"With up to (\d+) MiB instead of \d+ MiB, the pod fits on node \S+\.", said)
    end = re.search(r"Once pod totals/(\S+) has ended, node \S+ takes it\.", said)
    assert less is not None and end is not None, said
    for proposal in (less[0], end[0]):
        assert proposal in explained(kube, "waits"), "the command line says the same"
    kube.apply([pod("smaller", own(int(less[1])))], namespace)
    assert "smaller" in running(kube, GPUS + 1)
    kube.run("delete", "pod", end[1], "-n", NAMESPACE, "--grace-period=1", timeout=PATIENCE)
    assert "waits" in running(kube, GPUS + 1)
    assert told(kube, "waits") == said, "one event"


@pytest.fixture
def publishing(kube: Kube, project: dict[str, images.Image]) -> Iterator[None]:
    by_role = {role: image.name for role, image in project.items()}
    install.install(kube, by_role, simulated=True, more=["nodeAgent.publishVendorResources=true"])
    yield
    install.install(kube, by_role, simulated=True)


def capacity(kube: Kube) -> dict[str, Any]:
    (node,) = kube.json("get", "nodes")["items"]
    found: dict[str, Any] = node["status"]["allocatable"]
    return found


def test_published_capacities_refuse_no_pod(kube: Kube, namespace: str, gpu_mib: int, publishing: None) -> None:
    wanted = {
        "aliyun.com/gpu-mem": str(GPUS * (gpu_mib // 1024)),
        "aliyun.com/gpu-count": "4",
        "tencent.com/vcuda-core": "400",
        "tencent.com/vcuda-memory": str(GPUS * (gpu_mib // 256)),
        "nvidia.com/gpu": "64",
    }
    wait_for("the node publishes", lambda: capacity(kube).items() >= wanted.items(), PATIENCE)
    described = kube.run("describe", "nodes")
    assert "tencent.com/vcuda-core:" in described
    half = gpu_mib // 2
    kube.apply([pod(f"aliyun-{number}", {"aliyun.com/gpu-mem": str(half // 1024)}) for number in range(4)], namespace)
    shares = {"tencent.com/vcuda-core": "50", "tencent.com/vcuda-memory": str(half // 256)}
    kube.apply([pod(f"tencent-{number}", shares) for number in range(2)], namespace)
    # Whole GPUs, with an amount of memory that has no effect and that no node has.
    kube.apply([pod("whole", {"tencent.com/vcuda-core": "100", "tencent.com/vcuda-memory": "9000"})], namespace)
    running(kube, 7)


def test_capacities_go_when_the_chart_says_so(kube: Kube) -> None:
    wait_for("nothing of them is left", lambda: "aliyun.com/gpu-mem" not in capacity(kube), PATIENCE)
    (node,) = kube.json("get", "nodes")["items"]
    assert names.ANNOTATION_PUBLISHED not in node["metadata"]["annotations"]
