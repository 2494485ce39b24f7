"""Limits that a new pod brings along, and rows of changes: nothing overbooks a GPU."""

import random
from typing import Any

import pytest

from tests.unit.webhook.test_limit_change import APPLIED, GPUS, LIMITS, make_pod, node, text, update, with_limits
from unigpu import limits, names
from unigpu.allocations import Share
from unigpu.ledger import CapacityLedger
from unigpu.requests import ComputePolicy, Request
from unigpu.units import MiB, Percent, to_bytes
from webhook.translation import namespaces
from webhook.translation.options import Options

MEM = "aliyun.com/gpu-mem"


@pytest.mark.parametrize(
    ("resources", "limits", "said"),
    [
        ({MEM: 4}, text("1Gi"), ""),
        ({MEM: 4}, "memory=1Gi", ""),
        ({MEM: 4}, "", ""),
        (
            {MEM: 4},
            text("5Gi"),
            "memory = 5120 MiB: exceeds the request, and limits can only be lower until the pod has a GPU",
        ),
        ({MEM: 4}, text(cores=10), "cores = 10 %: exceeds the request"),
        ({MEM: 4, "aliyun.com/gpu-core.percentage": 30}, text(cores=10, ceiling=30), ""),
        ({MEM: 4}, text("x"), "memory = x: not a Kubernetes quantity"),
        ({"nvidia.com/gpu": 1}, text(5), "the container has whole GPUs"),
        ({}, text(5), "the pod has no share of a GPU"),
    ],
)
def test_a_pod_that_brings_limits_along(
    pod: Any, admission: Any, resources: dict[str, Any], limits: str, said: str
) -> None:
    document = pod(resources, annotations={LIMITS: limits})
    if not said:
        assert admission.create(document)["metadata"]["annotations"][LIMITS] == limits
        return
    assert said in admission.mutate(document).reason
    assert said in admission.validate(document).reason


def test_nobody_brings_along_what_is_in_force(pod: Any, admission: Any) -> None:
    verdict = admission.validate(pod({MEM: 4}, annotations={APPLIED: "{}"}))
    assert verdict.outcome == "forged"
    assert verdict.reason == (
        f"pod: annotation {APPLIED} = {{}}: only unigpu's node agent writes it; accepted: no such annotation"
    )


def test_a_manifest_applied_again_keeps_the_limits(pod: Any, admission: Any) -> None:
    manifest = pod({MEM: 4})
    stored = with_limits(admission.create(manifest), text("1Gi"))
    patched = stored | {"spec": manifest["spec"] | {"schedulerName": "default-scheduler"}}
    verdict = admission.mutate(patched, operation="UPDATE", oldObject=stored)
    assert verdict.outcome == "unchanged"
    assert LIMITS not in str(verdict.answer)
    assert admission.validate(stored, operation="UPDATE", oldObject=stored).outcome == "untouched"


def test_a_share_that_is_not_throttled_is_more_than_any_share(pod: Any, admission_with: Any) -> None:
    fields = {"nvidia.com/gpu": 1, "nvidia.com/gpumem": 100, "nvidia.com/gpucores": 5}
    rules = namespaces.apply(Options(), {names.ANNOTATION_MAX_CORES: "10"})
    document = pod(fields, env={"GPU_CORE_UTILIZATION_POLICY": "disable"})
    assert "cores = unlimited" in admission_with(rules).mutate(document).reason
    assert ComputePolicy.UNLIMITED.value not in admission_with(rules).mutate(pod(fields)).reason


class Tenant:
    """A pod with half of the GPU, its program, and what the node agent does for it."""

    asked = Request(gpus=1, memory=MiB(8192), cores=Percent(50))
    share = Share(GPUS[0].uuid, MiB(8192), Percent(50))

    def __init__(self, uid: str) -> None:
        self.pod = make_pod({"main": self.asked}, uid=uid)
        self.force = self.share
        """What the program is held to."""
        self.used = 8192

    def changes(self, to: str | None, books: CapacityLedger) -> None:
        if update(self.pod, to, books).outcome == "limited":
            self.pod = with_limits(self.pod, to)

    def uses(self, memory: int) -> None:
        """New memory is granted up to the limit; what is in use beyond it only falls."""
        self.used = min(memory, max(self.used, self.force.memory))

    def is_followed(self) -> None:
        annotations = self.pod["metadata"]["annotations"]
        wanted = limits.from_annotations(annotations, ["main"])
        (self.force,) = limits.shares(self.asked, [self.share], wanted.get("main"))
        held = limits.held_memory([self.force], [to_bytes(MiB(self.used))])
        annotations[APPLIED] = limits.dump_applied(limits.Applied(wanted, {"main": held}))


CHANGES = [{}, *({"memory": memory} for memory in (1024, 12288)), *({"cores": cores} for cores in (10, 90))]


@pytest.mark.parametrize("seed", range(5))
def test_no_row_of_changes_overbooks_a_gpu(seed: int) -> None:
    dice = random.Random(seed)
    tenants = [Tenant("a"), Tenant("b")]
    for _ in range(400):
        tenant = dice.choice(tenants)
        match dice.randrange(3):
            case 0:
                tenant.changes(text(**dice.choice(CHANGES)), node(*(one.pod for one in tenants)))
            case 1:
                tenant.uses(dice.choice((0, 6000, 16384)))
            case _:
                tenant.is_followed()
        assert sum(max(one.force.memory, one.used) for one in tenants) <= 16384
        assert sum(one.force.cores for one in tenants) <= 100
