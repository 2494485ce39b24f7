"""Defaults, largest shares and isolation by namespace, and what is known of the cluster."""

from collections.abc import Callable
from typing import Any

import pytest

from unigpu import errors, gpus, names
from unigpu.gpus import Gpu
from unigpu.units import GpuUuid, MiB, Percent
from unigpu_kube.objects import Ref
from webhook.admission import cluster_cache
from webhook.admission.cluster_cache import ClusterCache
from webhook.translation import namespaces
from webhook.translation.options import Options, Rules

MEM, GPU = "aliyun.com/gpu-mem", "nvidia.com/gpu"
VGPU, MEMORY, CORES = names.UNIFIED_RESOURCES
Make = Callable[..., dict[str, Any]]


def options(**annotations: str) -> Options:
    return namespaces.apply(
        Options(), {f"{names.DOMAIN}/{name.replace('_', '-')}": text for name, text in annotations.items()}
    )


def limits(created: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = created["spec"]["containers"][0]["resources"]["limits"]
    return found


def test_annotations_are_read() -> None:
    rules = options(default_memory="4Gi", default_cores="30", max_gpus="2", max_memory="8192", max_cores="50").rules
    assert rules == Rules(MiB(4096), Percent(30), 2, MiB(8192), Percent(50))


@pytest.mark.parametrize("text", ["", "x", "0", "-1", "101", "1.5"])
def test_what_isnt_understood_is_warned_of(text: str) -> None:
    rules = options(max_cores=text).rules
    assert rules.max_cores == 0
    assert "max-cores" in rules.warnings[0]


@pytest.mark.parametrize(
    ("value", "chart", "allowed"),
    [
        ("required", True, False),
        ("optional", False, True),
        (None, True, True),
        (None, False, False),
        ("?", True, False),
    ],
)
def test_isolation(pod: Make, admission_with: Any, value: str | None, chart: bool, allowed: bool) -> None:
    annotations = {} if value is None else {names.ANNOTATION_ISOLATION: value}
    chosen = namespaces.apply(Options(opting_out=chart), annotations)
    verdict = admission_with(chosen).mutate(pod({MEM: 1}, env={"CGPU_DISABLE": "true"}))
    assert (verdict.outcome == "translated") is allowed


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({GPU: 1}, {VGPU: "1", MEMORY: "4096", CORES: "30"}),
        ({GPU: 2}, {VGPU: "2", MEMORY: "8192", CORES: "60"}),
        ({VGPU: "1"}, {VGPU: "1", MEMORY: "4096", CORES: "30"}),
        ({MEM: 2}, {VGPU: "1", MEMORY: "2048", CORES: "30"}),
        ({GPU: 1, "nvidia.com/gpumem": 100, "nvidia.com/gpucores": 5}, {VGPU: "1", MEMORY: "100", CORES: "5"}),
        ({"aliyun.com/gpu": 1}, {VGPU: "1", CORES: "100"}),
    ],
    ids=str,
)
def test_defaults(pod: Make, admission_with: Any, fields: dict[str, Any], expected: dict[str, str]) -> None:
    admission = admission_with(options(default_memory="4096", default_cores="30"))
    assert limits(admission.create(pod(fields))) == fields | expected


@pytest.mark.parametrize(
    ("annotations", "fields", "part"),
    [
        ({"max_memory": "1024"}, {MEM: 2}, "memory = 2048 MiB"),
        ({"max_memory": "1024"}, {GPU: 1}, "memory = a whole GPU"),
        ({"max_memory": "1024"}, {GPU: 1, "nvidia.com/gpumem-percentage": 5}, "memory = 5 % of a GPU"),
        ({"max_memory": "1024"}, {"nvshare.com/gpu": 1}, "memory = unlimited"),
        ({"max_cores": "20"}, {MEM: 1}, "cores = unlimited"),
        ({"max_cores": "20"}, {MEM: 1, "aliyun.com/gpu-core.percentage": 25}, "cores = 25 %"),
        ({"max_gpus": "1"}, {GPU: 2}, "GPUs = 2"),
    ],
    ids=str,
)
def test_maximum_shares(
    pod: Make, admission: Any, admission_with: Any, annotations: dict[str, str], fields: dict[str, Any], part: str
) -> None:
    strict = admission_with(options(**annotations))
    verdict = strict.mutate(pod(fields))
    assert verdict.outcome == "refused"
    assert part in verdict.reason and "this namespace's maximum" in verdict.reason
    assert strict.mutate(admission.create(pod(fields))).outcome == "refused"


def test_a_default_makes_a_share_small_enough(pod: Make, admission_with: Any) -> None:
    admission = admission_with(options(max_cores="20", default_cores="10"))
    assert limits(admission.create(pod({MEM: 1})))[CORES] == "10"


def item(name: str, **annotations: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "annotations": annotations}}


def namespace(name: str, **annotations: str) -> cluster_cache.NamespaceRules:
    return cluster_cache.namespace_rules(item(name, **annotations))


def node(name: str, *memory: int, model: str = "T") -> cluster_cache.NodeGpus:
    node_gpus = [Gpu(GpuUuid(f"GPU-{index}"), index, index, model, MiB(size)) for index, size in enumerate(memory)]
    return cluster_cache.node_gpus(item(name, **{names.ANNOTATION_INVENTORY: gpus.dump(node_gpus)}))


def test_namespaces_come_and_go() -> None:
    around = ClusterCache(Options())
    assert around.unready() is not None
    around.replace_namespaces([namespace("a", **{names.ANNOTATION_MAX_GPUS: "1"}), namespace("b", x="y")])
    assert around.unready() is not None
    around.replace_nodes([])
    assert around.unready() is None
    assert around.options("a").rules.max_gpus == 1
    assert around.options("b") == around.options("unknown") == Options()
    around.set_namespace(namespace("b", **{names.ANNOTATION_MAX_GPUS: "2"}))
    around.remove_namespace(Ref("", "a"))
    assert [around.options(name).rules.max_gpus for name in "ab"] == [0, 2]


def test_the_largest_gpu_is_known_to_every_namespace(pod: Make, admission_with: Any) -> None:
    around = ClusterCache(Options())
    around.replace_namespaces([namespace("a", **{names.ANNOTATION_MAX_GPUS: "1"})])
    around.replace_nodes([node("x", 16384, 24576), node("y", 8192), cluster_cache.node_gpus(item("z"))])
    assert [around.options(name).largest_gpu for name in "ab"] == [24576, 24576]
    (warning,) = admission_with(around.options("b")).mutate(pod({MEM: 30})).answer["response"]["warnings"]
    assert "memory = 30720 MiB: the largest GPU of this cluster has 24576 MiB" in warning
    around.remove_node(Ref("", "x"))
    assert around.options("a").largest_gpu == 8192
    around.set_node(node("y", 4096))
    assert around.options("b").largest_gpu == 4096


H100, T4 = "NVIDIA H100 80GB HBM3", "Tesla T4"


@pytest.mark.parametrize(
    ("models", "chosen", "fields", "says"),
    [
        ([H100], 0, {"nvidia.com/gpumem": 500}, "memory = 500 MiB: the program can't start"),
        ([H100], 0, {"nvidia.com/gpumem": 517}, ""),
        ([H100, T4], 0, {"nvidia.com/gpumem": 500}, ""),
        ([H100, T4], 0, {"nvidia.com/gpumem": 102}, "takes about 103 MiB; accepted: more than 103 MiB"),
        ([H100, T4], 600, {"nvidia.com/gpumem": 500}, "takes about 600 MiB"),
        ([], 0, {"volcano.sh/gpu-memory": 24}, "container main: memory = 24 MiB"),
        (["unknown"], 0, {"nvidia.com/gpumem": 200}, ""),
        ([H100], 0, {"nvidia.com/gpumem-percentage": 1}, "memory = 163 MiB: the program can't start"),
        ([], 0, {"nvidia.com/gpumem-percentage": 1}, ""),
        ([H100], 0, {"nvidia.com/gpu": 1}, ""),
    ],
)
def test_a_share_that_cant_hold_a_program_is_warned_of(
    pod: Make, admission_with: Any, models: list[str], chosen: int, fields: dict[str, Any], says: str
) -> None:
    around = ClusterCache(Options(context_memory=MiB(chosen)))
    around.replace_nodes([node(model, 16384, model=model) for model in models])
    response = admission_with(around.options("a")).mutate(pod(fields)).answer["response"]
    assert response["allowed"] and bool(response.get("warnings")) is bool(says)
    assert says in "".join(response.get("warnings", []))


def test_a_share_that_isnt_enforced_isnt_too_small(pod: Make, admission: Any) -> None:
    verdict = admission.mutate(pod({"nvidia.com/gpumem": 50}, env={"CGPU_DISABLE": "true"}))
    assert "warnings" not in verdict.answer["response"]


def test_an_inventory_that_is_not_understood_is_the_reflectors_to_report() -> None:
    with pytest.raises(errors.Malformed):
        cluster_cache.node_gpus(item("w", **{names.ANNOTATION_INVENTORY: "?"}))
