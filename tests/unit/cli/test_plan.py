"""`kubectl unigpu plan`: where pods would go, from objects alone."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from cli import __main__ as command
from cli import manifests, plan, plan_command
from unigpu import allocations, budgets, cordons, gpus, lowering, names, remedies
from unigpu.allocations import Allocation, Share
from unigpu.cordons import Cordon
from unigpu.gpus import Gpu
from unigpu.lowering import Amounts, Lowerable
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
    found = plan.verdicts(plan.ledger(nodes, running), pod, Rules())
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


MEMORY = "unigpu.dev/memory"


def with_totals(one: dict[str, Any], mib: int) -> dict[str, Any]:
    return one | {"status": {"allocatable": {MEMORY: str(mib)}}}


def asking(one: dict[str, Any], mib: int, priority: int = 0, **labels: str) -> dict[str, Any]:
    one["spec"]["containers"][0]["resources"] = {"requests": {MEMORY: str(mib)}}
    one["spec"]["priority"] = priority
    one["metadata"]["labels"] = labels
    return one


def test_who_would_have_to_go(tmp_path: Path) -> None:
    pod_text = POD.replace("spec:", "spec:\n  priorityClassName: high", 1)
    running = [
        asking(bound("a", "n1", "n1-0", 50), 50, app="web"),
        asking(bound("b", "n1", "n1-1", 90), 90),
        asking(bound("c", "n2", "n2-0", 90), 90, priority=10),
        asking(bound("d", "n2", "n2-1", 90), 90, priority=10),
        asking(bound("e", "n3", "n3-0", 50), 50),
        asking(bound("f", "n3", "n3-1", 50), 50, priority=1),
    ]
    nodes = [with_totals(node(name), 190 if name == "n1" else 200) for name in ("n1", "n2", "n3")]
    budget = {
        "metadata": {"namespace": "team", "name": "web"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}},
        "status": {"disruptionsAllowed": 0},
    }
    rest = plan.Rest({"high": 10}, [budgets.load(budget)])
    file = tmp_path / "pod.yaml"
    file.write_text(pod_text)
    (pod,) = [pod for manifest in plan.read([str(file)]) for pod in plan.pods(manifest, Options(), rest)]
    assert pod.priority == 10
    found = {one.name: one for one in plan.verdicts(plan.ledger(nodes, running), pod, Rules(), rest)}
    assert (found["n1"].victims, found["n1"].by_itself) == (("pod team/b",), True), "a budget keeps the other"
    assert found["n2"].victims == ()
    assert (found["n3"].victims, found["n3"].by_itself) == (("pod team/e",), False), "the totals have room"
    text = list(plan.lines(pod, found.values()))
    assert "    would be evicted: pod team/b" in text
    assert "    nobody is evicted, because the node's totals have room; room if these leave: pod team/e" in text


def test_whose_limits_would_be_lowered_instead(tmp_path: Path) -> None:
    """A container that holds little gives of its memory; the node where nobody can is left as it was."""
    running = [asking(bound(f"{name}{at}", name, f"{name}-{at}", 90), 90) for name in ("n1", "n2") for at in (0, 1)]
    nodes = [node(name) for name in ("n1", "n2", "n3")]
    idle = [Lowerable("n11", "c", (GpuUuid("n1-1"),), Amounts(MiB(90), Percent(10)), Amounts(MiB(20), Percent(5)))]
    node_gpus = gpus.load(nodes[0]["metadata"]["annotations"][names.ANNOTATION_INVENTORY])
    nodes[0]["metadata"]["annotations"][names.ANNOTATION_LOWERABLE] = lowering.dump(idle, node_gpus)
    nodes[1]["metadata"]["annotations"][names.ANNOTATION_LOWERABLE] = "?"
    rest = plan.Rest({"high": 10}, lowerable=plan.lowerable([*nodes, {"metadata": None}]))
    file = tmp_path / "pod.yaml"
    vendors = POD.replace("spec:", "spec:\n  priorityClassName: high", 1)
    own = "unigpu.dev/vgpu: 1, unigpu.dev/memory: 60, unigpu.dev/cores: 30"
    file.write_text(vendors.replace("nvidia.com/gpu: 1, nvidia.com/gpumem: 60, nvidia.com/gpucores: 30", own))
    (pod,) = [pod for manifest in plan.read([str(file)]) for pod in plan.pods(manifest, Options(), rest)]
    found = {one.name: one for one in plan.verdicts(plan.ledger(nodes, running), pod, Rules(), rest)}
    file.write_text(vendors)
    (other,) = [pod for manifest in plan.read([str(file)]) for pod in plan.pods(manifest, Options(), rest)]
    assert not any(one.lowered for one in plan.verdicts(plan.ledger(nodes, running), other, Rules(), rest))
    again = dataclasses.replace(rest, tries_again=True)
    tried = {one.name: one.lowered for one in plan.verdicts(plan.ledger(nodes, running), other, Rules(), again)}
    assert tried["n1"] == ("pod team/n11, container c: memory 90 -> 40 MiB",), "from Kubernetes 1.33 on"
    assert found["n1"].lowered == ("pod team/n11, container c: memory 90 -> 40 MiB",)
    assert (found["n1"].victims, found["n2"].lowered, found["n3"].reason) == ((), (), "")
    assert found["n2"].victims == ("pod team/n20",)
    assert "    nobody is evicted; limits would be lowered: pod team/n11, container c: memory 90 -> 40 MiB" in list(
        plan.lines(pod, found.values())
    )


def test_what_would_help_a_pod_that_no_node_takes(tmp_path: Path) -> None:
    """In the words of `explain`, and of the event on a pod that waits."""
    nodes = [node("n1", 1), node("n2", 1), node("n3", 1, "n3-0")]
    nodes[1]["spec"] = {"unschedulable": True}
    nodes[1]["status"] = {"conditions": [{"type": "Ready", "status": "True"}]}
    running = [bound("a", "n1", "n1-0", 50)]
    rest = plan.Rest(conditions=plan.conditions([*nodes, {"metadata": None}]))
    (pod,) = planned(tmp_path)
    ledger = plan.ledger(nodes, running)
    assert plan.helps(ledger, pod, Rules(), rest) == [
        "Node n2 would fit, and is cordoned: `kubectl uncordon n2`.",
        "With up to 50 MiB instead of 60 MiB, the pod fits on node n1.",
        "With GPU 0 of node n3 no longer cordoned, that node would take it: `kubectl unigpu uncordon n3/0`.",
        "Once pod team/a has ended, node n1 takes it.",
    ]
    assert plan.helps(plan.ledger([node("n1", 0)], ()), pod, Rules()) == [remedies.NOTHING]


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
