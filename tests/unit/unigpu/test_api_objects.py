"""What is read from nodes and pods."""

import json
from typing import Any

import pytest

from unigpu import allocations, api_objects, errors, gpus, names, requests
from unigpu.allocations import Allocation, Share
from unigpu.gpus import Gpu
from unigpu.modes import NodeMode
from unigpu.requests import PlacementPolicy, PodRequest, Request, Role
from unigpu.units import GpuUuid, MiB, Percent

GPU = Gpu(GpuUuid("a"), 0, 0, "X", MiB(100))
SHARE = Share(GpuUuid("a"), MiB(10), Percent(5))


def pod(annotations: dict[str, str] | None = None, node: str = "", **more: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "initContainers": [{"name": "z-first"}, {"name": "b-side"}],
        "containers": [{"name": "main"}, {"name": "a-last"}],
    }
    if node:
        spec["nodeName"] = node
    metadata = {"uid": "u", "name": "p", "namespace": "ns", "annotations": annotations}
    return {"metadata": metadata | more.pop("metadata", {}), "spec": spec} | more


def asking(*containers: str, **roles: Role) -> dict[str, str]:
    wishes = {name: Request(1, MiB(10), role=roles.get(name.replace("-", "_"), Role.MAIN)) for name in containers}
    return {names.ANNOTATION_REQUEST: requests.dump(PodRequest(wishes))}


def given(node: str, *containers: str) -> dict[str, str]:
    return {names.ANNOTATION_ALLOCATION: allocations.dump(Allocation(node, dict.fromkeys(containers, (SHARE,))))}


def test_a_node() -> None:
    metadata = {
        "name": "n",
        "labels": {names.LABEL_ACK_SCHEDULE: "cgpu", names.LABEL_ACK_PLACEMENT: "spread"},
        "annotations": {names.ANNOTATION_INVENTORY: gpus.dump([GPU])},
    }
    assert api_objects.node({"metadata": metadata}) == api_objects.NodeFacts(
        "n", (GPU,), NodeMode.CGPU, PlacementPolicy.SPREAD
    )
    assert api_objects.node({"metadata": {"name": "n"}}) == api_objects.NodeFacts("n", (), NodeMode.MIXED, None)


@pytest.mark.parametrize(
    ("ready", "unschedulable", "said"),
    [
        ("True", False, "Ready"),
        ("True", True, "Ready,SchedulingDisabled"),
        ("Unknown", False, "NotReady"),
        ("False", True, "NotReady,SchedulingDisabled"),
        (None, True, "SchedulingDisabled"),
        (None, False, ""),
    ],
)
def test_the_condition_of_a_node_is_that_of_kubectl(ready: str | None, unschedulable: bool, said: str) -> None:
    conditions = [{"type": "DiskPressure", "status": "False"}]
    conditions += [{"type": "Ready", "status": ready}] if ready is not None else []
    document = {
        "metadata": {"name": "n"},
        "spec": {"unschedulable": unschedulable},
        "status": {"conditions": conditions},
    }
    assert api_objects.node(document).condition == said
    assert api_objects.node({**document, "status": {"conditions": [None]}}).condition == ""


def test_a_node_whose_inventory_can_t_be_read_has_no_gpus() -> None:
    found = api_objects.node({"metadata": {"name": "n", "annotations": {names.ANNOTATION_INVENTORY: "{"}}})
    assert found.gpus == ()
    assert "inventory annotation can't be read" in found.problem


def test_cordoned_gpus() -> None:
    def cordoned(text: str) -> tuple[set[str], str]:
        annotations = {names.ANNOTATION_INVENTORY: gpus.dump([GPU]), names.ANNOTATION_CORDONED: text}
        found = api_objects.node({"metadata": {"name": "n", "annotations": annotations}})
        assert found.gpus == (GPU,)
        return set(found.cordoned), found.problem

    assert cordoned('{"a": {"reason": "fans", "since": "2026-01-31T12:00:00Z"}}') == ({"a"}, "")
    assert cordoned('{"gone": {}}') == ({"gone"}, "")
    unreadable, problem = cordoned('{"a": 1}')
    assert unreadable == {"a"}, "all GPUs of the node"
    assert "cordoned annotation can't be read" in problem


def test_containers_are_in_the_order_in_which_they_start() -> None:
    found = api_objects.request(pod(asking("a-last", "b-side", "main", "z-first")))
    assert list(found.containers) == ["z-first", "b-side", "main", "a-last"]


def test_a_pod_without_request_or_with_a_wrong_one() -> None:
    with pytest.raises(errors.Denied, match="webhook was down"):
        api_objects.request(pod())
    with pytest.raises(errors.Malformed, match=r"is for other, and the pod has z-first, b-side, main, a-last"):
        api_objects.request(pod(asking("other", "main")))
    with pytest.raises(errors.Malformed, match="is for no container"):
        api_objects.request(pod(asking()))
    with pytest.raises(errors.Malformed):
        api_objects.request(pod({names.ANNOTATION_REQUEST: "{"}))


def test_a_bound_pod() -> None:
    found = api_objects.pod(pod(asking("main", "z-first", z_first=Role.INIT) | given("n", "z-first", "main"), "n"))
    assert (found.uid, found.key, found.node, found.ended, found.problem) == ("u", "ns/p", "n", False, "")
    assert found.allocation == Allocation("n", {"z-first": (SHARE,), "main": (SHARE,)})
    assert found.roles == {"z-first": Role.INIT, "main": Role.MAIN}


def test_an_allocation_that_does_not_belong_to_the_pod_does_not_count() -> None:
    assert api_objects.pod(pod(asking("main") | given("n", "main"))).allocation is None, "not bound yet"
    found = api_objects.pod(pod(asking("main") | given("other", "main"), "n"))
    assert found.allocation is None
    assert found.problem == "allocation annotation is for node other, and the pod is bound to n"
    found = api_objects.pod(pod(asking("main") | {names.ANNOTATION_ALLOCATION: "{}"}, "n"))
    assert found.allocation is None
    assert "allocation annotation can't be read" in found.problem


def test_without_a_readable_request_no_container_overlaps() -> None:
    found = api_objects.pod(pod(given("n", "main"), "n"))
    assert found.allocation is not None
    assert found.roles == {}
    assert names.ANNOTATION_REQUEST in found.problem


@pytest.mark.parametrize(
    ("annotations", "memory", "problem"),
    [
        ({names.ANNOTATION_LIMITS: "memory=30"}, 30, ""),
        ({names.ANNOTATION_LIMITS: "memory=5"}, 10, ""),
        ({names.ANNOTATION_LIMITS: "memory=5", names.ANNOTATION_LIMITS_APPLIED: '{"main":{"memory":5}}'}, 5, ""),
        (
            {
                names.ANNOTATION_LIMITS: "memory=5",
                names.ANNOTATION_LIMITS_APPLIED: '{"main":{"held":{"a":7},"memory":5}}',
            },
            7,
            "",
        ),
        ({names.ANNOTATION_LIMITS: "memory=much"}, 10, "memory = much: not a Kubernetes quantity"),
    ],
)
def test_a_bound_pod_whose_limits_were_changed(annotations: dict[str, str], memory: int, problem: str) -> None:
    found = api_objects.pod(pod(asking("main") | given("n", "main") | annotations, "n"))
    assert found.allocation == Allocation("n", {"main": (Share(GpuUuid("a"), MiB(memory), Percent(5)),)})
    assert (problem in found.problem) if problem else found.problem == ""


DELETED = {"deletionTimestamp": "2026-01-01T00:00:00Z"}


def states(*names_: str, state: str = "terminated") -> list[dict[str, Any]]:
    return [{"name": name, "state": {state: {}}} for name in names_]


ENDS: dict[str, tuple[dict[str, Any], bool]] = {
    "no status": ({}, False),
    "running": ({"status": {"phase": "Running"}}, False),
    "succeeded": ({"status": {"phase": "Succeeded"}}, True),
    "failed": ({"status": {"phase": "Failed"}}, True),
    "being deleted": ({"metadata": DELETED, "status": {"phase": "Running"}}, False),
    "being deleted, not yet started": ({"metadata": DELETED, "status": {"phase": "Pending"}}, False),
    "being deleted, some ended": (
        {"metadata": DELETED, "status": {"containerStatuses": states("main", "a-last")}},
        False,
    ),
    "being deleted, one runs": (
        {
            "metadata": DELETED,
            "status": {
                "initContainerStatuses": states("z-first") + states("b-side", state="running"),
                "containerStatuses": states("main", "a-last"),
            },
        },
        False,
    ),
    "being deleted, all ended": (
        {
            "metadata": DELETED,
            "status": {
                "initContainerStatuses": states("z-first", "b-side"),
                "containerStatuses": states("main", "a-last"),
            },
        },
        True,
    ),
    "all ended, to be started again": (
        {
            "status": {
                "initContainerStatuses": states("z-first", "b-side"),
                "containerStatuses": states("main", "a-last"),
            }
        },
        False,
    ),
}


@pytest.mark.parametrize("case", ENDS)
def test_ended(case: str) -> None:
    more, expected = ENDS[case]
    assert api_objects.pod(json.loads(json.dumps(pod(asking("main"), "n", **more)))).ended is expected


def test_pods_that_cannot_be_read_are_named() -> None:
    broken = {"metadata": {"uid": "bad", "namespace": "default", "name": "p"}, "spec": {"priority": "high"}}
    facts, unreadable = api_objects.pods([pod(), broken, {}, {"metadata": []}])
    assert [one.key for one in facts] == [api_objects.key(pod())]
    assert unreadable == {"bad", ""}
