"""Containers that start again, one after another or all at once: each has its own GPUs and limits every time."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo import report
from demo.kube import Kube, wait_for
from unigpu import allocations, names

NAMESPACE = "containers"
PATIENCE = 120.0
PROBE = "/usr/local/bin/probe"


@pytest.fixture
def namespace(kube: Kube) -> Iterator[str]:
    kube.namespace(NAMESPACE)
    yield NAMESPACE
    kube.run("delete", "pods", "--all", "-n", NAMESPACE, "--grace-period=1", timeout=PATIENCE)
    wait_for("all pods are gone", lambda: not kube.items("pods", NAMESPACE), PATIENCE)


def container(name: str, image: str, command: list[str], limits: dict[str, str], **more: str) -> dict[str, Any]:
    return {"name": name, "image": image, "command": command, "resources": {"limits": limits}, **more}


def pod(name: str, containers: list[dict[str, Any]], init: list[dict[str, Any]], grace: int = 1) -> dict[str, Any]:
    spec = {"containers": containers, "initContainers": init, "terminationGracePeriodSeconds": grace}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def processes(uid: str, word: str) -> list[int]:
    """Processes of a pod whose command line has this word."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if uid in (folder / "cgroup").read_text() and word in (folder / "cmdline").read_text():
                    found.append(int(folder.name))
    return found


def end(pids: list[int]) -> None:
    assert pids
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def restarts(kube: Kube, name: str) -> dict[str, int]:
    """How often each container that is ready, or has ended well, was started again."""
    status = kube.json("get", "pod", "-n", NAMESPACE, name)["status"]
    every = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    return {one["name"]: one["restartCount"] for one in every if one["ready"]}


def output(kube: Kube, name: str, container: str) -> dict[str, Any]:
    """What the container's program printed."""
    return wait_for(
        f"{container} reports what it sees", lambda: report.probe_output(kube, NAMESPACE, name, container), PATIENCE
    )


def check(kube: Kube, name: str) -> None:
    """Each container sees its own GPUs and limits."""
    notes = kube.json("get", "pod", "-n", NAMESPACE, name)["metadata"]["annotations"]
    for one, shares in allocations.load(notes[names.ANNOTATION_ALLOCATION]).containers.items():
        words = output(kube, name, one)
        seen = [(gpu["uuid"], gpu["total_bytes"], gpu["error"]) for gpu in words["gpus"]]
        assert seen == [(share.gpu, share.memory << 20, report.OUT_OF_MEMORY) for share in shares], one


def test_init_containers_sidecars_and_main_ones_have_their_own_whenever_they_start(
    kube: Kube, probe_image: str, namespace: str
) -> None:
    once, stays = [PROBE, "--step", "64"], [PROBE, "--step", "64", "--stay"]
    first = container("first", probe_image, once, {"aliyun.com/gpu-mem": "4"})
    tencent = {"tencent.com/vcuda-core": "20", "tencent.com/vcuda-memory": "8"}
    side = container("side", probe_image, stays, tencent, restartPolicy="Always")
    second = container("second", probe_image, once, {"nvidia.com/gpu": "2", "nvidia.com/gpumem": "500"})
    main = container("main", probe_image, stays, {names.RESOURCE_VGPU: "1", names.RESOURCE_MEMORY: "1000"})
    kube.apply([pod("p", [main], [first, side, second])], namespace)
    describe = lambda: kube.run("describe", "pod", "-n", namespace, "p")  # noqa: E731
    wait_for("all have started", lambda: len(restarts(kube, "p")) == 4, PATIENCE, describe)
    check(kube, "p")

    uid = kube.json("get", "pod", "-n", namespace, "p")["metadata"]["uid"]
    end(processes(uid, "probe"))
    wait_for(
        "sidecar and main container run again",
        lambda: (now := restarts(kube, "p")).get("side") == now.get("main") == 1,
        PATIENCE,
        describe,
    )
    check(kube, "p")

    before = restarts(kube, "p")["first"]
    end(processes(uid, "pause"))
    wait_for(
        "a new sandbox begins with the first init container",
        lambda: (now := restarts(kube, "p")).get("first", 0) > before and now.get("main", 0) > 1,
        PATIENCE,
        describe,
    )
    check(kube, "p")


def test_what_a_pod_deleted_by_force_holds_is_given_away_when_its_program_has_ended(
    kube: Kube, probe_image: str, namespace: str, gpu_mib: int
) -> None:
    share = gpu_mib * 4 // 5
    limits = {"nvidia.com/gpu": "4", "nvidia.com/gpumem": str(share)}
    stubborn = [
        "/bin/sh",
        "-c",
        f"trap '' TERM; {PROBE} --no-take --hold {share - 2000} --stay & while :; do sleep 1; done",
    ]
    taking = [PROBE, "--step", "1000", "--stay"]
    kube.apply([pod("old", [container("main", probe_image, stubborn, limits)], [], grace=20)], namespace)
    wait_for("the program holds its share", lambda: report.probe_output(kube, namespace, "old"), PATIENCE)
    kube.apply([pod("new", [container("main", probe_image, taking, limits)], [])], namespace)
    kube.run("delete", "pod", "-n", namespace, "old", "--grace-period=0", "--force")
    words = wait_for(
        "the next pod has taken its share",
        lambda: report.probe_output(kube, namespace, "new"),
        PATIENCE,
        lambda: kube.run("describe", "pod", "-n", namespace, "new"),
    )
    assert [gpu["taken_mib"] // 1000 for gpu in words["gpus"]] == [(share - 500) // 1000] * 4
