"""`kubectl unigpu explain`: the source of each number, why a pod waits, and what would help."""

import dataclasses
from typing import Any

import pytest

from cli.explain import facts, read, report, waiting
from cli.explain.facts import Objects
from cli.explain.report import Fact
from cli.status import view
from cli.text import Style
from tests.unit.cli import objects
from tests.unit.cli.objects import B, asked, gpu, metadata, node, share
from unigpu import cordons, names, requests
from unigpu.cordons import Cordon
from unigpu.gpus import Fault
from unigpu.placement import Rules
from unigpu.requests import ComputePolicy, PodRequest, Preferences, Request
from unigpu.units import GpuUuid, Percent


def running(**more: Any) -> dict[str, Any]:
    limits = {names.RESOURCE_VGPU: "1", names.RESOURCE_MEMORY: "3072"}
    spec = {
        "nodeName": "n1",
        "schedulerName": "unigpu-scheduler",
        "containers": [{"name": "main", "resources": {"limits": limits}}],
    }
    return {"metadata": metadata("p", share(3072, 30), **more), "spec": spec, "status": {"phase": "Running"}}


def of(found: Objects, label: str, section: str = "Container main") -> list[Fact]:
    return [
        fact
        for one in facts.sections(found)
        if one.title in (section, f"Pod {section}")
        for fact in one.facts
        if fact.label == label
    ]


def node_object(labels: dict[str, str] | None = None) -> dict[str, Any]:
    return {"metadata": dict(node("n1", gpu(), labels=labels).metadata)}


def test_every_number_has_its_source() -> None:
    request = asked(3072, 30, dialect="alibaba", original_fields={"aliyun.com/gpu-mem": "3"})
    pod = running(request=request, limits="memory=1Gi", applied='{"main":{"memory":1024,"held":{"GPU-a":3000}}}')
    namespace = {"metadata": {"annotations": {names.ANNOTATION_MAX_MEMORY: "4Gi"}}}
    found = Objects(pod, node_object(), namespace)
    said = {
        label: of(found, label)[0]
        for label in ("asked", "translated", "counted", "placed", "wanted", "enforced", "held")
    }
    assert said["asked"].value == "aliyun.com/gpu-mem = 3" and "alibaba" in said["asked"].source
    assert said["translated"].value.startswith("1 GPU, 3072 MiB and 30 % of the compute time")
    assert said["counted"].value == "unigpu.dev/vgpu = 1, unigpu.dev/memory = 3072"
    assert said["placed"].value == "3072 MiB and 30 % of compute of GPU 0 (GPU-a, T4, 24576 MiB) on node n1"
    assert said["wanted"].value == said["enforced"].value == "1024 MiB, 30 % (hard)"
    assert said["enforced"].source == "annotation unigpu.dev/limits-applied, by the node agent"
    assert said["held"].value.startswith("3000 MiB of GPU 0")
    (rules,) = of(found, "namespace", "team/p")
    assert rules.value == "unigpu.dev/max-memory = 4Gi"
    assert all(fact.source for fact in said.values())


def test_a_change_that_waits_for_the_node_agent() -> None:
    found = Objects(running(limits="memory=1Gi"), node_object())
    assert of(found, "wanted")[0].value == "1024 MiB, 30 % (hard); not in force yet"
    assert of(found, "enforced")[0] == Fact("enforced", "3072 MiB, 30 % (hard)", "as translated")


@pytest.mark.parametrize(
    ("labels", "open_parts"),
    [
        ({names.LABEL_MODE: "cgpu"}, "; compute only counted on this node, not enforced (mode cgpu)"),
        ({names.LABEL_MODE: "share"}, "; memory and compute only counted on this node, not enforced (mode share)"),
        (
            {names.LABEL_CGPU_DISABLE_ISOLATION: "true"},
            "; memory and compute only counted on this node, not enforced (label cgpu.disable.isolation)",
        ),
    ],
)
def test_what_a_node_leaves_open(labels: dict[str, str], open_parts: str) -> None:
    assert of(Objects(running(), node_object(labels)), "enforced")[0].value.endswith(open_parts)


def test_the_policy_of_a_qgpu_node() -> None:
    pod = running(request=asked(3072, 30, dialect=names.DIALECT_QGPU))
    found = Objects(pod, node_object({names.LABEL_QGPU_POLICY: "burst-share"}))
    (one,) = of(found, "enforced")
    assert one.value == "3072 MiB, 30 % up to 100 % (soft)" and names.LABEL_QGPU_POLICY in one.source


def test_without_rights_or_with_broken_annotations() -> None:
    pod = running()
    (rules,) = of(Objects(pod), "namespace", "team/p")
    assert "aren't known" in rules.value
    pod["metadata"]["annotations"] |= {names.ANNOTATION_LIMITS: "memory=?", names.ANNOTATION_LIMITS_APPLIED: "?"}
    assert of(Objects(pod), "limits")[0].kind == "warn"
    pod["metadata"]["annotations"][names.ANNOTATION_ALLOCATION] = "?"
    assert of(Objects(pod), "placed", "Placement")[0].kind == "fail"
    pod["metadata"]["annotations"][names.ANNOTATION_REQUEST] = "?"
    assert of(Objects(pod), "translated", "team/p")[0].kind == "fail"
    plain = {"metadata": {"name": "p", "namespace": "team"}, "spec": {"containers": []}, "status": {}}
    assert of(Objects(plain), "translated", "team/p")[0].value == "the pod asks for no GPU"


def test_an_allocation_for_another_node() -> None:
    pod = running()
    pod["spec"]["nodeName"] = "n2"
    (one,) = of(Objects(pod), "placed", "Placement")
    assert one.value == "the allocation is for node n1, and the pod is on n2: it counts nowhere"


def test_latest_events_and_lines() -> None:
    event = {"lastTimestamp": "2026-01-01T00:00:00Z", "reason": "FailedMount", "message": "m", "type": "Warning"}
    sections = list(facts.events(Objects(running(), events=(event,))))
    assert list(report.lines(sections, Style(80))) == ["Latest events", "  - 2026-01-01T00:00:00Z FailedMount: m"]
    lines = list(report.lines(list(facts.sections(Objects(running()))), Style(80)))
    assert max(map(len, lines)) <= 80
    assert "  translated  1 GPU, 3072 MiB and 30 % of the compute time; compute policy hard" in lines


FAULT = Fault("XID 79", "", "")


def explained(request: Request, *nodes: view.NodeObject, pods: Any = (), **more: Any) -> tuple[list[str], list[str]]:
    """The lines on GPUs, and what would help."""
    pod = PodRequest({"main": request}, more.get("preferences", Preferences()))
    sections = list(read.explained(view.view(nodes, pods), pod, more.get("rules", Rules()), more.get("most", 10)))
    helps = [fact.value for fact in sections[-1].facts]
    return [fact.value for one in sections[:-1] for fact in one.facts], helps


def test_each_gpu_has_its_reason() -> None:
    pods = [
        metadata("m", share(20000, 10)),
        metadata("c", share(100, 80, B)),
        metadata("w", share(24576, 100, objects.C, whole=True)),
    ]
    nodes = [
        node("n1", gpu(), gpu(B, 1), gpu(objects.C, 2)),
        node("n2", gpu(GpuUuid("GPU-d"), 0, 1000), gpu(GpuUuid("GPU-e"), 1, healthy=False, fault=FAULT)),
    ]
    lines, _ = explained(asked(8000, 30), *nodes, pods=pods)
    assert lines == [
        "GPU 0 T4: 4576 of 24576 MiB free (team/m has 20000 MiB, 10 %)",
        "GPU 1 T4: 20 of 100 % of compute free (team/c has 100 MiB, 80 %)",
        "GPU 2 T4: allocated whole (team/w has 24576 MiB, 100 %)",
        "GPU 0 T4: too small: it has 1000 MiB in all",
        "GPU 1 T4: unhealthy: XID 79",
    ]


@pytest.mark.parametrize(
    ("request_", "more", "said"),
    [
        (Request(gpus=1, whole=True), {}, "not empty (team/m has 20000 MiB, 10 %)"),
        (asked(1000), {"rules": Rules(shares_per_gpu=1)}, "1 of 1 shares taken (team/m has 20000 MiB, 10 %)"),
        (asked(1000), {"preferences": Preferences(avoid_types=("t4",))}, "the pod rules out its model"),
        (asked(1000), {"preferences": Preferences(use_uuids=("GPU-z",))}, "the pod rules out its UUID, GPU-a"),
        (asked(1000), {}, "fits"),
    ],
)
def test_other_reasons(request_: Request, more: dict[str, Any], said: str) -> None:
    lines, _ = explained(request_, node("n1", gpu()), pods=[metadata("m", share(20000, 10))], **more)
    assert lines == [f"GPU 0 T4: {said}"]


FULL = [metadata("m", share(20000, 90)), metadata("s", share(1000, 5))]
"""Pods that leave 3576 MiB and 5 % of GPU A."""


@pytest.mark.parametrize(
    ("request_", "pods", "help_"),
    [
        (asked(8000), FULL, "With up to 3576 MiB instead of 8000 MiB, the pod fits on node n1."),
        (asked(1000, 30), FULL, "With up to 5 % of compute instead of 30 %, the pod fits on node n1."),
        (asked(1000, gpus=2), [], "With 1 instead of 2 GPUs, the pod fits on node n1."),
        (asked(4000), FULL, "Once pod team/s has ended, node n1 takes it."),
        (asked(8000, 50), FULL, "Once pod team/m has ended, node n1 takes it."),
    ],
)
def test_what_would_help(request_: Request, pods: list[dict[str, Any]], help_: str) -> None:
    _, helps = explained(request_, node("n1", gpu()), pods=pods)
    assert help_ in helps


def test_help_from_the_node() -> None:
    _, helps = explained(asked(1000), node("n1", gpu(), condition="Ready,SchedulingDisabled"))
    assert helps[0] == "Node n1 would fit, and is cordoned: `kubectl uncordon n1`."
    _, helps = explained(asked(1000), node("n1", gpu(), condition="NotReady"))
    assert helps[0].startswith("Node n1 would fit, and isn't ready")
    _, helps = explained(asked(1000), node("n1", gpu(healthy=False)))
    assert helps == ["With GPU 0 of node n1 healthy again, that node would take it."]
    _, helps = explained(asked(1000), node("n1", gpu()), preferences=Preferences(use_types=("A100",)))
    assert helps == ["Without the pod's choice of GPU models and UUIDs, node n1 would take it."]
    _, helps = explained(asked(1000), node("n1", gpu()), node("n2", gpu(B)))
    assert helps[0].startswith("The GPUs of node n1 fit, and those of 1 more.")
    _, helps = explained(asked(99999, cores=Percent(0)), node("n1", gpu(memory=0)))
    assert helps == ["Nothing short of other nodes: no single change places it on the nodes as they are."]


def test_many_nodes_are_counted_by_reason() -> None:
    nodes = [node(f"n{number}", gpu(memory=1000)) for number in range(5)]
    lines, _ = explained(asked(2000), *nodes, most=2)
    assert lines[:2] == ["GPU 0 T4: too small: it has 1000 MiB in all"] * 2
    assert lines[2] == "3: container main needs 1 GPU with 2000 MiB free: GPUs too small"


def test_no_node_has_gpus() -> None:
    sections = list(read.explained(view.View(()), PodRequest({"main": asked(1)}), Rules(), 10))
    assert "doctor" in sections[0].facts[0].value


def test_the_mode_of_a_node_keeps_a_share_out() -> None:
    lines, _ = explained(asked(1), node("n1", gpu(), labels={names.LABEL_MODE: "default"}))
    assert lines == ["GPU 0 T4: node offers whole GPUs only (mode default), but a share is requested"]


@pytest.mark.parametrize(("reason", "said"), [("fans", "cordoned: fans"), ("", "cordoned")])
def test_a_cordoned_gpu_is_named_as_such(reason: str, said: str) -> None:
    cordoned = node("n1", gpu())
    text = cordons.dump({objects.A: Cordon(reason)})
    cordoned.metadata["annotations"][names.ANNOTATION_CORDONED] = text
    lines, helps = explained(asked(1), cordoned)
    assert lines == [f"GPU 0 T4: {said}"]
    assert helps == [
        "With GPU 0 of node n1 no longer cordoned, that node would take it: `kubectl unigpu uncordon n1/0`."
    ]


def test_closest_nodes_come_first() -> None:
    pods = [metadata("m", share(20000), on="n1"), metadata("c", share(10000, gpu=B), on="n2")]
    seen = view.view([node("n1", gpu()), node("n2", gpu(B))], pods)
    order = waiting.candidates(seen.nodes, PodRequest({"main": asked(23000)}), Rules())
    assert [one.view.name for one in order] == ["n2", "n1"]


def test_the_request_is_in_the_order_in_which_containers_start() -> None:
    pod = objects.pending("p", initContainers=[{"name": "z"}], containers=[{"name": "a"}])
    both = PodRequest({"a": asked(1), "z": dataclasses.replace(asked(1), policy=ComputePolicy.HARD)})
    pod["metadata"]["annotations"][names.ANNOTATION_REQUEST] = requests.dump(both)
    found = read.request(pod)
    assert found is not None and list(found.containers) == ["z", "a"]
    pod["metadata"]["annotations"][names.ANNOTATION_REQUEST] = "?"
    assert read.request(pod) is None
