"""Dialects whose requests are annotations: KAI's, NVIDIA's own fractions and tensor-fusion's."""

import dataclasses
from typing import Any

import pytest

from tests.unit.webhook.test_dialects import UNLIMITED, Make, only, read
from unigpu.requests import ComputePolicy, Request
from unigpu.units import MiB, Percent


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        (
            {"gpu-fraction": "0.5"},
            {"gpus": 1, "memory_percent": 50, "cores": 50, "ceiling": 100, "policy": ComputePolicy.SOFT},
        ),
        ({"gpu-memory": "2000"}, {"gpus": 1, "memory": 2000, "policy": UNLIMITED}),
        ({"gpu-memory": "2Gi", "gpu-fraction-num-devices": "2"}, {"gpus": 2, "memory": 2048, "policy": UNLIMITED}),
    ],
    ids=str,
)
def test_annotations_mean(pod: Make, annotations: dict[str, str], expected: dict[str, Any]) -> None:
    assert only(read(pod(annotations=annotations, schedulerName="kai-scheduler"))) == expected


def test_annotations_may_name_the_container(pod: Make) -> None:
    containers = [{"name": "a"}, {"name": "b"}]
    named = {"gpu-fraction": "0.5", "gpu-fraction-container-name": "b"}
    by_name = read(pod(containers=containers, annotations=named)).request
    first = read(pod(containers=containers, annotations={"gpu-fraction": "0.5"})).request
    assert by_name is not None and first is not None
    assert (list(by_name.containers), list(first.containers)) == (["b"], ["a"])
    assert by_name.containers["b"].original_fields == named


@pytest.mark.parametrize(
    ("annotations", "field", "value"),
    [
        ({"gpu-fraction": "1"}, "gpu-fraction", "1"),
        ({"gpu-fraction": "0"}, "gpu-fraction", "0"),
        ({"gpu-fraction": "half"}, "gpu-fraction", "half"),
        ({"gpu-memory": "0"}, "gpu-memory", "0"),
        ({"gpu-memory": "1.5"}, "gpu-memory", "1.5"),
        ({"gpu-memory": "3000m"}, "gpu-memory", "3000m"),
        ({"gpu-fraction": "0.5", "gpu-memory": "1"}, "gpu-memory", "1"),
        ({"gpu-fraction": "0.5", "gpu-fraction-num-devices": "17"}, "gpu-fraction-num-devices", "17"),
        ({"gpu-fraction": "0.5", "gpu-fraction-container-name": "z"}, "gpu-fraction-container-name", "z"),
    ],
    ids=str,
)
def test_problems_with_annotations(pod: Make, annotations: dict[str, str], field: str, value: str) -> None:
    (problem,) = read(pod(annotations=annotations, schedulerName="kai-scheduler")).problems
    assert (problem.field, problem.value) == (field, value)


FRACTION, FUSION = "nvidia.com/container.main.", "tensor-fusion.ai/"


@pytest.mark.parametrize(
    ("annotations", "wanted"),
    [
        ({f"{FRACTION}gpu-memory.limit": "4Gi"}, Request(1, MiB(4096), policy=UNLIMITED, dialect="nvfractions")),
        (
            {
                f"{FRACTION}gpu-memory.request": "1Gi",
                f"{FRACTION}gpu-memory.limit": "2Gi",
                f"{FRACTION}gpu-compute.mode": "sm-sharing",
                "gpu-fraction-num-devices": "3",
                "gpu-fraction": "0.25",
            },
            Request(3, MiB(2048), policy=UNLIMITED, dialect="nvfractions"),
        ),
        (
            {f"{FUSION}vram-request": "2Gi", f"{FUSION}vram-limit": "4Gi", f"{FUSION}tflops-request": "10"},
            Request(1, MiB(4096), policy=UNLIMITED, dialect="tensor-fusion"),
        ),
        (
            {
                f"{FUSION}vram-limit": "512Mi",
                f"{FUSION}compute-percent-request": "20",
                f"{FUSION}compute-percent-limit": "50",
                f"{FUSION}gpu-count": "2",
                f"{FUSION}inject-container": "other, main",
            },
            Request(
                2, MiB(512), cores=Percent(20), ceiling=Percent(50), policy=ComputePolicy.SOFT, dialect="tensor-fusion"
            ),
        ),
        (
            {f"{FUSION}dedicated-gpu": "true", f"{FUSION}gpu-count": "2", f"{FUSION}gpu-model": "A100"},
            Request(2, whole=True, dialect="tensor-fusion"),
        ),
    ],
    ids=str,
)
def test_requests_by_annotation(pod: Make, annotations: dict[str, str], wanted: Request) -> None:
    labels = {"tensor-fusion.ai/enabled": "true"} if wanted.dialect == "tensor-fusion" else {}
    request = read(pod(annotations=annotations, labels=labels)).request
    assert request is not None
    assert dataclasses.replace(request.containers["main"], original_fields={}) == wanted
    if f"{FUSION}gpu-model" in annotations:
        assert request.preferences.use_types == ("A100",)


@pytest.mark.parametrize(
    ("annotations", "field"),
    [
        ({f"{FRACTION}gpu-memory.limit": "4gb"}, f"{FRACTION}gpu-memory.limit"),
        ({f"{FRACTION}gpu-memory.limit": "0"}, f"{FRACTION}gpu-memory.limit"),
        (
            {f"{FRACTION}gpu-memory.limit": "1Gi", f"{FRACTION}gpu-memory.request": "2Gi"},
            f"{FRACTION}gpu-memory.request",
        ),
        ({f"{FRACTION}gpu-compute.mode": "time-slicing"}, f"{FRACTION}gpu-compute.mode"),
        ({f"{FRACTION}gpu-memory.limit": "1Gi", f"{FRACTION}gpu-compute.mode": "mps"}, f"{FRACTION}gpu-compute.mode"),
        ({f"{FUSION}tflops-request": "10"}, f"{FUSION}vram-limit"),
        ({f"{FUSION}vram-limit": "1Gi", f"{FUSION}gpu-count": "0"}, f"{FUSION}gpu-count"),
        (
            {
                f"{FUSION}vram-limit": "1Gi",
                f"{FUSION}compute-percent-request": "50",
                f"{FUSION}compute-percent-limit": "20",
            },
            f"{FUSION}compute-percent-limit",
        ),
    ],
    ids=str,
)
def test_requests_by_annotation_are_refused(pod: Make, annotations: dict[str, str], field: str) -> None:
    labels = {"tensor-fusion.ai/enabled": "true"}
    assert read(pod(labels=labels)).request is None
    problems = read(pod(annotations=annotations, labels=labels)).problems
    assert field in [problem.field for problem in problems]


def test_a_note_on_another_dialects_pod_stays_a_note(pod: Make, admission: Any) -> None:
    """The stored pod has unigpu's scheduler, which KAI's pods have too."""
    stored = admission.create(pod({"aliyun.com/gpu": 1}, annotations={"gpu-memory": "16Gi"}))
    assert admission.validate(stored).outcome == "unchanged"
    assert admission.mutate(stored).outcome == "unchanged"
    kais = admission.create(pod(annotations={"gpu-memory": "2000"}, schedulerName="kai-scheduler"))
    assert admission.validate(kais).outcome == "unchanged"
    assert admission.mutate(kais).outcome == "unchanged"
