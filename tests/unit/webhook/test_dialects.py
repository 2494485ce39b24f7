"""Each dialect: fields → request, or the problems."""

from collections.abc import Callable
from typing import Any

import pytest

from unigpu import names, vendor_resources
from unigpu.requests import ComputePolicy, PlacementPolicy, Request
from webhook.translation import dialects, pod_reading, pods, translate
from webhook.translation.options import AliyunUnit, BareGpu, Options

MEM, CORE, COUNT = "aliyun.com/gpu-mem", "aliyun.com/gpu-core.percentage", "aliyun.com/gpu-count"
VCORE, VMEM, VLIMIT = "tencent.com/vcuda-core", "tencent.com/vcuda-memory", "tencent.com/vcuda-core-limit"
GPU, VGPU, GMEM = "nvidia.com/gpu", "nvidia.com/vgpu", "nvidia.com/gpumem"
GPERCENT, GCORES, PRIORITY = "nvidia.com/gpumem-percentage", "nvidia.com/gpucores", "nvidia.com/priority"
UNLIMITED = ComputePolicy.UNLIMITED

QCORE, QMEM = "tke.cloud.tencent.com/qgpu-core", "tke.cloud.tencent.com/qgpu-memory"
ELASTIC = "elasticgpu.io/gpu-memory"
KCORE, KMEM, KRATIO = (f"koordinator.sh/gpu-{name}" for name in ("core", "memory", "memory-ratio"))
CCEMEM, CCECORE = "volcano.sh/gpu-mem.128Mi", "volcano.sh/gpu-core.percentage"

Make = Callable[..., dict[str, Any]]


def read(document: dict[str, Any], options: Options | None = None) -> translate.Translation:
    return translate.translate(pod_reading.read(pods.read(document), options or Options()))


def only(translation: translate.Translation) -> dict[str, Any]:
    """The fields of the only request that differ from the defaults, without `original_fields` and `dialect`."""
    assert translation.request is not None, translation.problems
    (request,) = translation.request.containers.values()
    defaults = Request(gpus=0)
    return {
        name: value
        for name in Request.__slots__
        if name not in ("original_fields", "dialect") and (value := getattr(request, name)) != getattr(defaults, name)
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({MEM: 3}, {"gpus": 1, "memory": 3072, "policy": UNLIMITED}),
        ({MEM: "2Gi"}, {"gpus": 1, "memory": 2048, "policy": UNLIMITED}),
        ({MEM: 2, CORE: 30}, {"gpus": 1, "memory": 2048, "cores": 30}),
        ({"aliyun.com/gpu": 2}, {"gpus": 2, "whole": True}),
        ({VCORE: 50, VMEM: 30}, {"gpus": 1, "memory": 7680, "cores": 50}),
        ({VCORE: 30, VMEM: 10}, {"gpus": 1, "memory": 2560, "cores": 30}),
        ({VCORE: 99, VMEM: "1Gi"}, {"gpus": 1, "memory": 1024, "cores": 99}),
        ({VCORE: 100}, {"gpus": 1, "whole": True}),
        ({VCORE: 200, VMEM: 60}, {"gpus": 2, "whole": True}),
        ({GCORES: "0", GMEM: "200", VGPU: "1"}, {"gpus": 1, "memory": 200, "policy": UNLIMITED}),
        ({GPU: 2, GMEM: 3000, GCORES: 30}, {"gpus": 2, "memory": 3000, "cores": 30}),
        ({GPU: 2, GMEM: "3k", GCORES: 30}, {"gpus": 2, "memory": 3000, "cores": 30}),
        ({GPU: 1}, {"gpus": 1, "whole": True}),
        ({GPU: 1, GCORES: 100}, {"gpus": 1, "whole": True}),
        ({GMEM: 500}, {"gpus": 1, "memory": 500, "policy": UNLIMITED}),
        ({GCORES: 20}, {"gpus": 1, "memory_percent": 100, "cores": 20}),
        ({GPU: 1, GPERCENT: 40}, {"gpus": 1, "memory_percent": 40, "policy": UNLIMITED}),
        ({GPU: 1, GPERCENT: 40, GMEM: 100}, {"gpus": 1, "memory": 100, "policy": UNLIMITED}),
        ({GPU: 1, GMEM: 100, PRIORITY: 1}, {"gpus": 1, "memory": 100, "policy": UNLIMITED, "priority": 1}),
        ({GPU: 1, GMEM: 100, PRIORITY: 3}, {"gpus": 1, "memory": 100, "policy": UNLIMITED, "priority": 1}),
        ({GPU: 2, VGPU: 2}, {"gpus": 2, "whole": True}),
        (
            {"volcano.sh/vgpu-number": 2, "volcano.sh/vgpu-memory": 2000},
            {"gpus": 2, "memory": 2000, "policy": UNLIMITED},
        ),
        ({"volcano.sh/vgpu-number": 2}, {"gpus": 2, "whole": True}),
        ({QCORE: 5, QMEM: 2}, {"gpus": 1, "memory": 2048, "cores": 5}),
        ({QMEM: 2}, {"gpus": 1, "memory": 2048, "policy": UNLIMITED}),
        ({QCORE: 300}, {"gpus": 3, "whole": True}),
        ({"elasticgpu.io/gpu-core": 20, ELASTIC: 256}, {"gpus": 1, "memory": 256, "cores": 20}),
        ({ELASTIC: 256}, {"gpus": 1, "memory": 256, "policy": UNLIMITED}),
        ({"elasticgpu.io/gpu-core": 100}, {"gpus": 1, "whole": True}),
        ({"nvshare.com/gpu": 1}, {"gpus": 1, "cores": 10, "ceiling": 100, "policy": ComputePolicy.SOFT}),
        ({"unigpu.dev/vgpu": 2, "unigpu.dev/memory": 4096}, {"gpus": 2, "memory": 2048, "policy": UNLIMITED}),
        (
            {"unigpu.dev/vgpu": 2, "unigpu.dev/memory": "4Gi", "unigpu.dev/cores": 60},
            {"gpus": 2, "memory": 2048, "cores": 30},
        ),
        ({"unigpu.dev/vgpu": 2}, {"gpus": 2, "whole": True}),
        ({"unigpu.dev/vgpu": 2, "unigpu.dev/cores": 200}, {"gpus": 2, "whole": True}),
        ({"unigpu.dev/vgpu": 1, "unigpu.dev/cores": 20}, {"gpus": 1, "memory_percent": 100, "cores": 20}),
        ({"koordinator.sh/gpu.shared": 1, KCORE: 50, KRATIO: 50}, {"gpus": 1, "memory_percent": 50, "cores": 50}),
        ({"koordinator.sh/gpu.shared": 2, KMEM: "4Gi", KCORE: 100}, {"gpus": 2, "memory": 2048, "cores": 50}),
        ({KMEM: 1073741825}, {"gpus": 1, "memory": 1025, "policy": UNLIMITED}),
        ({KRATIO: 200}, {"gpus": 2, "whole": True}),
        ({KRATIO: 100, KCORE: 30}, {"gpus": 1, "memory_percent": 100, "cores": 30}),
        ({"koordinator.sh/gpu": 50}, {"gpus": 1, "memory_percent": 50, "cores": 50}),
        ({"koordinator.sh/gpu": 300}, {"gpus": 3, "whole": True}),
        ({"volcano.sh/gpu-memory": 1024}, {"gpus": 1, "memory": 1024, "policy": UNLIMITED}),
        ({"volcano.sh/gpu-number": 2}, {"gpus": 2, "whole": True}),
        ({CCEMEM: 16, CCECORE: 10}, {"gpus": 1, "memory": 2048, "cores": 10}),
        ({CCEMEM: 16}, {"gpus": 1, "memory": 2048, "policy": UNLIMITED}),
        ({COUNT: 1, MEM: 1}, {"gpus": 1, "memory": 1024, "policy": UNLIMITED}),
        ({COUNT: 2, MEM: 8}, {"gpus": 2, "memory": 4096, "policy": UNLIMITED}),
    ],
    ids=str,
)
def test_fields_mean(pod: Make, fields: dict[str, Any], expected: dict[str, Any]) -> None:
    assert only(read(pod(fields))) == expected


@pytest.mark.parametrize(
    ("fields", "extra", "expected"),
    [
        ({MEM: 8}, {"labels": {COUNT: "4"}}, {"gpus": 4, "memory": 2048, "policy": UNLIMITED}),
        ({MEM: 3}, {"labels": {"ack.gpushare.placement": "require-whole-device"}}, {"gpus": 1, "whole": True}),
        (
            {MEM: 3},
            {"env": {"CGPU_DISABLE": "true"}},
            {"gpus": 1, "memory": 3072, "policy": UNLIMITED, "isolated": False},
        ),
        ({MEM: 3}, {"env": {"CGPU_DISABLE": "1"}}, {"gpus": 1, "memory": 3072, "policy": UNLIMITED, "isolated": False}),
        ({MEM: 3}, {"env": {"CGPU_DISABLE": "false"}}, {"gpus": 1, "memory": 3072, "policy": UNLIMITED}),
        (
            {GMEM: 9},
            {"env": {"CUDA_DISABLE_CONTROL": "true"}},
            {"gpus": 1, "memory": 9, "policy": UNLIMITED, "isolated": False},
        ),
        (
            {GMEM: 9, GCORES: 30},
            {"env": {"GPU_CORE_UTILIZATION_POLICY": "disable"}},
            {"gpus": 1, "memory": 9, "cores": 30, "policy": UNLIMITED},
        ),
        (
            {GMEM: 9, GCORES: 30},
            {"env": {"GPU_CORE_UTILIZATION_POLICY": "force"}},
            {"gpus": 1, "memory": 9, "cores": 30},
        ),
        ({VCORE: 50, VMEM: 30}, {"annotations": {VLIMIT: "50"}}, {"gpus": 1, "memory": 7680, "cores": 50}),
        (
            {VCORE: 50, VMEM: 30},
            {"annotations": {VLIMIT: "80"}},
            {"gpus": 1, "memory": 7680, "cores": 50, "ceiling": 80, "policy": ComputePolicy.SOFT},
        ),
        ({VCORE: 50, VMEM: 30}, {"annotations": {VLIMIT: "20"}}, {"gpus": 1, "memory": 7680, "cores": 50}),
    ],
    ids=str,
)
def test_fields_mean_with_the_pods_own(
    pod: Make, fields: dict[str, Any], extra: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert only(read(pod(fields, **extra))) == expected


@pytest.mark.parametrize(
    ("fields", "field", "value", "hint"),
    [
        ({MEM: 5.5}, MEM, "5.5", "whole number of GiB"),
        ({MEM: -1}, MEM, "-1", "whole number"),
        ({MEM: 3, CORE: 33}, CORE, "33", "multiple of 5"),
        ({MEM: 3, CORE: 105}, CORE, "105", "5 to 100"),
        ({CORE: 30}, CORE, "30", MEM),
        ({MEM: 3, "aliyun.com/gpu": 1}, "aliyun.com/gpu", "1", "one of the two"),
        ({"aliyun.com/gpu": 17}, "aliyun.com/gpu", "17", "16"),
        ({MEM: 17_000_000}, MEM, "17000000", "GiB"),
        ({VCORE: "50"}, VCORE, "50", VMEM),
        ({VCORE: 150}, VCORE, "150", "multiple of 100"),
        ({VCORE: 1700}, VCORE, "1700", "1600"),
        ({VMEM: 4}, VMEM, "4", VCORE),
        ({GPU: 1, VGPU: 2}, VGPU, "2", "only one of them"),
        ({GPU: 0, GMEM: 100}, GPU, "0", "1 to 16"),
        ({GPU: 1, GCORES: 101}, GCORES, "101", "0 to 100"),
        ({GPU: 1, PRIORITY: -2}, PRIORITY, "-2", "0 (high) or 1 (low)"),
        ({PRIORITY: 1}, PRIORITY, "1", GPU),
        ({GPU: "many"}, GPU, "many", "1 to 16"),
        ({QCORE: 4, QMEM: 1}, QCORE, "4", "5 to 99"),
        ({QCORE: 50}, QCORE, "50", QMEM),
        ({"nvshare.com/gpu": 2}, "nvshare.com/gpu", "2", "1:"),
        ({"unigpu.dev/memory": 100}, "unigpu.dev/memory", "100", "unigpu.dev/vgpu"),
        ({"unigpu.dev/vgpu": 2, "unigpu.dev/memory": 101}, "unigpu.dev/memory", "101", "multiple of 2"),
        ({"unigpu.dev/vgpu": 1, "unigpu.dev/cores": 150}, "unigpu.dev/cores", "150", "up to 100"),
        ({KCORE: 50}, KCORE, "50", KRATIO),
        ({"koordinator.sh/gpu.shared": 1}, "koordinator.sh/gpu.shared", "1", KMEM),
        ({KMEM: "4Gi", KRATIO: 50}, KRATIO, "50", "one of the two"),
        ({KRATIO: 150}, KRATIO, "150", "multiple of 100"),
        ({"koordinator.sh/gpu.shared": 2, KRATIO: 75}, KRATIO, "75", "multiple of 2"),
        ({"koordinator.sh/gpu": 50, KCORE: 50}, "koordinator.sh/gpu", "50", "alone"),
        ({"volcano.sh/gpu-memory": 1, "volcano.sh/gpu-number": 1}, "volcano.sh/gpu-number", "1", "one of the two"),
        ({CCECORE: 10}, CCECORE, "10", CCEMEM),
        ({CCEMEM: 1, CCECORE: 12}, CCECORE, "12", "multiple of 5"),
        ({COUNT: 2}, COUNT, "2", MEM),
        ({COUNT: 2, MEM: 3}, MEM, "3", "multiple of 2"),
        ({"aliyun.com/gpu": 1, COUNT: 1}, "aliyun.com/gpu", "1", "one of the two"),
        ({GMEM: "3000m"}, GMEM, "3000m", "3000, without a suffix, or 3"),
        ({GMEM: "1500m"}, GMEM, "1500m", "1500, without a suffix"),
        ({GPU: "1000m"}, GPU, "1000m", "or 1"),
    ],
    ids=str,
)
def test_problems_name_field_value_and_what_would_do(
    pod: Make, fields: dict[str, Any], field: str, value: str, hint: str
) -> None:
    translation = read(pod(fields))
    assert translation.request is None
    (problem,) = translation.problems
    assert (problem.container, problem.field, problem.value) == ("main", field, value)
    assert hint in problem.accepted


@pytest.mark.parametrize(
    ("fields", "extra", "field", "value"),
    [
        ({MEM: 8}, {"labels": {COUNT: "3"}}, MEM, "8"),
        ({MEM: 8, COUNT: 4}, {"labels": {COUNT: "2"}}, COUNT, "4"),
        ({MEM: 8}, {"labels": {COUNT: "0"}}, COUNT, "0"),
        ({MEM: 8}, {"labels": {COUNT: "four"}}, COUNT, "four"),
        ({VCORE: 10, VMEM: 1}, {"annotations": {VLIMIT: "150"}}, VLIMIT, "150"),
        ({VCORE: 10, VMEM: 1}, {"annotations": {VLIMIT: "half"}}, VLIMIT, "half"),
    ],
    ids=str,
)
def test_problems_with_the_pods_own(
    pod: Make, fields: dict[str, Any], extra: dict[str, Any], field: str, value: str
) -> None:
    (problem,) = read(pod(fields, **extra)).problems
    assert (problem.field, problem.value) == (field, value)


def test_what_was_asked_is_kept_as_plain_numbers(pod: Make) -> None:
    translation = read(pod({MEM: "8Gi"}, labels={COUNT: "4"}, env={"CGPU_DISABLE": "true"}))
    assert translation.request is not None
    request = translation.request.containers["main"]
    assert request.dialect == "alibaba"
    assert request.original_fields == {MEM: "8", COUNT: "4", "CGPU_DISABLE": "true"}


def test_canonical_thousands_are_kept_as_plain_numbers(pod: Make) -> None:
    translation = read(pod({GMEM: "3k"}))
    assert translation.request is not None
    assert translation.request.containers["main"].original_fields == {GMEM: "3000"}


def test_aliyun_in_mib(pod: Make) -> None:
    options = Options(aliyun_unit=AliyunUnit.MIB)
    assert only(read(pod({MEM: 16276}), options)) == {"gpus": 1, "memory": 16276, "policy": UNLIMITED}


@pytest.mark.parametrize(
    ("fields", "left"), [({GPU: 1}, True), ({GPU: 1, GMEM: 100}, False), ({VGPU: 1}, False), ({MEM: 1}, False)], ids=str
)
def test_bare_nvidia_gpus_may_be_left_alone(pod: Make, fields: dict[str, Any], left: bool) -> None:
    translation = read(pod(fields), Options(bare_gpu=BareGpu.LEAVE))
    assert (translation.request is None and not translation.problems) is left


def test_hamis_label_silences_its_dialect_only(pod: Make) -> None:
    label = {"hami.io/webhook": "ignore"}
    assert read(pod({GPU: 1}, labels=label)).request is None
    assert read(pod({MEM: 1}, labels=label)).request is not None


LEFT = f"{GPU} = 1: it is left to another device plugin, and unigpu-scheduler doesn't count it"


@pytest.mark.parametrize(
    ("containers", "accepted"),
    [
        ([{MEM: 1}, {GPU: 1}], "this container in a pod of its own"),
        ([{MEM: 1, GPU: 1}], "no other GPU in this container"),
        ([{"aliyun.com/gpu": 1, GPU: 1}], "no other GPU in this container"),
    ],
    ids=str,
)
def test_a_gpu_that_is_left_to_others_is_in_no_pod_of_ours(
    pod: Make, containers: list[dict[str, Any]], accepted: str
) -> None:
    """Nothing would count it, and the kubelet would ask both device plugins."""
    made = [{"name": f"c{at}", "resources": {"limits": limits}} for at, limits in enumerate(containers)]
    (problem,) = read(pod(containers=made, labels={"hami.io/webhook": "ignore"})).problems
    assert f"{LEFT}; accepted: {accepted}" in str(problem)
    nothing = [{"name": "main", "resources": {"limits": {MEM: 1, GPU: 0}}}]
    assert not read(pod(containers=nothing, labels={"hami.io/webhook": "ignore"})).problems


@pytest.mark.parametrize(
    "fields", [{GPU: 0}, {MEM: "0"}, {GPU: 0, GMEM: 0}, {}, {"cpu": 1, "nvidia.com/mig-1g.5gb": 1}], ids=str
)
def test_pods_that_ask_for_nothing_are_left_alone(pod: Make, fields: dict[str, Any]) -> None:
    assert read(pod(fields)) == translate.Translation()


@pytest.mark.parametrize(
    ("fields", "extra", "part"),
    [
        ({VCORE: 100, VMEM: 1}, {}, f"{VMEM} = 1: has no effect"),
        ({VCORE: 50, VMEM: 1}, {"annotations": {VLIMIT: "20"}}, "below"),
        ({VCORE: 200}, {"annotations": {VLIMIT: "20"}}, "no effect on whole GPUs"),
        ({GPU: 1, GMEM: 1000, GPERCENT: 1}, {}, f"{GPERCENT} = 1: has no effect"),
        ({GCORES: 30}, {}, "all memory of each GPU"),
        ({GMEM: 1000, PRIORITY: 5}, {}, f"{PRIORITY} = 5: counts as 1"),
        ({GMEM: 1000, GCORES: 30}, {"env": {"GPU_CORE_UTILIZATION_POLICY": "x"}}, "unknown value"),
        ({MEM: 1}, {"env": {"CGPU_DISABLE": "yes"}}, "unknown value"),
        ({MEM: 1}, {"labels": {"ack.gpushare.placement": "x"}}, "= x: has no effect"),
        ({MEM: 1}, {"annotations": {"hami.io/gpu-scheduler-policy": "x"}}, "= x: has no effect"),
        ({"nvshare.com/gpu": 1}, {}, "doesn't limit memory"),
        ({"unigpu.dev/vgpu": 1, "unigpu.dev/cores": 20}, {}, "all memory of each GPU"),
        ({}, {"annotations": {"gpu-fraction": "0.333"}}, "counts as 33 %"),
        ({}, {"env": {"CGPU_DISABLE": "true"}}, "has no effect without a request"),
    ],
    ids=str,
)
def test_warnings(pod: Make, fields: dict[str, Any], extra: dict[str, Any], part: str) -> None:
    translation = read(pod(fields, **extra))
    assert not translation.problems
    (warning,) = translation.warnings
    assert part in warning
    assert len(warning) <= 256


def test_preferences(pod: Make) -> None:
    annotations = {
        "nvidia.com/use-gputype": "A100, H100,",
        "nvidia.com/nouse-gpuuuid": "GPU-1",
        "hami.io/node-scheduler-policy": "spread",
        "hami.io/gpu-scheduler-policy": "binpack",
    }
    translation = read(pod({MEM: 1}, annotations=annotations))
    assert translation.request is not None
    wishes = translation.request.preferences
    assert (wishes.use_types, wishes.avoid_uuids) == (("A100", "H100"), ("GPU-1",))
    assert (wishes.node_policy, wishes.gpu_policy) == (PlacementPolicy.SPREAD, PlacementPolicy.BINPACK)


@pytest.mark.parametrize(
    ("value", "wished", "warned"), [("true", True, 0), ("True", True, 0), ("false", False, 0), ("1", False, 1)]
)
def test_numa_is_a_wish(pod: Make, value: str, wished: bool, warned: int) -> None:
    translation = read(pod({MEM: 1}, annotations={"nvidia.com/numa-bind": value}))
    assert translation.request is not None
    assert translation.request.preferences.numa is wished
    assert len([one for one in translation.warnings if "numa-bind" in one]) == warned


@pytest.mark.parametrize(
    ("fields", "policy"),
    [({"aliyun.com/gpu": 2}, PlacementPolicy.TOPOLOGY), ({VCORE: 200}, PlacementPolicy.TOPOLOGY), ({GPU: 1}, None)],
    ids=str,
)
def test_several_whole_gpus_are_chosen_by_links(
    pod: Make, fields: dict[str, Any], policy: PlacementPolicy | None
) -> None:
    translation = read(pod(fields))
    assert translation.request is not None
    assert translation.request.preferences.gpu_policy is policy


def test_every_dialect_has_names_of_its_own() -> None:
    every = [name for dialect in dialects.ALL for name in (*dialect.resources, *dialect.annotations)]
    assert len(every) == len(set(every))
    assert len({dialect.name for dialect in dialects.ALL}) == len(dialects.ALL)


def test_vgpu_managers_names(pod: Make) -> None:
    limits = {"nvidia.com/vgpu-number": 2, "nvidia.com/vgpu-cores": 10, "nvidia.com/vgpu-memory": 100}
    request = read(pod(limits), Options(vgpu_manager_factor=10)).request
    assert request is not None
    found = request.containers["main"]
    assert (found.gpus, found.memory, found.cores, found.dialect) == (2, 1000, 10, "vgpu-manager")


def test_the_list_of_vendors_resources_is_that_of_the_dialects() -> None:
    """The kube-scheduler, the extender and the node agent go by the list."""
    read_ = {name for dialect in dialects.ALL for name in dialect.resources} - set(names.UNIFIED_RESOURCES)
    assert read_ == set(vendor_resources.RESOURCES)


@pytest.mark.parametrize(
    ("limits", "memory"), [({"volcano.sh/gpu-memory": 24}, 240), ({"volcano.sh/vgpu-memory": 24}, 240)], ids=str
)
def test_the_unit_of_volcanos_memory(pod: Make, limits: dict[str, Any], memory: int) -> None:
    request = read(pod(limits), Options(volcano_factor=10)).request
    assert request is not None and request.containers["main"].memory == memory
    assert request.containers["main"].original_fields == {name: str(value) for name, value in limits.items()}
