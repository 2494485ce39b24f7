"""A cluster comes up, mends itself, and goes without a trace."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from cluster import processes, settings, units
from tests.cluster import harness

NAME = "lifecycle"
SIZE = ("--nodes", "2", "--gpus", "0")
NODES = (f"{NAME}-1", f"{NAME}-2")


@pytest.fixture(scope="module")
def bare() -> Iterator[str]:
    """A cluster of two nodes without GPUs, shared by the tests of this file."""
    harness.run(NAME, "down")
    try:
        harness.run(NAME, "up", *SIZE)
        yield NAME
    finally:
        harness.run(NAME, "down")
    assert harness.leftovers(NAME) == []


def pod(name: str, node: str, script: str) -> dict[str, object]:
    container = {
        "name": "main",
        "image": "localhost/busybox:local",
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", script],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": node},
            "terminationGracePeriodSeconds": 1,
            "containers": [container],
        },
    }


def ready(name: str, pod_name: str) -> bool:
    conditions = harness.get(name, "pod", pod_name)["status"].get("conditions", [])
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)


def apply(name: str, *documents: Mapping[str, object]) -> None:
    harness.kubectl(name, "apply", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}))


def kubelet(name: str, node: str) -> set[int]:
    """The kubelet of a node."""
    found = set()
    for pid in harness.processes(name):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"/kubelet") and f"--hostname-override={node}".encode() in words:
            found.add(pid)
    return found


def test_pods_of_two_nodes_reach_each_other_by_service_and_the_api_server(bare: str) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }
    page = "echo it works > /tmp/index.html; echo serving; httpd -f -p 8080 -h /tmp"
    apply(bare, service, pod("web", NODES[0], page), pod("client", NODES[1], "sleep 100000"))
    harness.wait("both pods are ready", lambda: ready(bare, "web") and ready(bare, "client"))
    assert harness.kubectl(bare, "logs", "web") == "serving\n"
    address = harness.get(bare, "service", "web")["spec"]["clusterIP"]
    for client in ("client", "web"):
        fetch = ("exec", client, "--", "wget", "-qO-", f"http://{address}/")
        assert harness.kubectl(bare, *fetch) == "it works\n", f"from {client}"
    speak = "printf 'GET /readyz HTTP/1.0\\r\\n\\r\\n' | nc -w 5 $KUBERNETES_SERVICE_HOST 443"
    answer = harness.kubectl(bare, "exec", "client", "--", "sh", "-c", speak)
    assert "HTTPS server" in answer


def test_up_again_changes_nothing(bare: str) -> None:
    layout = settings.Layout(bare)
    described = [layout.state, *layout.certificates.rglob("*"), *layout.units.rglob("*")]
    written = {path: path.stat().st_mtime_ns for path in described if path.is_file()}
    kubeconfig = layout.kubeconfig.read_bytes()
    before = harness.processes(bare)
    harness.run(bare, "up", *SIZE)
    assert layout.kubeconfig.read_bytes() == kubeconfig
    assert {path: path.stat().st_mtime_ns for path in written} == written, "files were written again"
    assert harness.processes(bare) >= before


def test_up_with_other_settings_says_what_runs(bare: str) -> None:
    process = subprocess.run(
        harness.command(bare, "up", "--nodes", "3", "--gpus", "0"), capture_output=True, text=True, cwd=settings.ROOT
    )
    assert process.returncode == 1
    assert "--nodes 2 --gpus 0" in process.stderr


def test_a_killed_kubelet_comes_back_and_its_pods_never_stopped(bare: str) -> None:
    (victim,) = kubelet(bare, NODES[0])
    os.kill(victim, signal.SIGKILL)
    harness.wait("a new kubelet runs", lambda: kubelet(bare, NODES[0]) - {victim})
    apply(bare, pod("after", NODES[0], "sleep 100000"))
    harness.wait("the new kubelet starts pods", lambda: ready(bare, "after"))
    status = harness.get(bare, "pod", "web")["status"]["containerStatuses"][0]
    assert status["restartCount"] == 0


def test_a_dead_supervisor_takes_its_whole_node_with_it_and_up_brings_it_back(bare: str) -> None:
    layout = settings.Layout(bare)
    supervisor = units.recorded(layout.units / f"{NODES[1]}.supervisor")
    monitor = units.recorded(layout.units / f"{NODES[1]}.process")
    assert supervisor is not None
    assert monitor is not None
    inside = {pid for pid in harness.processes(bare) if same_pid_namespace(pid, supervisor.pid)}
    assert len(inside) >= 4, "supervisor, containerd, kubelet, kube-proxy"
    namespaces = harness.net_namespaces(inside)
    os.kill(supervisor.pid, signal.SIGKILL)
    harness.wait("all of the node has ended", lambda: not inside & harness.processes(bare))
    harness.wait("its monitor has ended too", lambda: not processes.alive(monitor))
    assert not any(entry.startswith("network namespace") for entry in harness.leftovers(bare, namespaces))
    harness.run(bare, "up", *SIZE)
    apply(bare, pod("again", NODES[1], "sleep 100000"))
    harness.wait("the node starts pods again", lambda: ready(bare, "again"))


def same_pid_namespace(pid: int, other: int) -> bool:
    try:
        return Path(f"/proc/{pid}/ns/pid").readlink() == Path(f"/proc/{other}/ns/pid").readlink()
    except OSError:
        return False


def test_the_network_survives_the_second_life_of_a_node(bare: str) -> None:
    address = harness.get(bare, "service", "web")["spec"]["clusterIP"]
    fetch = ("exec", "again", "--", "wget", "-qO-", f"http://{address}/")
    assert harness.kubectl(bare, *fetch) == "it works\n"


def test_down_leaves_nothing(bare: str) -> None:
    namespaces = harness.net_namespaces(harness.processes(bare))
    assert len(namespaces) > 2, "two nodes and the pods on them"
    harness.run(bare, "down")
    assert harness.leftovers(bare, namespaces) == []


@pytest.mark.parametrize("moment", ["state.json", "units/control-plane.process", f"units/{NODES[0]}.process"])
def test_down_after_a_kill_in_the_middle_of_up_leaves_nothing(moment: str) -> None:
    harness.run(NAME, "down")
    process = harness.start(NAME, "up", *SIZE)
    try:
        file = settings.Layout(NAME).home / moment
        harness.wait(f"`up` has got to {moment}", file.exists)
    finally:
        process.kill()
        process.wait()
    harness.run(NAME, "down")
    assert harness.leftovers(NAME) == []


def test_up_goes_on_after_a_kill_in_the_middle() -> None:
    harness.run(NAME, "down")
    process = harness.start(NAME, "up", *SIZE)
    try:
        harness.wait("the control plane is being started", (settings.Layout(NAME).units / "control-plane.json").exists)
    finally:
        process.kill()
        process.wait()
    try:
        harness.run(NAME, "up", *SIZE)
        assert len(harness.get(NAME, "nodes")["items"]) == 2
    finally:
        harness.run(NAME, "down")
    assert harness.leftovers(NAME) == []


SLOW_CP = """#!/bin/sh
echo > "{folder}/started"
while [ ! -e "{folder}/continue" ]; do sleep 0.05; done
exec /bin/cp "$@"
"""


def test_down_waits_for_a_command_that_outlived_its_up(tmp_path: Path) -> None:
    harness.run(NAME, "down")
    (tmp_path / "cp").write_text(SLOW_CP.format(folder=tmp_path))
    (tmp_path / "cp").chmod(0o755)
    process = subprocess.Popen(
        harness.command(NAME, "up", *SIZE),
        cwd=settings.ROOT,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        harness.wait("the images are being copied to a node", (tmp_path / "started").exists)
    finally:
        process.kill()
        process.wait()
    try:
        with settings.Layout(NAME).lock.open() as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        (tmp_path / "continue").touch()
        harness.run(NAME, "down")
    assert harness.leftovers(NAME) == []


def test_down_finds_a_cluster_whose_folder_was_deleted() -> None:
    harness.run(NAME, "down")
    process = harness.start(NAME, "up", *SIZE)
    layout = settings.Layout(NAME)
    try:
        harness.wait("a node is being started", (layout.units / f"{NODES[0]}.supervisor").exists)
    finally:
        process.kill()
        process.wait()
    shutil.rmtree(layout.home, ignore_errors=True)
    again = subprocess.run(harness.command(NAME, "up", *SIZE), capture_output=True, text=True, cwd=settings.ROOT)
    assert again.returncode == 1
    assert f"make down NAME={NAME}" in again.stderr
    harness.run(NAME, "down")
    assert harness.leftovers(NAME) == []
