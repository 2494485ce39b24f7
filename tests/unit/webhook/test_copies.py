"""A running pod's own manifest is created again: what of it is dropped, and what the new pod gets."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from unigpu import names, requests
from unigpu.requests import Request

ALLOCATION, APPLIED, LIMITS = names.ANNOTATION_ALLOCATION, names.ANNOTATION_LIMITS_APPLIED, names.ANNOTATION_LIMITS
REQUEST = names.ANNOTATION_REQUEST
Make = Callable[..., dict[str, Any]]
EVERY_SHARE: dict[str, dict[str, Any]] = {
    "memory": {"aliyun.com/gpu-mem": 2},
    "memory and cores": {"nvidia.com/gpu": 2, "nvidia.com/gpumem": 3000, "nvidia.com/gpucores": 30},
    "cores and a percentage": {"nvidia.com/gpu": 1, "nvidia.com/gpumem-percentage": 50, "nvidia.com/gpucores": 30},
    "all cores and a percentage": {"nvidia.com/gpu": 1, "nvidia.com/gpumem-percentage": 50, "nvidia.com/gpucores": 100},
    "a percentage": {"nvidia.com/gpu": 1, "nvidia.com/gpumem-percentage": 50},
    "all memory": {"nvidia.com/gpu": 1, "nvidia.com/gpumem-percentage": 100},
    "cores": {"nvidia.com/gpu": 1, "nvidia.com/gpucores": 30},
    "unlimited memory": {"nvshare.com/gpu": 1},
    "whole": {"nvidia.com/gpu": 2},
    "vCUDA": {"tencent.com/vcuda-core": 30, "tencent.com/vcuda-memory": 8},
}
WITHOUT_AMOUNT = (
    "cores and a percentage",
    "all cores and a percentage",
    "a percentage",
    "all memory",
    "unlimited memory",
)
"""Shares whose memory only the annotation tells."""


def live(admission: Any, document: dict[str, Any], **annotations: str) -> dict[str, Any]:
    """The pod as it is stored while it runs."""
    running: dict[str, Any] = copy.deepcopy(admission.create(document))
    running["metadata"]["annotations"] |= {ALLOCATION: '{"node":"n1"}', APPLIED: "{}", **annotations}
    running["metadata"]["uid"] = "u1"
    running["spec"]["nodeName"] = "n1"
    running["status"] = {"phase": "Running"}
    return running


def warnings(admission: Any, document: dict[str, Any]) -> list[str]:
    found: list[str] = admission.mutate(document).answer["response"].get("warnings", [])
    return found


def read(document: dict[str, Any]) -> Request:
    return requests.load(document["metadata"]["annotations"][REQUEST]).containers["main"]


@pytest.mark.parametrize("share", EVERY_SHARE)
def test_a_running_pods_manifest_makes_the_same_pod(pod: Make, admission: Any, share: str) -> None:
    first = admission.create(pod(EVERY_SHARE[share], annotations={"mine": "x"}))
    running = live(admission, pod(EVERY_SHARE[share], annotations={"mine": "x"}))
    again = admission.create(running)
    assert again["metadata"]["annotations"] == first["metadata"]["annotations"]
    assert again["spec"] == first["spec"]
    said = warnings(admission, running)
    assert [line.split(" = ")[0] for line in said] == [
        f"pod: annotation {ALLOCATION}",
        f"pod: annotation {APPLIED}",
        "pod: spec.nodeName",
    ]
    assert "dropped from this copy of a running pod" in said[0]


def test_a_copy_with_a_container_for_debugging(pod: Make, admission: Any) -> None:
    running = live(admission, pod(EVERY_SHARE["memory"]))
    running["spec"]["containers"].append({"name": "debugger", "image": "x"})
    del running["spec"]["nodeName"]
    assert admission.create(running)["spec"]["containers"][1] == {"name": "debugger", "image": "x"}


@pytest.mark.parametrize("share", EVERY_SHARE)
def test_a_copy_without_annotations_has_no_more_than_its_original(pod: Make, admission: Any, share: str) -> None:
    """As `kubectl debug --copy-to` makes it with every profile, unless with --keep-annotations."""
    original = admission.create(pod(EVERY_SHARE[share]))
    copied = copy.deepcopy(original)
    del copied["metadata"]["annotations"]
    verdict = admission.mutate(copied)
    if share in WITHOUT_AMOUNT:
        assert verdict.outcome == "refused"
        assert f"container main: {names.RESOURCE_MEMORY} = 0: stands for a percentage" in verdict.reason
        assert "--keep-annotations" in verdict.reason
        return
    became, was = read(admission.create(copied)), read(original)
    assert (became.gpus, became.memory, became.memory_percent, became.whole) == (
        was.gpus,
        was.memory,
        was.memory_percent,
        was.whole,
    )
    assert became.cores == was.cores and (not was.cores or became.policy is requests.ComputePolicy.HARD)


@pytest.mark.parametrize(
    ("limits", "becomes"),
    [
        ("memory=1Gi", "memory=1Gi"),
        ("memory=3Gi", None),
        ("memory=1Gi,cores=20", "memory=1Gi,cores=20"),
        ("memory=3Gi,cores=20", '{"main":{"cores":20}}'),
        ("memory=1Gi,cores=50", '{"main":{"memory":1024}}'),
        ("memory=3Gi,cores=50", None),
        ("memory=1Gi,ceiling=90", '{"main":{"memory":1024}}'),
        ("policy=unlimited", None),
    ],
)
def test_a_copys_limits_are_no_wider_than_its_request(
    pod: Make, admission: Any, limits: str, becomes: str | None
) -> None:
    running = live(admission, pod(EVERY_SHARE["vCUDA"]), **{LIMITS: limits})
    again = admission.create(running)
    assert again["metadata"]["annotations"].get(LIMITS) == becomes
    said = [line for line in warnings(admission, running) if line.startswith(f"pod: annotation {LIMITS} =")]
    assert bool(said) is (becomes != limits)


@pytest.mark.parametrize("limits", ["?", "other=1"])
def test_limits_of_a_copy_that_cant_be_read_are_refused(pod: Make, admission: Any, limits: str) -> None:
    verdict = admission.mutate(live(admission, pod(EVERY_SHARE["vCUDA"]), **{LIMITS: limits}))
    assert verdict.outcome == "refused"
    assert "patch" not in verdict.answer["response"]


def test_limits_of_a_new_pod_are_refused_where_they_are_wider(pod: Make, admission: Any) -> None:
    assert admission.mutate(pod(EVERY_SHARE["vCUDA"], annotations={LIMITS: "memory=3Gi"})).outcome == "refused"


@pytest.mark.parametrize("annotation", [ALLOCATION, APPLIED])
@pytest.mark.parametrize("fields", [{}, {"aliyun.com/gpu-mem": 1}], ids=str)
def test_what_an_author_writes_by_hand_is_dropped(
    pod: Make, admission: Any, annotation: str, fields: dict[str, Any]
) -> None:
    document = pod(fields, annotations={annotation: "{}"})
    created = admission.create(document)
    assert annotation not in created["metadata"]["annotations"]
    assert bool(fields) is (REQUEST in created["metadata"]["annotations"])
    (warning,) = warnings(admission, document)
    assert warning.startswith(f"pod: annotation {annotation} = {{}}: dropped")


def test_an_allocation_by_hand_chooses_no_node(pod: Make, admission: Any) -> None:
    document = pod({"aliyun.com/gpu-mem": 1}, annotations={ALLOCATION: "{}"}, nodeName="n1")
    verdict = admission.mutate(document)
    assert verdict.outcome == "refused" and "spec.nodeName" in verdict.reason
    assert admission.create(pod({"cpu": 1}, annotations={ALLOCATION: "{}"}, nodeName="n1"))["spec"]["nodeName"] == "n1"


def test_a_copy_whose_request_was_changed_is_refused(pod: Make, admission: Any) -> None:
    running = live(admission, pod(EVERY_SHARE["memory"]))
    document = json.loads(running["metadata"]["annotations"][REQUEST])
    document["containers"]["main"]["memory"] = 4096
    running["metadata"]["annotations"][REQUEST] = json.dumps(document, sort_keys=True, separators=(",", ":"))
    assert admission.mutate(running).outcome == "refused"
