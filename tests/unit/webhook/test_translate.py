"""Whole pods: several containers, mixed dialects, what keeps a pod from our scheduler."""

from collections.abc import Callable
from typing import Any

import pytest

from unigpu.requests import Role
from webhook.translation import pod_reading, pods, translate
from webhook.translation.options import VENDORS_SCHEDULERS, Options

MEM, VCORE, VMEM = "aliyun.com/gpu-mem", "tencent.com/vcuda-core", "tencent.com/vcuda-memory"
Make = Callable[..., dict[str, Any]]


def container(name: str, limits: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    return {"name": name, "resources": {"limits": limits or {}}} | fields


def read(document: dict[str, Any], options: Options | None = None) -> translate.Translation:
    return translate.translate(pod_reading.read(pods.read(document), options or Options()))


def test_containers_of_every_role_and_dialect(pod: Make) -> None:
    document = pod(
        containers=[container("a", {MEM: 1}), container("b", {VCORE: 10, VMEM: 1}), container("c")],
        initContainers=[container("i", {"nvidia.com/gpu": 1}), container("s", {MEM: 2}, restartPolicy="Always")],
    )
    translation = read(document)
    assert translation.request is not None
    found = {name: (wish.role, wish.dialect) for name, wish in translation.request.containers.items()}
    assert found == {
        "i": (Role.INIT, "hami"),
        "s": (Role.SIDECAR, "alibaba"),
        "a": (Role.MAIN, "alibaba"),
        "b": (Role.MAIN, "tencent"),
    }
    assert translation.dialects == ("alibaba", "hami", "tencent")


def test_one_container_with_two_dialects_is_refused_naming_both(pod: Make) -> None:
    (problem,) = read(pod({MEM: 1, "nvidia.com/gpu": 1})).problems
    assert "Alibaba" in problem.why and "HAMi" in problem.why
    assert MEM in problem.accepted and "nvidia.com/gpu" in problem.accepted


def test_all_problems_at_once(pod: Make) -> None:
    document = pod(
        containers=[container("a", {MEM: "1.5"}), container("b", {VCORE: 150}), container("c", {VCORE: 5})],
        schedulerName="mine",
        nodeName="n1",
    )
    problems = read(document).problems
    assert [(problem.container, problem.field) for problem in problems] == [
        ("", "spec.schedulerName"),
        ("", "spec.nodeName"),
        ("a", MEM),
        ("b", VCORE),
        ("c", VCORE),
    ]


@pytest.mark.parametrize("name", sorted(VENDORS_SCHEDULERS - {""}))
def test_vendors_schedulers_are_taken_over(pod: Make, name: str) -> None:
    assert read(pod({MEM: 1}, schedulerName=name)).request is not None


@pytest.mark.parametrize("field", [{"schedulerName": "mine"}, {"nodeName": "n1"}], ids=str)
def test_who_skips_our_scheduler_is_refused_only_with_gpus(pod: Make, field: dict[str, str]) -> None:
    assert read(pod({MEM: 1}, **field)).problems
    assert not read(pod({"cpu": 1}, **field)).problems


def test_requests_without_limits_are_refused(pod: Make) -> None:
    document = pod(containers=[{"name": "a", "resources": {"requests": {MEM: "1"}}}])
    (problem,) = read(document).problems
    assert "limits" in problem.accepted


def test_requests_other_than_limits_are_refused(pod: Make) -> None:
    document = pod(containers=[{"name": "a", "resources": {"requests": {MEM: "1"}, "limits": {MEM: "2"}}}])
    (problem,) = read(document).problems
    assert problem.why == "limits say 2, requests say 1"


def test_requests_written_another_way_are_equal(pod: Make) -> None:
    document = pod(containers=[{"name": "a", "resources": {"requests": {MEM: "1k"}, "limits": {MEM: "1000"}}}])
    assert not read(document).problems


def test_ephemeral_containers_cant_have_gpus(pod: Make) -> None:
    (problem,) = read(pod(ephemeralContainers=[container("e", {MEM: 1})])).problems
    assert (problem.container, problem.field) == ("e", MEM)


def test_pod_level_gpus_are_refused(pod: Make) -> None:
    (problem,) = read(pod(resources={"limits": {MEM: 1, "cpu": 1}})).problems
    assert problem.field == f"spec.resources.limits {MEM}"


def test_namesakes_are_refused(pod: Make) -> None:
    problems = read(pod(containers=[container("a", {MEM: 1}), container("a", {MEM: 2})])).problems
    assert [problem.field for problem in problems] == ["name"]


@pytest.mark.parametrize("variable", ["CGPU_DISABLE", "CUDA_DISABLE_CONTROL"])
def test_opting_out_where_the_platform_forbids_it(pod: Make, variable: str) -> None:
    (problem,) = read(pod({MEM: 1}, env={variable: "true"}), Options(opting_out=False)).problems
    assert (problem.field, problem.value) == (f"env {variable}", "true")
    assert not read(pod({MEM: 1}, env={variable: "false"}), Options(opting_out=False)).problems


def test_a_switch_from_elsewhere_leaves_the_container_isolated(pod: Make) -> None:
    env = [{"name": "CGPU_DISABLE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    translation = read(pod(containers=[container("a", {MEM: 1}, env=env)]))
    assert translation.request is not None
    assert translation.request.containers["a"].isolated
    assert "valueFrom" in translation.warnings[0]
