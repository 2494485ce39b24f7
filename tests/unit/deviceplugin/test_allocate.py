"""What a container gets: limits by mode, and the variables of its dialect."""

import dataclasses
from collections.abc import Collection
from typing import Any

import pytest

from deviceplugin.allocation import allocate
from deviceplugin.node.node_state import Node
from deviceplugin.pods import Pod
from unigpu import allocations, driver_parts, limits, names, requests
from unigpu.allocations import Allocation, Share
from unigpu.driver_parts import Capability, Wanted
from unigpu.gpus import Gpu
from unigpu.limits import Limit
from unigpu.requests import ComputePolicy, PodRequest, Request
from unigpu.units import GpuUuid, MiB, Percent

UUIDS = [GpuUuid(f"GPU-{number}") for number in range(4)]
GPUS = {uuid: Gpu(uuid, number, number + 4, "Test", MiB(24576)) for number, uuid in enumerate(UUIDS)}


def node(**labels: str) -> Node:
    return Node("node-a", "boot", {key.replace("_", "."): value for key, value in labels.items()}, GPUS)


def pod(request: Request, shares: list[Share], env: Collection[str] = (), **others: Request) -> Pod:
    return Pod(
        "n",
        "p",
        "u",
        annotations={
            names.ANNOTATION_REQUEST: requests.dump(PodRequest({"main": request, **others})),
            names.ANNOTATION_ALLOCATION: allocations.dump(Allocation("node-a", {"main": shares})),
        },
        order=("main",),
        env={"main": dict.fromkeys(env, "video")},
    )


def decide(asked: Pod, where: Node | None = None, slots: int = 1) -> allocate.Decision:
    return allocate.decide(where or node(), asked, "main", [f"slot-{number}" for number in range(slots)], [])


@pytest.mark.parametrize(
    ("labels", "more", "memory_enforced", "cores_enforced", "limit"),
    [
        ({}, {}, True, True, 3072),
        ({"ack_node_gpu_schedule": "cgpu"}, {}, True, False, 3072),
        ({"ack_node_gpu_schedule": "core_mem"}, {}, True, True, 3072),
        ({"ack_node_gpu_schedule": "share"}, {}, False, False, 24576),
        ({"cgpu_disable_isolation": "true"}, {}, False, False, 24576),
        ({}, {"isolated": False}, False, False, 24576),
    ],
)
def test_limits_by_mode(
    labels: dict[str, str], more: dict[str, Any], memory_enforced: bool, cores_enforced: bool, limit: int
) -> None:
    asked = pod(Request(1, MiB(3072), cores=Percent(30), **more), [Share(UUIDS[0], MiB(3072), Percent(30))])
    decision = decide(asked, node(**labels))
    assert decision.policy.memory_enforced is memory_enforced
    assert decision.policy.cores_enforced is cores_enforced
    assert [gpu.memory >> 20 for gpu in decision.policy.gpus] == [limit]
    assert [share.memory for share in decision.grant.shares] == [3072]


@pytest.mark.parametrize(
    ("label", "dialect", "in_force", "compute", "ceiling"),
    [
        (None, names.DIALECT_QGPU, None, ComputePolicy.HARD, 30),
        ("burst-share", names.DIALECT_QGPU, None, ComputePolicy.SOFT, 100),
        ("best-effort", names.DIALECT_QGPU, None, ComputePolicy.UNLIMITED, 30),
        ("burst-share", names.DIALECT_HAMI, None, ComputePolicy.HARD, 30),
        ("burst-share", names.DIALECT_QGPU, Limit(policy=ComputePolicy.HARD), ComputePolicy.HARD, 30),
    ],
)
def test_compute_policy_of_the_node(
    label: str | None, dialect: str, in_force: Limit | None, compute: ComputePolicy, ceiling: int
) -> None:
    """qGPU leaves it to the node's owner; what was changed for the pod itself comes before."""
    asked = pod(Request(1, MiB(100), cores=Percent(30), dialect=dialect), [Share(UUIDS[0], MiB(100), Percent(30))])
    if in_force is not None:
        applied = limits.dump_applied(limits.Applied({"main": in_force}, {}))
        asked = dataclasses.replace(asked, annotations={**asked.annotations, names.ANNOTATION_LIMITS_APPLIED: applied})
    where = node()
    if label is not None:
        where = dataclasses.replace(where, labels={names.LABEL_QGPU_POLICY: label})
    decided = decide(asked, where).policy
    assert decided.compute is compute
    assert [gpu.ceiling for gpu in decided.gpus] == [ceiling]


@pytest.mark.parametrize(
    ("request_", "shares", "others", "expected"),
    [
        pytest.param(
            Request(1, MiB(3072), dialect="alibaba", original_fields={names.ALIYUN_GPU_MEM: "3"}),
            [Share(UUIDS[2], MiB(3072), Percent(0))],
            {},
            {"IDX": "2", "POD": "3", "CONTAINER": "3", "DEV": "24"},
            id="GiB",
        ),
        pytest.param(
            Request(1, MiB(16276), dialect="alibaba", original_fields={names.ALIYUN_GPU_MEM: "16276"}),
            [Share(UUIDS[0], MiB(16276), Percent(0))],
            {"beside": Request(1, MiB(100), dialect="alibaba", original_fields={names.ALIYUN_GPU_MEM: "100"})},
            {"IDX": "0", "POD": "16376", "CONTAINER": "16276", "DEV": "24576"},
            id="MiB, two containers",
        ),
        pytest.param(
            Request(4, MiB(2048), dialect="alibaba", original_fields={names.ALIYUN_GPU_MEM: "8"}),
            [Share(uuid, MiB(2048), Percent(0)) for uuid in (UUIDS[3], UUIDS[0], UUIDS[1], UUIDS[2])],
            {},
            {"IDX": "3,0,1,2", "POD": "8", "CONTAINER": "2", "DEV": "24"},
            id="four GPUs",
        ),
        pytest.param(
            Request(1, whole=True, dialect="alibaba", original_fields={"aliyun.com/gpu": "1"}),
            [Share(UUIDS[0], MiB(24576), Percent(100), whole=True)],
            {},
            {},
            id="whole GPU",
        ),
    ],
)
def test_alibaba_variables(
    request_: Request, shares: list[Share], others: dict[str, Request], expected: dict[str, str]
) -> None:
    decision = decide(pod(request_, shares, frozenset(), **others), slots=len(shares))
    assert decision.env == {f"ALIYUN_COM_GPU_MEM_{key}": value for key, value in expected.items()}


HAMI = Request(2, MiB(3000), cores=Percent(30), dialect="hami")
HAMI_SHARES = [Share(UUIDS[0], MiB(3000), Percent(30)), Share(UUIDS[1], MiB(3000), Percent(30))]


def test_hami_variables() -> None:
    assert decide(pod(HAMI, HAMI_SHARES), slots=2).env == {
        "CUDA_DEVICE_MEMORY_LIMIT_0": "3000m",
        "CUDA_DEVICE_MEMORY_LIMIT_1": "3000m",
        "CUDA_DEVICE_SM_LIMIT": "30",
        "CUDA_DEVICE_MEMORY_SHARED_CACHE": names.CONTAINER_USAGE,
        "UNIGPU_INJECTED_LIMITS": "CUDA_DEVICE_MEMORY_LIMIT_0=3000m;"
        "CUDA_DEVICE_MEMORY_LIMIT_1=3000m;CUDA_DEVICE_SM_LIMIT=30",
    }


def test_authors_own_variables_stay() -> None:
    taken = frozenset({"CUDA_DEVICE_MEMORY_LIMIT_0", "CUDA_DEVICE_SM_LIMIT"})
    env = decide(pod(HAMI, HAMI_SHARES, taken), slots=2).env
    assert set(env) == {"CUDA_DEVICE_MEMORY_LIMIT_1", "CUDA_DEVICE_MEMORY_SHARED_CACHE", "UNIGPU_INJECTED_LIMITS"}
    assert env["UNIGPU_INJECTED_LIMITS"] == "CUDA_DEVICE_MEMORY_LIMIT_1=3000m"


def test_hami_on_a_node_that_limits_nothing() -> None:
    decision = decide(pod(HAMI, HAMI_SHARES), node(ack_node_gpu_schedule="share"), slots=2)
    assert set(decision.env) == {"CUDA_DEVICE_MEMORY_SHARED_CACHE"}


def test_tencent_has_none() -> None:
    asked = pod(Request(1, MiB(2560), dialect="tencent"), [Share(UUIDS[0], MiB(2560), Percent(30))])
    assert decide(asked).env == {}


@pytest.mark.parametrize(("isolated", "limited"), [(True, True), (False, False)])
def test_which_parts_of_the_driver(isolated: bool, limited: bool) -> None:
    request, shares = Request(1, MiB(3072), isolated=isolated), [Share(UUIDS[0], MiB(3072), Percent(0))]
    asks = {names.ENV_NVIDIA_DRIVER_CAPABILITIES}
    decision = decide(pod(request, shares, asks))
    assert decision.wanted == Wanted(frozenset({*driver_parts.BASIC, Capability.VIDEO}), limited)
    assert decision.grant.env == {names.ENV_NVIDIA_DRIVER_CAPABILITIES: "video"}, "a start without the API server"
    assert decide(pod(request, shares)).wanted == Wanted(None, limited)
