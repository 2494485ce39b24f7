"""kill -9 of each part, one after another, while pods come and go: nobody runs without limits, or on a full GPU."""

import contextlib
import functools
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo import report
from demo.kube import CommandFailed, Kube, wait_for
from unigpu import allocations, names, requests
from unigpu.allocations import GpuUsage
from unigpu.units import GpuUuid

NAMESPACE = "faults"
PATIENCE = 150.0
PARTS = {
    "webhook": ["-m", "webhook"],
    "extender": ["-m", "scheduler"],
    "device plugin": ["-m", "deviceplugin"],
    "exporter": ["-m", "exporter"],
    "kubelet": ["kubelet"],
}
"""Words of the command line by which each part is found."""


def processes(cgroup: str, words: list[str]) -> list[int]:
    """Processes of the test's cluster, and of no other, whose command line has these words."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            command = (folder / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
            stripped = [Path(command[0]).name, *command[1:]]
            is_part = any(stripped[start : start + len(words)] == words for start in range(len(stripped)))
            if is_part and cgroup in (folder / "cgroup").read_text():
                found.append(int(folder.name))
    return found


class Churn(threading.Thread):
    """Create and delete pods until it is stopped."""

    def __init__(self, kube: Kube, image: str) -> None:
        super().__init__(name="churn")
        self._kube = kube
        self._image = image
        self.stop = threading.Event()
        self.made = 0

    def made_more_than(self, number: int) -> bool:
        return self.made > number

    def run(self) -> None:
        while not self.stop.is_set():
            name = f"churn-{self.made}"
            with contextlib.suppress(CommandFailed):  # the webhook may just be down: a refusal is right then
                self._kube.apply([pod(name, self._image, {"aliyun.com/gpu-mem": "5"})], NAMESPACE)
            self.made += 1
            if self.made >= 6:
                with contextlib.suppress(CommandFailed):
                    self._kube.run("delete", "pod", "-n", NAMESPACE, f"churn-{self.made - 6}", "--ignore-not-found")


def pod(name: str, image: str, limits: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {
                    "name": "main",
                    "image": image,
                    "command": ["/usr/local/bin/probe", "--step", "64", "--stay"],
                    "resources": {"limits": limits},
                }
            ],
        },
    }


@pytest.fixture
def churn(kube: Kube, probe_image: str) -> Iterator[Churn]:
    kube.namespace(NAMESPACE)
    one = Churn(kube, probe_image)
    one.start()
    try:
        yield one
    finally:
        one.stop.set()
        one.join()
        kube.run("delete", "pods", "--all", "-n", NAMESPACE, "--wait=true", timeout=PATIENCE)


def test_every_part_comes_back_and_no_pod_is_without_limits(
    kube: Kube, probe_image: str, gpu_mib: int, cluster_cgroup: str, churn: Churn
) -> None:
    for part, words in PARTS.items():
        before = churn.made
        kill(part, words, cluster_cgroup)
        wait_for("pods came and went since the kill", functools.partial(churn.made_more_than, before + 2), PATIENCE)
        check_new_pod(kube, probe_image, part)
    churn.stop.set()
    churn.join()
    check_all(kube, gpu_mib)


def kill(part: str, words: list[str], cgroup: str) -> None:
    """Kill every process of a part, and wait until it runs again by itself."""
    victims = wait_for(f"{part} runs", lambda: processes(cgroup, words), PATIENCE)
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    wait_for(f"{part} runs again by itself", lambda: set(processes(cgroup, words)) - set(victims), PATIENCE)


def check_new_pod(kube: Kube, image: str, part: str) -> None:
    """A pod created after the part was killed sees its limit."""
    name = f"after-{part.replace(' ', '-')}"
    wait_for(f"a pod can be created after {part} was killed", lambda: make(kube, name, image), PATIENCE)
    output = wait_for(
        f"{name} reports what it sees",
        lambda: report.probe_output(kube, NAMESPACE, name),
        PATIENCE,
        lambda: kube.run("describe", "pod", "-n", NAMESPACE, name),
    )
    assert [gpu["total_bytes"] for gpu in output["gpus"]] == [1000 << 20]
    kube.run("delete", "pod", "-n", NAMESPACE, name, "--wait=false")


def make(kube: Kube, name: str, image: str) -> bool:
    try:
        kube.apply([pod(name, image, {"nvidia.com/gpumem": "1000"})], NAMESPACE)
    except CommandFailed:
        return False
    return True


def check_all(kube: Kube, gpu_mib: int) -> None:
    """Every pod that runs has the limits that it asked for, on a GPU that isn't overfull."""
    taken: dict[GpuUuid, GpuUsage] = {}
    for one in kube.items("pods", NAMESPACE):
        if "deletionTimestamp" in one["metadata"]:
            continue
        if one["status"].get("phase") != "Running":
            told = {key: one["status"].get(key) for key in ("phase", "reason", "message")}
            assert told["phase"] == "Pending", f"{one['metadata']['name']}: {told}"
            continue
        notes = one["metadata"]["annotations"]
        allocation = allocations.load(notes[names.ANNOTATION_ALLOCATION])
        request = requests.load(notes[names.ANNOTATION_REQUEST])
        for gpu, use in allocations.pod_usage(allocation, {}).items():
            taken[gpu] = taken.get(gpu, GpuUsage()).plus(use)
        name = one["metadata"]["name"]
        look = functools.partial(report.probe_output, kube, NAMESPACE, name)
        words = wait_for(f"{name} reports what it sees", look, PATIENCE)
        share = allocation.containers["main"][0]
        assert [gpu["uuid"] for gpu in words["gpus"]] == [share.gpu]
        assert words["gpus"][0]["total_bytes"] == request.containers["main"].memory << 20
    assert taken
    for gpu, use in taken.items():
        assert use.memory <= gpu_mib, f"{gpu} is overfull: {use}"
