"""Room on a GPU, on a real cluster: preemption with a budget, two urgent pods at once, and drain."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.kube import Kube, wait_for
from tests.cluster.test_own_words import pod
from tests.integration.cli.test_drain import INTERRUPTIBLE
from unigpu import allocations, names

NAMESPACE = "room"
PATIENCE = 180.0
GPUS = 4
MOST = 7
"""Eighths of a GPU: what four such pods leave of four GPUs is less than another one, also in total."""
Json = dict[str, Any]


@pytest.fixture
def namespace(kube: Kube) -> Iterator[str]:
    kube.namespace(NAMESPACE)
    priority = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "room-high"}}
    kube.apply([priority | {"value": 1000}], NAMESPACE)
    yield NAMESPACE
    kube.run("delete", "deployments,poddisruptionbudgets", "--all", "-n", NAMESPACE, timeout=PATIENCE)
    kube.run("delete", "pods", "--all", "-n", NAMESPACE, "--grace-period=0", "--force", timeout=PATIENCE)
    kube.run("delete", "priorityclass", "room-high")
    wait_for("all pods are gone", lambda: not kube.items("pods", NAMESPACE), PATIENCE)


def memory(mib: int) -> dict[str, str]:
    return {"unigpu.dev/vgpu": "1", "unigpu.dev/memory": str(mib)}


def urgent(name: str, mib: int) -> Json:
    found = pod(name, memory(mib))
    found["spec"]["priorityClassName"] = "room-high"
    return found


def budget(name: str, **spec: Any) -> Json:
    selector = {"matchLabels": {"app": name}}
    metadata = {"name": name}
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata,
        "spec": {"selector": selector} | spec,
    }


def deployment(name: str, replicas: int, mib: int) -> Json:
    template = pod(name, memory(mib), labels={"app": name})
    template["spec"]["restartPolicy"] = "Always"
    del template["metadata"]["name"]
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": name}},
        "template": {key: template[key] for key in ("metadata", "spec")},
    }
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def placed(kube: Kube) -> dict[str, str]:
    """The GPU of each pod that runs and isn't being deleted, by name."""
    found = {}
    for one in kube.items("pods", NAMESPACE):
        text = one["metadata"].get("annotations", {}).get(names.ANNOTATION_ALLOCATION)
        running = one["status"].get("phase") == "Running" and "deletionTimestamp" not in one["metadata"]
        if running and text:
            (share,) = allocations.load(text).containers["main"]
            found[one["metadata"]["name"]] = str(share.gpu)
    return found


def until_placed(kube: Kube, what: str, check: Callable[[dict[str, str]], bool]) -> dict[str, str]:
    return wait_for(
        what,
        lambda: found if check(found := placed(kube)) else None,
        PATIENCE,
        lambda: kube.run("describe", "pods", "-n", NAMESPACE),
    )


def test_a_budget_decides_between_victims(
    kube: Kube, namespace: str, gpu_mib: int, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    most = gpu_mib * MOST // 8
    pods = {f"kept-{at}": pod(f"kept-{at}", memory(most), labels={"app": "kept"}) for at in range(GPUS - 1)}
    pods["free"] = pod("free", memory(most), labels={"app": "free"})
    kube.apply([pods["free"]], namespace)
    until_placed(kube, "the first pod runs", lambda found: len(found) == 1)
    kube.apply(
        [budget("kept", minAvailable=GPUS - 1), *(one for name, one in pods.items() if name != "free")], namespace
    )
    until_placed(kube, "all pods run", lambda found: len(found) == GPUS)
    manifest = tmp_path / "urgent.json"
    manifest.write_text(json.dumps(urgent("urgent", most)))
    planned = run(kube, "plan", "-f", str(manifest), "-n", namespace)
    assert "    would be evicted: pod room/free\n" in planned.stdout, planned.stdout + planned.stderr
    kube.apply([urgent("urgent", most)], namespace)
    after = until_placed(kube, "the urgent pod runs", lambda found: "urgent" in found)
    evicted = pods.keys() - after.keys()
    tell(f"of {len(pods)} pods on as many GPUs, the budget left {', '.join(sorted(evicted))} to evict")
    assert evicted == {"free"}


def test_two_urgent_pods_at_once_evict_one_each(
    kube: Kube, namespace: str, gpu_mib: int, tell: Callable[[str], None]
) -> None:
    most = gpu_mib * MOST // 8
    kube.apply([pod(f"low-{at}", memory(most)) for at in range(GPUS)], namespace)
    until_placed(kube, "all pods run", lambda found: len(found) == GPUS)
    # Those that wait would fit into the room that is made, if it weren't kept.
    kube.apply([pod("waits", memory(most)), urgent("urgent-0", most), urgent("urgent-1", most)], namespace)
    after = until_placed(kube, "both urgent pods run", lambda found: {"urgent-0", "urgent-1"} <= found.keys())
    left = sorted(name for name in after if name.startswith("low-"))
    tell(f"two urgent pods; of {GPUS} pods, {len(left)} still run")
    assert len(left) == GPUS - 2
    assert "waits" not in after


def unigpu(kube: Kube, *arguments: str) -> list[str]:
    return [sys.executable, "-c", INTERRUPTIBLE, *arguments, "--kubeconfig", str(kube.kubeconfig)]


def run(kube: Kube, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(unigpu(kube, *arguments), capture_output=True, text=True, timeout=PATIENCE, check=False)


def test_a_gpu_is_drained(kube: Kube, namespace: str, gpu_mib: int, tell: Callable[[str], None]) -> None:
    (node,) = (one["metadata"]["name"] for one in kube.json("get", "nodes")["items"])
    half = gpu_mib // 2 - 512
    kube.apply([deployment("web", 2, half), budget("web", minAvailable=2)], namespace)
    before = until_placed(kube, "both replicas run", lambda found: len(found) == 2)
    (gpu,) = set(before.values())
    kube.apply([pod("other", memory(gpu_mib))], namespace)
    until_placed(kube, "the pod on another GPU runs", lambda found: len(found) == 3)
    target = f"{node}/{gpu}"
    try:
        shown = run(kube, "drain", target, "--dry-run")
        assert shown.returncode == 0, shown.stderr
        assert shown.stdout.count("is evicted as soon as disruption budget room/web allows it; ReplicaSet web-") == 2

        blocked = run(kube, "drain", target, "--yes", "--timeout", "5")
        assert blocked.returncode == 1
        assert blocked.stderr.count("disruption budget room/web allows no eviction now") == 2, blocked.stderr
        assert placed(kube).items() >= before.items(), "nobody was evicted"

        kube.apply([budget("web", minAvailable=1)], namespace)
        process = subprocess.Popen(
            unigpu(kube, "drain", target, "--yes"),
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert process.stdout is not None
        line = next(line for line in process.stdout if line.endswith(": evicted\n"))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 130

        done = run(kube, "drain", target, "--yes")
        tell(f"interrupted after {line.strip()!r}; then: {done.stdout.splitlines()[-1]}")
        assert done.returncode == 0, done.stderr
        after = until_placed(kube, "both replicas run again", lambda found: len(found) == 3)
        assert gpu not in after.values()
        assert "other" in after
        (document,) = kube.json("get", "nodes")["items"]
        assert gpu in json.loads(document["metadata"]["annotations"][names.ANNOTATION_CORDONED])
    finally:
        run(kube, "uncordon", target)
