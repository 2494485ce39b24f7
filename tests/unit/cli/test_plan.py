"""`kubectl unigpu plan`: where pods would go, from objects alone."""

from pathlib import Path
from typing import Any

import pytest

from cli import __main__ as command
from cli import manifests, plan, plan_command
from unigpu import allocations, cordons, gpus, names
from unigpu.allocations import Allocation, Share
from unigpu.cordons import Cordon
from unigpu.gpus import Gpu
from unigpu.placement import Rules
from unigpu.units import GpuUuid, MiB, Percent
from webhook.translation.options import Options

POD = """
kind: Pod
metadata: {name: p}
spec:
  containers:
  - name: main
    image: x
    resources: {limits: {nvidia.com/gpu: 1, nvidia.com/gpumem: 60, nvidia.com/gpucores: 30}}
"""


def node(name: str, count: int = 2, cordoned: str = "") -> dict[str, Any]:
    node_gpus = [Gpu(GpuUuid(f"{name}-{index}"), index, index, "T", MiB(100)) for index in range(count)]
    annotations = {names.ANNOTATION_INVENTORY: gpus.dump(node_gpus)}
    if cordoned:
        annotations[names.ANNOTATION_CORDONED] = cordons.dump({GpuUuid(cordoned): Cordon("fans")}) or ""
    return {"metadata": {"name": name, "annotations": annotations}}


def bound(uid: str, on: str, gpu: str, memory: int, phase: str = "Running") -> dict[str, Any]:
    share = Share(GpuUuid(gpu), MiB(memory), Percent(10))
    text = allocations.dump(Allocation(on, {"c": (share,)}))
    return {
        "metadata": {"name": uid, "uid": uid, "namespace": "team", "annotations": {names.ANNOTATION_ALLOCATION: text}},
        "spec": {"nodeName": on, "containers": [{"name": "c"}]},
        "status": {"phase": phase},
    }


def planned(folder: Path, text: str = POD) -> list[plan.PlannedPod]:
    file = folder / "pod.yaml"
    file.write_text(text)
    return [pod for manifest in plan.read([str(file)]) for pod in plan.pods(manifest, Options())]


def test_every_node_gpu_by_gpu(tmp_path: Path) -> None:
    nodes = [node("n1"), node("n2"), node("n3", 2, "n3-0"), {"metadata": {"name": "n4"}}, {"metadata": None}]
    running = [bound("a", "n1", "n1-0", 50), bound("b", "n1", "n1-1", 90), bound("c", "n2", "n2-1", 30)]
    running += [bound("d", "n3", "n3-1", 80), bound("gone", "n2", "n2-0", 100, "Succeeded"), {"metadata": 1}]
    (pod,) = planned(tmp_path)
    assert pod.request is not None
    found = plan.verdicts(plan.ledger(nodes, running), pod.request, Rules())
    assert list(plan.lines(pod, found)) == [
        pod.title,
        "  node n2: takes the pod",
        "    GPU 0 (n2-0, 0 of 100 MiB and 0 % taken): would take it",
        "    GPU 1 (n2-1, 30 of 100 MiB and 10 % taken): for main",
        "  node n1: container main needs 1 GPU with 60 MiB and 30 percent of compute time free: "
        "2 of 2 with too little free memory",
        "    GPU 0 (n1-0, 50 of 100 MiB and 10 % taken): main: with too little free memory",
        "    GPU 1 (n1-1, 90 of 100 MiB and 10 % taken): main: with too little free memory",
        "  node n3: container main needs 1 GPU with 60 MiB and 30 percent of compute time free: "
        "1 of 2 cordoned, 1 with too little free memory",
        "    GPU 0 (n3-0, 0 of 100 MiB and 0 % taken): main: cordoned",
        "    GPU 1 (n3-1, 80 of 100 MiB and 10 % taken): main: with too little free memory",
    ]
    assert not plan.unplaceable(pod, found)
    assert plan.unplaceable(pod, found[1:])


def test_a_refused_pod_and_one_without_gpus(tmp_path: Path) -> None:
    (refused,) = planned(tmp_path, POD.replace("gpucores: 30", "gpucores: 130"))
    assert refused.request is None
    assert "gpucores" in refused.refusal
    assert plan.unplaceable(refused, [])
    (plain,) = planned(tmp_path, "kind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: x}]}\n")
    assert (plain.request, plain.refusal) == (None, "")
    assert not plan.unplaceable(plain, [])


def test_templates_are_planned_too(tmp_path: Path) -> None:
    spec = POD.split("spec:", 1)[1]
    indented = "\n".join(f"    {line}" for line in spec.splitlines())
    (pod,) = planned(tmp_path, f"kind: Deployment\nmetadata: {{name: d}}\nspec:\n  template:\n    spec:{indented}\n")
    assert pod.request is not None
    assert list(pod.request.containers) == ["main"]


def test_manifests_and_clusters_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "pod.yaml"
    file.write_text(POD)
    assert command.main(["plan", "-f", "/nonexistent.yaml"]) == plan_command.UNREADABLE
    assert "no such file" in capsys.readouterr().err
    assert command.main(["plan", "-f", str(file), "--kubeconfig", "/nonexistent"]) == plan_command.UNREADABLE
    assert "error: " in capsys.readouterr().err
    assert list(manifests.read([str(file)]))
