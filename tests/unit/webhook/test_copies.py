"""A running pod's own manifest is created again: what of it is dropped, and what the new pod gets."""

import copy
import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from unigpu import lowering, names, requests
from unigpu.requests import ComputePolicy, Request
from unigpu.units import MiB
from webhook.translation import limit_ranges
from webhook.translation.options import GpuKind, Options

ALLOCATION, APPLIED, LIMITS = names.ANNOTATION_ALLOCATION, names.ANNOTATION_LIMITS_APPLIED, names.ANNOTATION_LIMITS
REQUEST = names.ANNOTATION_REQUEST
Make = Callable[..., dict[str, Any]]
UNLIMITED = ComputePolicy.UNLIMITED
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
    assert [line.split(" = ")[0] for line in said if line.startswith("pod")] == [
        f"pod: annotation {ALLOCATION}",
        f"pod: annotation {APPLIED}",
        "pod: spec.nodeName",
    ]
    assert "dropped from this copy of a running pod" in said[0]


@pytest.mark.parametrize("before", [None, '{"main":{"memory":1536}}'])
def test_a_copy_of_a_pod_that_made_room_has_what_its_original_had(
    pod: Make, admission: Any, before: str | None
) -> None:
    wrote = '{"main":{"memory":512}}'
    record = lowering.dump_record(lowering.Record("team/urgent", 7, before, wrote))
    running = live(admission, pod(EVERY_SHARE["memory"]), **{LIMITS: wrote, names.ANNOTATION_LOWERED: record})
    annotations = admission.create(running)["metadata"]["annotations"]
    assert annotations.get(LIMITS) == before
    assert names.ANNOTATION_LOWERED not in annotations
    (said,) = [line for line in warnings(admission, running) if LIMITS + " = " in line]
    assert f"the original made room for pod team/urgent; now {before or 'dropped'}" in said


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
    became, was = read(admission.create(copied)), read(original)
    assert (became.gpus, became.memory, became.memory_percent, became.whole) == (
        was.gpus,
        was.memory,
        was.memory_percent,
        was.whole,
    )
    assert became == was


def test_a_copy_without_labels_keeps_what_they_said(pod: Make, admission: Any) -> None:
    """`kubectl debug --copy-to` drops labels too. The unified amounts say how many GPUs there were, and which."""
    for labels in ({"aliyun.com/gpu-count": "4"}, {"ack.gpushare.placement": "require-whole-device"}):
        original = admission.create(pod({"aliyun.com/gpu-mem": 8}, labels=labels))
        copied = copy.deepcopy(original)
        del copied["metadata"]["annotations"], copied["metadata"]["labels"]
        again = admission.create(copied)
        assert again["spec"] == original["spec"]
        became, was = read(again), read(original)
        assert (became.gpus, became.memory, became.whole) == (was.gpus, was.memory, was.whole)
        with_annotations = copy.deepcopy(original)
        del with_annotations["metadata"]["labels"]
        assert admission.create(with_annotations)["spec"] == original["spec"]


def test_a_copy_of_an_annotations_share_is_no_larger(pod: Make, admission_with: Any) -> None:
    """KAI's pods have nothing but the unified amounts once their annotations are gone."""
    options = Options(gpus=(GpuKind("Tesla P40", MiB(24576)), GpuKind("NVIDIA H100", MiB(81559))))
    admission = admission_with(options)
    copied = admission.create(pod(annotations={"gpu-fraction": "0.5"}))
    del copied["metadata"]["annotations"]
    became = read(admission.create(copied))
    assert (became.memory, became.cores, became.policy) == (12288, 50, requests.ComputePolicy.HARD)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({names.RESOURCE_MEMORY: "4096"}, "unigpu.dev/memory = 4096: aliyun.com/gpu-mem = 2 means 2048"),
        ({"aliyun.com/gpu-mem": "3"}, "unigpu.dev/memory = 2048: aliyun.com/gpu-mem = 3 means 3072"),
        ({names.RESOURCE_CORES: "30"}, "unigpu.dev/cores = 30: aliyun.com/gpu-mem = 2 means 0"),
        ({"tencent.com/vcuda-core": "30"}, "the container mixes the dialects of Alibaba and Tencent vCUDA"),
    ],
)
@pytest.mark.parametrize("annotated", [True, False])
def test_a_copy_whose_two_sets_disagree_is_refused_naming_both(
    pod: Make, admission: Any, changed: dict[str, str], said: str, annotated: bool
) -> None:
    copied = admission.create(pod(EVERY_SHARE["memory"]))
    copied["spec"]["containers"][0]["resources"]["limits"] |= changed
    copied["spec"]["containers"][0]["resources"]["requests"] |= changed
    if not annotated:
        del copied["metadata"]["annotations"]
    verdict = admission.mutate(copied)
    assert verdict.outcome == "refused" and said in verdict.reason
    assert "forged" in admission.validate(copied).outcome or admission.validate(copied).outcome == "refused"


def noted(*resources: str) -> dict[str, str]:
    """The API server's note of defaults that a LimitRange put into the container."""
    words = f"cpu request for container main; {', '.join(resources)} limit for container main"
    return {limit_ranges.ANNOTATION: f"LimitRanger plugin set: {words}"}


@pytest.mark.parametrize(
    ("fields", "defaults", "wanted"),
    [
        ({"aliyun.com/gpu-mem": 2}, {"nvidia.com/gpu": 2}, Request(1, MiB(2048), policy=UNLIMITED)),
        ({"aliyun.com/gpu": 1}, {"aliyun.com/gpu-mem": 2}, Request(1, whole=True)),
        ({"aliyun.com/gpu-mem": 4}, {"unigpu.dev/memory": 4096}, Request(1, MiB(4096), policy=UNLIMITED)),
        ({"aliyun.com/gpu-mem": 4}, {"unigpu.dev/memory": 9999}, Request(1, MiB(4096), policy=UNLIMITED)),
        ({"nvidia.com/gpu": 1}, {"nvidia.com/gpumem": 1000}, Request(1, MiB(1000), policy=UNLIMITED)),
        ({}, {"nvidia.com/gpu": 2}, Request(2, whole=True)),
    ],
    ids=str,
)
def test_defaults_of_a_limit_range_yield_to_the_authors_words(
    pod: Make, admission: Any, fields: dict[str, int], defaults: dict[str, int], wanted: Request
) -> None:
    document = pod({name: str(value) for name, value in (fields | defaults).items()}, annotations=noted(*defaults))
    created = admission.create(document)
    found = dataclasses.replace(read(created), dialect="unigpu", original_fields={})
    assert found == wanted
    assert not [line for line in warnings(admission, document) if "a LimitRange of the namespace" in line] or not fields


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
