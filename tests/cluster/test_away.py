"""On the real cluster, while the API server doesn't answer, or NVIDIA's operator upgrades the driver."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from demo import report
from demo.kube import Kube, wait_for
from tests.cluster.test_faults import PARTS, pod, processes
from unigpu import names, policy

NAMESPACE = "away"
PATIENCE = 150.0
MIB = 1000
Tell = Callable[[str], None]


@pytest.fixture
def program(kube: Kube, probe_image: str, cluster_cgroup: str) -> Iterator[Callable[[], int | None]]:
    """The pid of a pod's GPU program, None while it doesn't run."""
    kube.namespace(NAMESPACE)
    kube.apply([pod("one", probe_image, {"nvidia.com/gpumem": str(MIB)})], NAMESPACE)
    wait_for("the program runs", lambda: limit_seen(kube) == MIB << 20, PATIENCE)
    uid = kube.json("get", "pod", "-n", NAMESPACE, "one")["metadata"]["uid"]

    def pid() -> int | None:
        found = [one for one in processes(cluster_cgroup, ["probe"]) if uid in cgroup(one) or flat(uid) in cgroup(one)]
        return found[0] if found else None

    yield pid
    kube.run("delete", "pods", "--all", "-n", NAMESPACE, "--wait=true", timeout=PATIENCE)


def cgroup(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return ""


def flat(uid: str) -> str:
    return uid.replace("-", "_")


def limit_seen(kube: Kube) -> Any:
    output = report.probe_output(kube, NAMESPACE, "one")
    return output["gpus"][0]["total_bytes"] if output else None


def limit_of(pid: int) -> int | None:
    """The limit in the policy that the process has mounted, bytes; None where there is none."""
    try:
        content = Path(f"/proc/{pid}/root{names.CONTAINER_POLICY}").read_bytes()
    except OSError:
        return None
    return policy.unpack(content).gpus[0].memory


def loads_libvgpu(pid: int) -> bool:
    try:
        return names.CONTAINER_LIBRARY in Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return False


def test_gpu_containers_restart_while_the_api_server_is_stopped(
    kube: Kube, cluster_cgroup: str, program: Callable[[], int | None], tell: Tell
) -> None:
    servers = processes(cluster_cgroup, ["kube-apiserver"])
    assert servers
    for server in servers:
        os.kill(server, signal.SIGSTOP)
    try:
        for what in ("the container", "the agent, and then the container"):
            if "agent" in what:
                (agent,) = processes(cluster_cgroup, PARTS["device plugin"])[:1]
                os.kill(agent, signal.SIGKILL)
                wait_for(
                    "the agent runs again",
                    lambda: set(processes(cluster_cgroup, PARTS["device plugin"])) - {agent},  # noqa: B023
                    PATIENCE,
                )
            victim = wait_for("the program runs", program, PATIENCE)
            began = time.monotonic()
            os.kill(victim, signal.SIGKILL)
            new = wait_for(
                "it runs again with libvgpu",
                lambda: pid if (pid := program()) not in (None, victim) and loads_libvgpu(pid or 0) else None,  # noqa: B023
                PATIENCE,
            )
            assert limit_of(new) == MIB << 20
            tell(f"{what} killed, API server stopped: runs again with its limit after {time.monotonic() - began:.1f} s")
    finally:
        for server in servers:
            os.kill(server, signal.SIGCONT)
    wait_for(
        "the API server hears of both restarts",
        lambda: kube.json("get", "pod", "-n", NAMESPACE, "one")["status"]["containerStatuses"][0]["restartCount"] >= 2,
        PATIENCE,
    )
    wait_for("the agent is ready", lambda: agent_pods(kube, ready=True), PATIENCE)


def agent_pods(kube: Kube, *, ready: bool = False) -> list[str]:
    found = kube.items("pods", names.SYSTEM_NAMESPACE, f"{names.LABEL_COMPONENT}=node-agent")
    return [
        one["metadata"]["name"]
        for one in found
        if not ready or all(status["ready"] for status in one["status"].get("containerStatuses", [{"ready": False}]))
    ]


@pytest.mark.parametrize("label", names.LABELS_OPERATOR[:2])
def test_the_agent_leaves_a_node_whose_driver_is_upgraded_and_comes_back(
    kube: Kube, cluster_cgroup: str, program: Callable[[], int | None], label: str
) -> None:
    (node,) = kube.json("get", "nodes")["items"]
    name = node["metadata"]["name"]
    running = wait_for("the program runs", program, PATIENCE)
    kube.run("label", "node", name, f"{label}={names.OPERATOR_PAUSES[0]}")
    try:
        wait_for("no part of unigpu is left on the node", lambda: not agent_pods(kube), PATIENCE)
        for part in ("device plugin", "exporter"):
            assert processes(cluster_cgroup, PARTS[part]) == [], "nobody has a session with NVML"
        assert limit_of(running) == MIB << 20, "what runs keeps its limits"
    finally:
        kube.run("label", "node", name, f"{label}=true", "--overwrite")
    wait_for("the agent is back", lambda: agent_pods(kube, ready=True), PATIENCE)
    kube.run("label", "node", name, f"{label}-")
    assert program() == running
