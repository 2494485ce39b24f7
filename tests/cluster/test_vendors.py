"""Vendors' own manifests on the real cluster: what each pod's program sees, and where it is refused."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from demo import report, walkthrough
from demo.kube import CommandFailed, Kube, wait_for
from unigpu import allocations, names
from unigpu.units import BYTES_PER_MIB

NAMESPACE = "vendors"
PATIENCE = 120.0
WHOLE = 0
"""In place of the MiB of a whole GPU."""
PAGE = 2
"""MiB in which the driver takes memory from the GPU."""


@pytest.fixture
def namespace(kube: Kube) -> Iterator[str]:
    kube.namespace(NAMESPACE)
    yield NAMESPACE
    kube.run("delete", "all", "--all", "-n", NAMESPACE, "--wait=true", "--grace-period=1", timeout=PATIENCE)
    wait_for("all pods are gone", lambda: not kube.items("pods", NAMESPACE), PATIENCE)


def run(kube: Kube, number: str, image: str, pods: int = 1) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Apply a manifest; its pods, with what the program in each printed."""
    kube.apply(walkthrough.manifest(number, image), NAMESPACE)

    def look() -> list[tuple[dict[str, Any], dict[str, Any]]] | None:
        found = []
        for pod in kube.items("pods", NAMESPACE):
            words = report.probe_output(kube, NAMESPACE, pod["metadata"]["name"])
            if words:
                found.append((pod, words))
        return found if len(found) == pods else None

    return wait_for(
        f"the {pods} pods of manifest {number} report what they see", look, PATIENCE, lambda: describe(kube)
    )


def describe(kube: Kube) -> str:
    return kube.run("describe", "pods", "-n", NAMESPACE)


def given(pod: dict[str, Any]) -> list[str]:
    """UUIDs that the allocation names, of the pod's one GPU container."""
    notes = pod["metadata"]["annotations"]
    ((_, shares),) = allocations.load(notes[names.ANNOTATION_ALLOCATION]).containers.items()
    return [share.gpu for share in shares]


@pytest.mark.parametrize(
    ("number", "mib"),
    [("06", 3072), ("10", 7680), ("11", 2560), ("19", WHOLE)],
    ids=["alibaba isolated", "tencent half", "tencent 30 %", "whole GPU"],
)
def test_the_program_sees_its_share_and_is_refused_past_it(
    kube: Kube, probe_image: str, namespace: str, gpu_mib: int, number: str, mib: int
) -> None:
    mib = mib or gpu_mib
    ((pod, words),) = run(kube, number, probe_image)
    (gpu,) = words["gpus"]
    assert gpu["uuid"] == given(pod)[0]
    assert gpu["total_bytes"] == mib * BYTES_PER_MIB
    if mib < gpu_mib:
        assert gpu["nvml_total_bytes"] == mib * BYTES_PER_MIB
    else:
        assert gpu["nvml_total_bytes"] > mib * BYTES_PER_MIB, "NVML counts the driver's part"
    assert gpu["error"] == "CUDA_ERROR_OUT_OF_MEMORY"
    context = gpu["info_total_bytes"] - gpu["info_free_bytes"]
    assert 0 < context < mib * BYTES_PER_MIB
    left = mib - context // BYTES_PER_MIB - gpu["taken_mib"]
    assert 0 <= left < PAGE, f"{left} MiB of the share were not given"


def test_a_share_smaller_than_a_context_says_so(kube: Kube, probe_image: str, namespace: str) -> None:
    """Manifest 16 asks for 200 MiB, and a context takes more on this GPU: the program's log has both figures."""
    kube.apply(walkthrough.manifest("16", probe_image), NAMESPACE)
    (pod,) = wait_for("the pod is there", lambda: kube.items("pods", NAMESPACE), PATIENCE)

    def said() -> bool:
        try:
            log = kube.run("logs", "-n", NAMESPACE, pod["metadata"]["name"])
        except CommandFailed:  # between two containers there is no log
            return False
        return re.search(r"a context on GPU 0 needs .*\d+ MiB; the limit is 200 MiB", log) is not None

    wait_for("its log has both figures", said, PATIENCE, lambda: describe(kube))


def test_a_pod_that_opted_out_sees_the_whole_gpu_and_is_counted(
    kube: Kube, probe_image: str, namespace: str, gpu_mib: int
) -> None:
    ((pod, words),) = run(kube, "05", probe_image)
    (gpu,) = words["gpus"]
    assert gpu["total_bytes"] == gpu_mib * BYTES_PER_MIB < gpu["nvml_total_bytes"], "NVML counts the driver's part"
    assert gpu["taken_mib"] > 0.9 * gpu_mib
    described = kube.run("describe", "node", pod["spec"]["nodeName"])
    allocated = described[described.index("Allocated resources") :]
    assert re.search(rf"{names.RESOURCE_MEMORY}\s+3072\s+3072", allocated), allocated
    assert re.search(rf"{names.RESOURCE_VGPU}\s+1\s+1", allocated), allocated
    assert re.search(rf"{names.RESOURCE_MEMORY}:\s+{4 * gpu_mib}", described), described
    assert re.search(rf"{names.RESOURCE_CORES}:\s+400", described), described


def test_three_shares_are_packed_on_one_gpu_and_alibaba_programs_find_their_environment(
    kube: Kube, probe_image: str, namespace: str, gpu_mib: int
) -> None:
    pods = run(kube, "01", probe_image, pods=3)
    assert len({given(pod)[0] for pod, _ in pods}) == 1
    for pod, words in pods:
        (gpu,) = words["gpus"]
        assert gpu["uuid"] == given(pod)[0]
        assert gpu["total_bytes"] == 3072 * BYTES_PER_MIB
        assert words["environment"]["ALIYUN_COM_GPU_MEM_CONTAINER"] == "3"
        assert words["environment"]["ALIYUN_COM_GPU_MEM_POD"] == "3"
        assert words["environment"]["ALIYUN_COM_GPU_MEM_DEV"] == str(gpu_mib // 1024)
        assert words["environment"]["ALIYUN_COM_GPU_MEM_IDX"] in "0123"


def test_a_share_past_its_limit_leaves_the_gpu_s_other_pods_unharmed(
    kube: Kube, probe_image: str, namespace: str
) -> None:
    """Manifest 11 allocates until it is refused, again and again, next to manifest 6 on the same GPU."""
    ((neighbour, _),) = run(kube, "06", probe_image)
    both = run(kube, "11", probe_image, pods=2)
    assert len({given(pod)[0] for pod, _ in both}) == 1
    still = kube.json("get", "pod", "-n", NAMESPACE, neighbour["metadata"]["name"])
    assert still["status"]["phase"] == "Running"
    assert still["status"]["containerStatuses"][0]["restartCount"] == 0


def test_a_pod_that_asks_for_half_a_gpu_without_memory_is_refused(kube: Kube, probe_image: str, namespace: str) -> None:
    with pytest.raises(CommandFailed) as refused:
        kube.apply(walkthrough.manifest("15", probe_image), NAMESPACE)
    assert "tencent.com/vcuda-core" in refused.value.stderr
    assert "150" in refused.value.stderr
    kube.apply(walkthrough.manifest("14", probe_image), NAMESPACE)
    told = wait_for(
        "the Deployment's event says why it has no pod",
        lambda: kube.run("get", "events", "-n", NAMESPACE, "--field-selector", "reason=FailedCreate"),
        PATIENCE,
    )
    assert "tencent.com/vcuda-memory" in wait_for(
        "the event names the field",
        lambda: text if "vcuda-memory" in (text := kube.run("get", "events", "-n", NAMESPACE, "-o", "wide")) else None,
        PATIENCE,
        lambda: told,
    )


def test_applying_the_same_manifest_again_changes_nothing(kube: Kube, probe_image: str, namespace: str) -> None:
    ((pod, _),) = run(kube, "11", probe_image)
    kube.apply(walkthrough.manifest("11", probe_image), NAMESPACE)
    ((again, _),) = run(kube, "11", probe_image)
    assert again["metadata"]["uid"] == pod["metadata"]["uid"]
    assert again["spec"] == pod["spec"]


def test_metrics_are_there_from_allocation_on_and_go_with_the_container(
    kube: Kube, probe_image: str, namespace: str
) -> None:
    ((pod, _),) = run(kube, "11", probe_image)
    name = pod["metadata"]["name"]
    values = wait_for(
        "the exporter tells of the container",
        lambda: next((value for (owner, _, _), value in report.metrics(kube).items() if owner == name), None),
        PATIENCE,
    )
    assert values[names.METRIC_MEMORY_LIMIT] == 2560 * BYTES_PER_MIB
    kube.run("delete", "pod", "-n", NAMESPACE, name, "--grace-period=1")
    wait_for(
        "the exporter no longer tells of it",
        lambda: all(owner != name for owner, _, _ in report.metrics(kube)),
        PATIENCE,
    )
