"""Nothing is dropped in silence: names that have no effect are warned of, with the name that was probably meant."""

from collections.abc import Callable
from typing import Any

import pytest

from webhook.admission import cluster_cache
from webhook.admission.cluster_cache import ClusterCache
from webhook.translation import dialects, pod_reading, pods, translate
from webhook.translation.options import Options

Make = Callable[..., dict[str, Any]]
GPU, MEM = "nvidia.com/gpu", "nvidia.com/gpumem"
VOLCANO = {"volcano.sh/vgpu-number": "1", "volcano.sh/vgpu-memory": "2000", "volcano.sh/vgpu-cores": "30"}


def read(document: dict[str, Any], options: Options | None = None) -> translate.Translation:
    return translate.translate(pod_reading.read(pods.read(document), options or Options()))


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("nvidia.com/gpumemory", "nvidia.com/gpumem"),
        ("nvidia.com/gpucore", "nvidia.com/gpucores"),
        ("aliyun.com/gpumem", "aliyun.com/gpu-mem"),
        ("tencent.com/vcuda-cores", "tencent.com/vcuda-core"),
        ("volcano.sh/vgpu-mem", "volcano.sh/vgpu-memory"),
        ("koordinator.sh/gpu-memory-ration", "koordinator.sh/gpu-memory-ratio"),
        ("unigpu.dev/vgpus", "unigpu.dev/vgpu"),
        ("nvidia.com/priorty", "nvidia.com/priority"),
    ],
)
def test_a_misspelt_resource_is_warned_of_with_the_nearest(pod: Make, wrong: str, meant: str) -> None:
    for fields in ({wrong: "1"}, {wrong: "1", "example.com/gpu": "1", "cpu": "1"}):
        (warning,) = read(pod(fields)).warnings
        why = "unknown: the pod stays pending, unless a node offers it"
        assert warning == f"container main: {wrong} = 1: {why}; accepted: {meant}"


@pytest.mark.parametrize("resource", sorted(dialects.OF_RESOURCE))
def test_every_resource_misspelt_by_one_letter_is_warned_of(pod: Make, resource: str) -> None:
    domain, _, name = resource.partition("/")
    for wrong in (f"{resource}x", f"{domain}/{name[:-1]}", f"{domain}/x{name}"):
        if wrong in dialects.OF_RESOURCE or not name[:-1]:
            continue
        found = " ".join(read(pod({wrong: "1"})).warnings)
        assert f"{wrong} = 1" in found and "accepted: " in found


@pytest.mark.parametrize(
    "resource", ["tke.cloud.tencent.com/eni-ip", "aliyun.com/eni", "koordinator.sh/rdma", "nvidia.com/mig-1g.5gb"]
)
def test_other_resources_of_the_vendors_are_left_in_peace(pod: Make, resource: str) -> None:
    assert read(pod({resource: "1"})) == translate.Translation()


def test_a_resource_as_an_annotation_belongs_under_limits(pod: Make) -> None:
    translation = read(pod({GPU: "1"}, annotations={MEM: "4000", "nvidia.com/gpucores": "30"}))
    assert translation.request is not None
    assert list(translation.warnings) == [
        f"pod: annotation {name} = {value}: has no effect as an annotation; accepted: {name} under a container's limits"
        for name, value in ((MEM, "4000"), ("nvidia.com/gpucores", "30"))
    ]
    (label,) = read(pod({"cpu": "1"}, labels={MEM: "1"})).warnings
    assert "has no effect as a label" in label


@pytest.mark.parametrize(
    ("annotation", "part"),
    [
        ("tencent.com/vcuda-core-limits", "accepted: annotation tencent.com/vcuda-core-limit"),
        ("nvidia.com/use-gputypes", "accepted: annotation nvidia.com/use-gputype"),
        ("nvidia.com/vgpu-mode", "has no effect: "),
        ("nvidia.com/container.main.gpu-memory.limits", "annotation nvidia.com/container.main.gpu-memory.limit"),
        ("nvidia.com/container.other.gpu-memory.limit", "annotation nvidia.com/container.main.gpu-memory.limit"),
        (
            "tensor-fusion.ai/vram-request",
            "without tensor-fusion's own label; accepted: label tensor-fusion.ai/enabled",
        ),
        ("volcano.sh/vgpu-mode", "unigpu always shares GPUs by time and memory limits"),
    ],
)
def test_annotations_without_effect(pod: Make, annotation: str, part: str) -> None:
    (warning,) = read(
        pod({MEM: "1000"}, annotations={annotation: "1", "mine": "x", "example.com/use-gputype": "y"})
    ).warnings
    assert f"annotation {annotation} = 1: " in warning and part in warning


@pytest.mark.parametrize("note", ["16Gi", "80gb"])
@pytest.mark.parametrize("fields", [{"cpu": "1"}, {GPU: "1"}], ids=str)
def test_a_note_called_gpu_memory_asks_for_nothing(pod: Make, note: str, fields: dict[str, str]) -> None:
    translation = read(pod(fields, annotations={"gpu-memory": note}))
    assert (translation.request is not None) is (GPU in fields)
    (warning,) = translation.warnings
    assert f"annotation gpu-memory = {note}: has no effect" in warning


@pytest.mark.parametrize(
    "more",
    [
        {"schedulerName": "kai-scheduler"},
        {"labels": {"runai/queue": "q"}},
        {"annotations": {"gpu-memory": "2000", "gpu-fraction-num-devices": "2"}},
    ],
    ids=str,
)
def test_in_a_pod_of_kais_it_asks(pod: Make, more: dict[str, Any]) -> None:
    assert read(pod(**{"annotations": {"gpu-memory": "2000"}} | more)).request is not None


def test_gangs_and_queues_of_a_replaced_scheduler_are_named(pod: Make) -> None:
    metadata = {
        "annotations": {"scheduling.k8s.io/group-name": "vj", "volcano.sh/queue-name": "default"},
        "labels": {"kai.scheduler/queue": "q"},
    }
    found = read(pod(VOLCANO, schedulerName="volcano", **metadata)).warnings
    assert list(found) == [
        "pod: annotation scheduling.k8s.io/group-name = vj: has no effect: unigpu-scheduler replaces volcano and "
        "doesn't place gangs",
        "pod: annotation volcano.sh/queue-name = default: has no effect: unigpu-scheduler replaces volcano and doesn't "
        "know queues",
        "pod: label kai.scheduler/queue = q: has no effect: unigpu-scheduler replaces volcano and doesn't know queues",
    ]
    assert not read(pod(VOLCANO, **metadata)).warnings
    assert not read(pod({"cpu": "1"}, schedulerName="volcano", **metadata)).warnings


def test_mig_slices_next_to_a_share_are_named(pod: Make) -> None:
    (warning,) = read(pod({MEM: "1000", "nvidia.com/mig-1g.5gb": "1"})).warnings
    assert "nvidia.com/mig-1g.5gb = 1: isn't translated" in warning


def test_hami_and_volcano_in_one_container_are_refused_naming_both(pod: Make) -> None:
    (problem,) = read(pod({GPU: "1", "volcano.sh/gpu-memory": "8000"})).problems
    assert problem.why == "the container mixes the dialects of HAMi and Volcano GPU sharing"
    assert GPU in problem.accepted and "volcano.sh/gpu-memory" in problem.accepted


def test_a_namespace_that_hami_ignores(pod: Make) -> None:
    cache = ClusterCache(Options())
    labels = {"hami.io/webhook": "ignore", "team": "x"}
    cache.replace_namespaces([cluster_cache.namespace_rules({"metadata": {"name": "cases", "labels": labels}})])
    assert read(pod({GPU: "1", MEM: "128"}), cache.options("cases")).request is None
    assert read(pod({GPU: "1", MEM: "128"}), cache.options("other")).request is not None
    assert read(pod({"aliyun.com/gpu-mem": "1"}), cache.options("cases")).request is not None
