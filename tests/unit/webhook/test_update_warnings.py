"""Updates that don't do, or not for long, what their author may expect."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from unigpu import allocations, names
from unigpu.allocations import Allocation, Share
from unigpu.units import GpuUuid, MiB, Percent
from webhook.limits import update_warnings

LIMITS = names.ANNOTATION_LIMITS
Make = Callable[..., dict[str, Any]]
VCUDA = {"tencent.com/vcuda-core": 30, "tencent.com/vcuda-memory": 8}
MAY_BE_LIMITED, CHOOSES = "accepted: kubectl unigpu limit, or a new pod", "accepted: a new pod"
USER = {"userInfo": {"username": "alice"}}


def warnings(admission: Any, old: dict[str, Any], new: dict[str, Any], **fields: Any) -> list[str]:
    verdict = admission.validate(new, operation="UPDATE", oldObject=old, **(USER | fields))
    assert verdict.answer["response"]["allowed"], verdict.reason
    found: list[str] = verdict.answer["response"].get("warnings", [])
    return found


def changed(document: dict[str, Any], kind: str, **values: str | None) -> dict[str, Any]:
    after = copy.deepcopy(document)
    for name, value in values.items():
        present = after["metadata"].setdefault(kind, {})
        if value is None:
            del present[name]
        else:
            present[name] = value
    return after


@pytest.mark.parametrize(
    ("kind", "name", "instead"),
    [
        ("annotations", "tencent.com/vcuda-core-limit", MAY_BE_LIMITED),
        ("annotations", "gpu-fraction", MAY_BE_LIMITED),
        ("annotations", "nvidia.com/gpumem", MAY_BE_LIMITED),
        ("annotations", "nvidia.com/use-gputype", CHOOSES),
        ("labels", "aliyun.com/gpu-count", CHOOSES),
    ],
)
def test_what_counts_at_creation_is_warned_of(pod: Make, admission: Any, kind: str, name: str, instead: str) -> None:
    before = admission.create(pod(VCUDA))
    after = changed(before, kind, **{name: "2"})
    title = f"pod: {kind[:-1]} {name}"
    why = "the change has no effect on a running pod"
    assert warnings(admission, before, after) == [f"{title} = 2: {why}; {instead}"]
    assert warnings(admission, after, before) == [f"{title} = absent: {why}; {instead}"]
    assert not warnings(admission, after, changed(after, kind, mine="x"))
    assert not warnings(admission, before, after, userInfo={"username": "scheduler"})
    assert not warnings(admission, before, after, subResource="status")


def test_every_name_that_translation_reads_is_known() -> None:
    assert {"tencent.com/vcuda-core-limit", "gpu-memory", "hami.io/node-scheduler-policy"} <= set(
        update_warnings.ANNOTATIONS
    )
    assert {"ack.gpushare.placement", "hami.io/webhook"} <= set(update_warnings.LABELS)


def test_pods_without_a_share_are_left_alone(pod: Make, admission: Any) -> None:
    before = pod({"cpu": 1})
    assert not warnings(admission, before, changed(before, "annotations", **{"gpu-memory": "80gb"}))


def running(admission: Any, document: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    found: dict[str, Any] = copy.deepcopy(admission.create(document))
    share = Share(GpuUuid("GPU-a"), MiB(2048), Percent(30))
    text = allocations.dump(Allocation("n1", {"main": (share,)}))
    found["metadata"]["annotations"][names.ANNOTATION_ALLOCATION] = text
    found["metadata"] |= {"uid": "u1", "namespace": "a"} | metadata
    return found


OWNER = {"kind": "ReplicaSet", "name": "web-5d9f", "controller": True}


@pytest.mark.parametrize(
    ("owners", "text", "says"),
    [
        ([OWNER], "memory=1Gi", ["ends with this pod; the next pod of ReplicaSet web-5d9f starts as requested"]),
        ([{**OWNER, "controller": False}], "memory=1Gi", []),
        ([], "memory=1Gi", []),
        (None, "memory=1Gi", []),
        (["?"], "memory=1Gi", []),
        ([OWNER], "", []),
    ],
)
def test_a_limit_ends_with_its_pod(pod: Make, admission: Any, owners: Any, text: str, says: list[str]) -> None:
    before = running(admission, pod(VCUDA), ownerReferences=owners)
    after = changed(before, "annotations", **{LIMITS: text})
    assert warnings(admission, before, after) == [f"pod: annotation {LIMITS} = {text}: {line}" for line in says]


def test_both_at_once(pod: Make, admission: Any) -> None:
    before = running(admission, pod(VCUDA), ownerReferences=[OWNER])
    wish = json.dumps({"main": {"memory": "1Gi"}})
    after = changed(before, "annotations", **{LIMITS: wish, "tencent.com/vcuda-core-limit": "80"})
    first, second = warnings(admission, before, after)
    assert "tencent.com/vcuda-core-limit" in first and "ends with this pod" in second
