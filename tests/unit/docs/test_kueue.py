"""The transformations for Kueue give what admission gives, by the arithmetic that Kueue documents.

Source: `applyResourceTransformations` in pkg/workload/workload.go of Kueue 0.17, and `multiplyBy` in the reference of
its configuration. Kueue adds up what the containers of a pod ask for, and transforms the sum. That this is what Kueue's
code does is checked by tests/integration/docs/test_kueue_counts.py.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import jsonpatch
import pytest
import yaml

from tests.chart.rendering import ROOT
from unigpu import names, vendor_resources
from webhook.translation import decision
from webhook.translation.options import Options

CONFIGURATION = yaml.safe_load((ROOT / "examples/kueue/transformations.yaml").read_text())
TRANSFORMATIONS: dict[str, dict[str, Any]] = {
    one["input"]: one for one in CONFIGURATION["resources"]["transformations"]
}
UNITS = {"": Decimal(1), "n": Decimal("1e-9"), "Gi": Decimal(2**30)}
Resources = Mapping[str, str]


def quantity(text: str) -> Decimal:
    """The value of a quantity of Kubernetes, of those that are used here."""
    digits = text.rstrip("nGi")
    return Decimal(digits) * UNITS[text[len(digits) :]]


def transformed(asked: Resources) -> dict[str, Decimal]:
    """What Kueue counts for a pod."""
    found: dict[str, Decimal] = {}
    for name, amount in asked.items():
        value = quantity(amount)
        rule = TRANSFORMATIONS.get(name)
        if rule is None:
            found[name] = value
            continue
        if rule.get("multiplyBy") in asked:
            value *= quantity(asked[rule["multiplyBy"]])
        for output, factor in rule["outputs"].items():
            found[output] = found.get(output, Decimal(0)) + quantity(factor) * value
        assert rule["strategy"] == "Replace"
    return found


def unified(asked: Resources) -> dict[str, Decimal]:
    """What admission makes of it."""
    container = {"name": "main", "image": "x", "resources": {"limits": dict(asked)}}
    pod = {"metadata": {"name": "a", "namespace": "b"}, "spec": {"containers": [container]}}
    after = jsonpatch.apply_patch(pod, decision.decide(pod, Options()).patch)
    limits = after["spec"]["containers"][0]["resources"]["limits"]
    return {name: Decimal(limits[name]) for name in limits if name.startswith(f"{names.DOMAIN}/")}


ALL = (names.RESOURCE_VGPU, names.RESOURCE_MEMORY, names.RESOURCE_CORES)
AMOUNTS = (names.RESOURCE_MEMORY, names.RESOURCE_CORES)
SAMPLES: list[tuple[Resources, tuple[str, ...]]] = [
    ({"aliyun.com/gpu-mem": "3"}, AMOUNTS),
    ({"aliyun.com/gpu-mem": "4", "aliyun.com/gpu-core.percentage": "20", "aliyun.com/gpu-count": "2"}, ALL),
    ({"aliyun.com/gpu": "2"}, ALL),
    ({"tencent.com/vcuda-core": "50", "tencent.com/vcuda-memory": "30"}, AMOUNTS),
    ({"tencent.com/vcuda-core": "200"}, AMOUNTS),
    ({"tke.cloud.tencent.com/qgpu-core": "20", "tke.cloud.tencent.com/qgpu-memory": "5"}, AMOUNTS),
    ({"nvidia.com/gpu": "2", "nvidia.com/gpumem": "1000", "nvidia.com/gpucores": "30"}, ALL),
    ({"nvidia.com/gpumem": "1000"}, AMOUNTS),
    ({"nvidia.com/vgpu": "1", "nvidia.com/gpumem": "1000"}, ALL),
    ({"nvidia.com/gpu": "1", "nvidia.com/gpumem": "1000", "nvidia.com/priority": "1"}, ALL),
    ({"nvidia.com/gpu": "2", "nvidia.com/gpumem-percentage": "50"}, (names.RESOURCE_VGPU,)),
    ({"volcano.sh/vgpu-number": "2", "volcano.sh/vgpu-memory": "1000", "volcano.sh/vgpu-cores": "30"}, ALL),
    ({"volcano.sh/vgpu-number": "2", "volcano.sh/vgpu-memory-percentage": "10"}, (names.RESOURCE_VGPU,)),
    ({"volcano.sh/vgpu-number": "1", "volcano.sh/vgpu-memory": "10", "volcano.sh/vgpu-priority": "1"}, ALL),
    ({"volcano.sh/gpu-memory": "1000"}, AMOUNTS),
    ({"volcano.sh/gpu-number": "2"}, ALL),
    ({"volcano.sh/gpu-mem.128Mi": "8", "volcano.sh/gpu-core.percentage": "20"}, AMOUNTS),
    ({"koordinator.sh/gpu.shared": "2", "koordinator.sh/gpu-memory": "8Gi", "koordinator.sh/gpu-core": "60"}, ALL),
    ({"koordinator.sh/gpu.shared": "1", "koordinator.sh/gpu-memory-ratio": "50"}, (names.RESOURCE_VGPU,)),
    ({"koordinator.sh/gpu": "50"}, (names.RESOURCE_CORES,)),
    ({"elasticgpu.io/gpu-core": "20", "elasticgpu.io/gpu-memory": "1000"}, AMOUNTS),
    ({"nvidia.com/vgpu-number": "2", "nvidia.com/vgpu-memory": "1000", "nvidia.com/vgpu-cores": "30"}, ALL),
    ({"nvshare.com/gpu": "1"}, ALL),
    ({"unigpu.dev/vgpu": "1", "unigpu.dev/memory": "100", "unigpu.dev/cores": "10"}, ALL),
]
"""What a pod asks for, and which amounts Kueue then counts as admission does."""


@pytest.mark.parametrize(("asked", "same"), SAMPLES, ids=[" ".join(asked) for asked, _ in SAMPLES])
def test_a_job_counts_as_its_pods_do(asked: Resources, same: tuple[str, ...]) -> None:
    counted, meant = transformed(asked), unified(asked)
    for name in same:
        most = meant.get(name, Decimal(0))
        assert most <= counted.get(name, Decimal(0)) <= most * Decimal("1.0004"), name


def test_every_resource_of_every_dialect_is_transformed() -> None:
    assert set(TRANSFORMATIONS) == set(vendor_resources.RESOURCES)


def test_every_resource_is_in_a_sample() -> None:
    assert {name for asked, _ in SAMPLES for name in asked} >= set(vendor_resources.RESOURCES)


def test_outputs_are_the_unified_form() -> None:
    outputs = {output for rule in TRANSFORMATIONS.values() for output in rule["outputs"]}
    assert outputs == set(ALL)
