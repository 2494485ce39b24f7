"""A manifest applied again over the pod that came of it."""

import copy
from collections.abc import Callable
from typing import Any

import jsonpatch
import pytest

from unigpu import names
from webhook.translation import reapply
from webhook.translation.options import BareGpu, Options

Make = Callable[..., dict[str, Any]]
MANIFESTS = {
    "alibaba": {"aliyun.com/gpu-mem": "3"},
    "tencent": {"tencent.com/vcuda-core": "30", "tencent.com/vcuda-memory": "10"},
    "whole GPU": {"nvidia.com/gpu": "1"},
    "binary suffix": {"nvidia.com/gpumem": "2Gi"},
    "volcano": {"volcano.sh/vgpu-number": "1", "volcano.sh/vgpu-memory": "500"},
}


REPLACING = Options(keep_vendors=False)


@pytest.fixture
def admission(admission_with: Any) -> Any:
    """Admission that takes vendors' resources out."""
    return admission_with(REPLACING)


def applied(live: dict[str, Any], limits: dict[str, Any]) -> dict[str, Any]:
    """The pod as the API server has it after `kubectl apply` merged the manifest: limits come back, requests follow."""
    merged = copy.deepcopy(live)
    resources = merged["spec"]["containers"][0]["resources"]
    resources["limits"].update(limits)
    resources.setdefault("requests", {}).update(limits)
    return merged


@pytest.mark.parametrize("limits", MANIFESTS.values(), ids=MANIFESTS)
def test_the_same_manifest_changes_nothing(pod: Make, admission: Any, limits: dict[str, str]) -> None:
    live = admission.create(pod(limits))
    again = applied(live, limits)
    assert again != live
    found = reapply.restore(live, again, REPLACING)
    assert found.problems == ()
    assert jsonpatch.apply_patch(again, found.patch) == live


@pytest.mark.parametrize("limits", MANIFESTS.values(), ids=MANIFESTS)
def test_what_stays_in_the_pod_needs_no_restoring(pod: Make, admission_with: Any, limits: dict[str, str]) -> None:
    live = admission_with(Options()).create(pod(limits, schedulerName="hami-scheduler"))
    again = applied(live, limits)
    again["spec"]["schedulerName"] = "hami-scheduler"
    found = reapply.restore(live, again, Options())
    assert found.problems == () and [operation["path"] for operation in found.patch] == ["/spec/schedulerName"]
    changed = next(iter(limits))
    (problem,) = reapply.restore(live, applied(live, {changed: "9"}), Options()).problems
    assert f"{changed} = 9: the pod was created with {limits[changed]}" in str(problem)


def test_what_is_left_to_another_plugin_comes_and_goes(pod: Make, admission_with: Any) -> None:
    """With `leave`, admission takes nvidia.com/gpu out, and `kubectl apply` brings it back."""
    leaving = Options(bare_gpu=BareGpu.LEAVE)
    limits = {"nvidia.com/gpu": "2", "nvidia.com/gpumem": "3000"}
    live = admission_with(leaving).create(pod(limits))
    assert "nvidia.com/gpu" not in live["spec"]["containers"][0]["resources"]["limits"]
    again = applied(live, {"nvidia.com/gpu": "2"})
    assert jsonpatch.apply_patch(again, reapply.restore(live, again, leaving).patch) == live
    assert reapply.restore(live, applied(live, {"nvidia.com/gpu": "3"}), leaving).problems


def test_another_vendors_scheduler_is_put_back_too(pod: Make, admission: Any) -> None:
    live = admission.create(pod(MANIFESTS["alibaba"], schedulerName="hami-scheduler"))
    again = applied(live, MANIFESTS["alibaba"])
    again["spec"]["schedulerName"] = "hami-scheduler"
    assert jsonpatch.apply_patch(again, reapply.restore(live, again, Options()).patch) == live


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"aliyun.com/gpu-mem": "4"}, "aliyun.com/gpu-mem = 4: the pod was created with 3"),
        (
            {"aliyun.com/gpu-mem": "3", "nvidia.com/gpu": "1"},
            "nvidia.com/gpu = 1: the pod was created without this field",
        ),
    ],
)
def test_another_request_is_refused_with_the_reason(
    pod: Make, admission: Any, changed: dict[str, str], told: str
) -> None:
    live = admission.create(pod(MANIFESTS["alibaba"]))
    found = reapply.restore(live, applied(live, changed), REPLACING)
    assert told in "\n".join(map(str, found.problems))
    assert found.patch == []


def test_what_else_the_author_changes_is_left_to_the_api_server(pod: Make, admission: Any) -> None:
    live = admission.create(pod(MANIFESTS["alibaba"]))
    again = applied(live, MANIFESTS["alibaba"])
    again["spec"]["containers"][0]["image"] = "another"
    result = jsonpatch.apply_patch(again, reapply.restore(live, again, Options()).patch)
    assert result["spec"]["containers"][0]["image"] == "another"
    assert result["spec"]["containers"][0]["resources"] == live["spec"]["containers"][0]["resources"]


def test_a_pod_that_was_never_translated_is_left_alone(pod: Make) -> None:
    untouched = pod({"cpu": "1"})
    assert reapply.restore(untouched, applied(untouched, MANIFESTS["alibaba"]), Options()) == reapply.Reapplied()
    assert names.ANNOTATION_REQUEST not in untouched["metadata"].get("annotations", {})


def test_a_dialect_that_nobody_knows_any_more_is_left_to_the_api_server(pod: Make, admission: Any) -> None:
    live = admission.create(pod(MANIFESTS["alibaba"]))
    notes = live["metadata"]["annotations"]
    notes[names.ANNOTATION_REQUEST] = notes[names.ANNOTATION_REQUEST].replace('"alibaba"', '"gone"')
    assert reapply.restore(live, applied(live, MANIFESTS["alibaba"]), Options()) == reapply.Reapplied()
