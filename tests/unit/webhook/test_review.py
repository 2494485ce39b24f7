"""Reviews: mutation, validation, and annotations that only the platform writes."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from unigpu import errors, names, requests
from webhook.admission import admission_review
from webhook.translation.options import Options

MEM = "aliyun.com/gpu-mem"
REQUEST, ALLOCATION = names.ANNOTATION_REQUEST, names.ANNOTATION_ALLOCATION
Make = Callable[..., dict[str, Any]]


def limits(document: dict[str, Any], index: int = 0) -> dict[str, str]:
    found: dict[str, str] = document["spec"]["containers"][index]["resources"]["limits"]
    return found


def test_a_pod_becomes_the_unified_form(pod: Make, admission: Any) -> None:
    created = admission.create(pod({MEM: "3", "cpu": "1"}, schedulerName="default-scheduler"))
    assert limits(created) == {"cpu": "1", MEM: "3", names.RESOURCE_VGPU: "1", names.RESOURCE_MEMORY: "3072"}
    assert created["spec"]["containers"][0]["resources"]["requests"] == {
        MEM: "3",
        names.RESOURCE_VGPU: "1",
        names.RESOURCE_MEMORY: "3072",
    }
    assert created["spec"]["schedulerName"] == names.SCHEDULER_NAME
    read = requests.load(created["metadata"]["annotations"][REQUEST])
    assert read.containers["main"].memory == 3072


def test_requests_and_limits_say_the_same(pod: Make, admission: Any) -> None:
    resources = {"limits": {MEM: "3"}, "requests": {MEM: "3", "cpu": "1"}}
    created = admission.create(pod(containers=[{"name": "a", "resources": resources}]))
    assert created["spec"]["containers"][0]["resources"] == {
        "limits": {MEM: "3", names.RESOURCE_VGPU: "1", names.RESOURCE_MEMORY: "3072"},
        "requests": {MEM: "3", "cpu": "1", names.RESOURCE_VGPU: "1", names.RESOURCE_MEMORY: "3072"},
    }


@pytest.mark.parametrize(
    ("fields", "dropped"),
    [
        ({MEM: "8", "aliyun.com/gpu-count": "2"}, {"aliyun.com/gpu-count"}),
        ({"tencent.com/vcuda-core": "100", "tencent.com/vcuda-memory": "9000"}, {"tencent.com/vcuda-memory"}),
        (
            {"nvidia.com/gpu": "1", "nvidia.com/gpumem": "9", "nvidia.com/gpumem-percentage": "90"},
            {"nvidia.com/gpumem-percentage"},
        ),
        ({MEM: "3"}, set()),
    ],
    ids=str,
)
def test_what_has_no_effect_is_taken_out_where_nodes_publish_capacities(
    pod: Make, admission_with: Any, fields: dict[str, str], dropped: set[str]
) -> None:
    """A kubelet could refuse the pod for it."""
    kept = limits(admission_with(Options()).create(pod(fields)))
    assert kept.keys() >= fields.keys()
    published = admission_with(Options(published=True))
    created = published.create(pod(fields))
    assert kept.keys() - limits(created).keys() == dropped
    assert published.create(created)["spec"] == created["spec"]


def test_vendors_resources_can_be_replaced(pod: Make, admission_with: Any) -> None:
    resources = {"limits": {MEM: "3"}, "requests": {MEM: "3", "cpu": "1"}}
    admission = admission_with(Options(keep_vendors=False))
    created = admission.create(pod(containers=[{"name": "a", "resources": resources}]))
    assert created["spec"]["containers"][0]["resources"] == {
        "limits": {names.RESOURCE_VGPU: "1", names.RESOURCE_MEMORY: "3072"},
        "requests": {"cpu": "1", names.RESOURCE_VGPU: "1", names.RESOURCE_MEMORY: "3072"},
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"nvidia.com/gpu": 2}, {names.RESOURCE_VGPU: "2", names.RESOURCE_CORES: "200"}),
        (
            {"nvidia.com/gpu": 1, "nvidia.com/gpumem-percentage": 40},
            {names.RESOURCE_VGPU: "1", names.RESOURCE_MEMORY: "0"},
        ),
        (
            {"nvidia.com/gpu": 2, "nvidia.com/gpumem": 3000, "nvidia.com/gpucores": 30},
            {names.RESOURCE_VGPU: "2", names.RESOURCE_MEMORY: "6000", names.RESOURCE_CORES: "60"},
        ),
    ],
    ids=str,
)
def test_totals(pod: Make, admission: Any, fields: dict[str, Any], expected: dict[str, str]) -> None:
    assert limits(admission.create(pod(fields))) == fields | expected


def test_the_users_fields_stay(pod: Make, admission: Any) -> None:
    document = pod(
        {MEM: 1},
        annotations={"a": "b"},
        labels={"c": "d"},
        nodeSelector={"aliyun.accelerator/nvidia_name": "x"},
        tolerations=[{"key": "k"}],
        affinity={"nodeAffinity": {}},
    )
    created = admission.create(document)
    del created["metadata"]["annotations"][REQUEST]
    created["spec"].pop("schedulerName")
    created["spec"]["containers"][0]["resources"] = document["spec"]["containers"][0]["resources"]
    assert created == document


def test_a_second_pass_changes_nothing(pod: Make, admission: Any) -> None:
    created = admission.create(pod({MEM: 8, "cpu": 1}, labels={"aliyun.com/gpu-count": "2"}))
    verdict = admission.mutate(created)
    assert verdict.outcome == "unchanged"
    assert "patch" not in verdict.answer["response"]


def test_the_unified_form_by_hand_needs_no_translation_of_resources(pod: Make, admission: Any) -> None:
    by_hand = {names.RESOURCE_VGPU: "1", names.RESOURCE_MEMORY: "512"}
    assert limits(admission.create(pod(by_hand))) == by_hand


def test_a_pod_without_gpus_is_untouched(pod: Make, admission: Any) -> None:
    verdict = admission.mutate(pod({"cpu": 1}))
    assert verdict.outcome == "untouched"
    assert verdict.answer["response"] == {"uid": "u", "allowed": True}


def test_a_refusal_says_all(pod: Make, admission: Any) -> None:
    containers = [
        {"name": name, "resources": {"limits": {"tencent.com/vcuda-core": value}}}
        for name, value in (("a", 150), ("b", 50))
    ]
    response = admission.mutate(pod(containers=containers)).answer["response"]
    assert not response["allowed"]
    assert response["status"]["code"] == 422
    message = response["status"]["message"]
    assert message.startswith("2 problems:")
    assert "container a: tencent.com/vcuda-core = 150" in message
    assert "container b: tencent.com/vcuda-core = 50" in message


def test_warnings_reach_kubectl(pod: Make, admission: Any) -> None:
    (warning,) = admission.mutate(pod({MEM: 1}, env={"CGPU_DISABLE": "yes"})).answer["response"]["warnings"]
    assert "CGPU_DISABLE" in warning


@pytest.mark.parametrize("annotation", [ALLOCATION, names.ANNOTATION_LIMITS_APPLIED, names.ANNOTATION_LOWERED])
def test_an_allocation_cant_pass_mutation(pod: Make, admission: Any, annotation: str) -> None:
    verdict = admission.validate(pod({MEM: 1}, annotations={annotation: "{}"}))
    assert verdict.outcome == "forged"
    assert verdict.answer["response"]["status"]["code"] == 403


def forge(created: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The created pod with other values in its request annotation."""
    document = json.loads(created["metadata"]["annotations"][REQUEST])
    document["containers"]["main"].update(changes)
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    created["metadata"]["annotations"][REQUEST] = text
    return created


@pytest.mark.parametrize(
    "changes",
    [
        {"memory": 4096},
        {"memory": 0},
        {"gpus": 2},
        {"cores": 50},
        {"ceiling": 50},
        {"whole": True},
        {"isolated": False},
        {"role": "init"},
        {"dialect": "mine"},
        {"priority": 2},
        {"policy": "soft"},
        {"memory_percent": 50},
        {"memory": "1"},
        {"original_fields": {"a": 1}},
        {"more": 1},
        {"whole": 1},
        {"dialect": ["alibaba"]},
    ],
    ids=str,
)
@pytest.mark.parametrize("review", ["mutate", "validate"])
def test_a_request_that_isnt_what_the_pod_says_is_refused(
    pod: Make, admission: Any, changes: dict[str, Any], review: str
) -> None:
    created = forge(admission.create(pod({MEM: 2})), **changes)
    verdict = getattr(admission, review)(created)
    assert verdict.outcome == "refused"
    assert REQUEST in verdict.reason or "unigpu.dev/" in verdict.reason


def test_a_request_for_containers_that_arent_there(pod: Make, admission: Any) -> None:
    created = admission.create(pod({MEM: 2}))
    created["spec"]["containers"][0]["name"] = "other"
    assert admission.mutate(created).outcome == "refused"


def test_a_request_beside_fields_that_arent_translated(pod: Make, admission: Any) -> None:
    created = admission.create(pod({MEM: 2}))
    created["spec"]["containers"].append({"name": "b", "resources": {"limits": {MEM: "1"}}})
    verdict = admission.mutate(created)
    assert verdict.outcome == "refused"
    assert MEM in verdict.reason


def test_a_request_that_limits_nothing(pod: Make, admission: Any) -> None:
    text = '{"containers":{"main":{"dialect":"unigpu","gpus":1}},"version":1}'
    document = pod({names.RESOURCE_VGPU: "1"}, annotations={REQUEST: text}, schedulerName=names.SCHEDULER_NAME)
    assert admission.mutate(document).outcome == "refused"


@pytest.mark.parametrize("text", ["", "x", "[]", "{}", '{"version":2}', "[" * 9000, '{"version":1,"containers":{}}'])
def test_a_request_that_is_none(pod: Make, admission: Any, text: str) -> None:
    assert admission.mutate(pod(annotations={REQUEST: text})).outcome == "refused"


def test_preferences_must_be_the_annotations(pod: Make, admission: Any) -> None:
    created = admission.create(pod({MEM: 2}, annotations={"nvidia.com/use-gputype": "A100"}))
    assert admission.mutate(created).outcome == "unchanged"
    created["metadata"]["annotations"]["nvidia.com/use-gputype"] = "H100"
    assert admission.mutate(created).outcome == "refused"


def test_opting_out_counts_for_translated_pods_too(pod: Make, admission: Any, admission_with: Any) -> None:
    created = admission.create(pod({MEM: 2}, env={"CGPU_DISABLE": "true"}))
    assert admission.mutate(created).outcome == "unchanged"
    assert admission_with(Options(opting_out=False)).mutate(created).outcome == "refused"


def test_gpus_added_after_translation_are_refused(pod: Make, admission: Any) -> None:
    verdict = admission.validate(pod({MEM: 2}))
    assert verdict.outcome == "refused"
    assert "wasn't translated" in verdict.reason


def test_a_scheduler_changed_after_translation_is_refused(pod: Make, admission: Any) -> None:
    created = admission.create(pod({MEM: 2}))
    created["spec"]["schedulerName"] = "default-scheduler"
    assert admission.validate(created).outcome == "refused"


@pytest.mark.parametrize("name", [REQUEST, ALLOCATION])
@pytest.mark.parametrize(("before", "after"), [(None, "x"), ("x", None), ("x", "y"), (None, "")])
def test_only_the_platform_changes_its_annotations(
    pod: Make, admission: Any, name: str, before: str | None, after: str | None
) -> None:
    old = pod(annotations={name: before} if before is not None else {})
    new = pod(annotations={name: after} if after is not None else {})
    update = {"operation": "UPDATE", "oldObject": old}
    assert admission.validate(new, userInfo={"username": "alice"}, **update).outcome == "forged"
    assert admission.validate(new, userInfo={"username": "scheduler"}, **update).outcome == "untouched"


@pytest.mark.parametrize("name", [REQUEST, ALLOCATION])
def test_only_the_platform_brings_its_annotations_with_a_binding(admission: Any, name: str) -> None:
    binding = {"metadata": {"name": "p", "annotations": {name: "x"}}, "target": {"kind": "Node", "name": "n"}}
    asked = {"kind": {"kind": "Binding"}, "subResource": "binding"}
    verdict = admission.validate(binding, userInfo={"username": "alice"}, **asked)
    assert verdict.outcome == "forged" and name in verdict.reason and "alice" in verdict.reason
    assert admission.validate(binding, userInfo={"username": "scheduler"}, **asked).outcome == "untouched"
    plain = {**binding, "metadata": {"name": "p", "annotations": {"mine": "x"}}}
    assert admission.validate(plain, userInfo={"username": "alice"}, **asked).outcome == "untouched"


def test_other_updates_pass(pod: Make, admission: Any) -> None:
    old = pod({MEM: 1}, annotations={ALLOCATION: "x", "a": "b"})
    new = pod({MEM: 1}, annotations={ALLOCATION: "x", "a": "c"})
    verdict = admission.validate(new, operation="UPDATE", oldObject=old, userInfo={"username": "system:node:n1"})
    assert verdict.outcome == "untouched"


@pytest.mark.parametrize(
    "fields",
    [{"kind": {"kind": "Deployment", "group": "apps"}}, {"operation": "DELETE"}, {"subResource": "binding"}],
    ids=str,
)
def test_what_isnt_the_creation_of_a_pod_passes(pod: Make, admission: Any, fields: dict[str, Any]) -> None:
    assert admission.mutate(pod({MEM: 1}), **fields).outcome == "untouched"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview"}',
        b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}',
        b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":[]}',
        b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":1}}',
        b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","object":1}}',
    ],
    ids=str,
)
def test_what_is_no_review_is_malformed(body: bytes) -> None:
    with pytest.raises(errors.Malformed):
        admission_review.read(body)


@pytest.mark.parametrize(
    "document",
    [
        {"metadata": []},
        {"metadata": {"labels": {"a": 1}}},
        {"spec": {"containers": {}}},
        {"spec": {"containers": ["a"]}},
        {"spec": {"containers": [{"resources": {"limits": []}}]}},
        {"spec": {"containers": [{"resources": {"limits": {"a": {}}}}]}},
        {"spec": {"containers": [{"resources": {"limits": {"a": True}}}]}},
        {"spec": {"containers": [{"env": [{"name": "a", "value": 1}]}]}},
        {"spec": {"schedulerName": 1}},
    ],
    ids=str,
)
def test_what_is_no_pod_is_malformed(admission: Any, document: dict[str, Any]) -> None:
    with pytest.raises(errors.Malformed):
        admission.mutate(document)
