"""Each form of a vendor's pod through the API server and offline: the same outcome, warnings included."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from demo.kube import Kube, wait_for
from tests.cluster.test_manifests import meaning
from tests.cluster.test_own_words import pod
from unigpu import gpus, names
from webhook.translation import contexts

ROOT = Path(__file__).parents[2]
NAMESPACE, RULED, IGNORED = "forms", "forms-ruled", "forms-ignored"
Tell = Callable[[str], None]
Choices = tuple[str, ...]
FRACTION, FUSION = "nvidia.com/container.main.", "tensor-fusion.ai/"
ENABLED = {"labels": {"tensor-fusion.ai/enabled": "true"}}
Says = dict[str, str | int]

SHARES: dict[str, tuple[Says, dict[str, Any], str, str]] = {
    "NvFractions": (
        {},
        {"annotations": {f"{FRACTION}gpu-memory.request": "1Gi", f"{FRACTION}gpu-memory.limit": "2Gi"}},
        "1 GPU, 2048 MiB",
        f"{FRACTION}gpu-memory.limit = 2048 MiB: is reserved as a whole",
    ),
    "NvFractions, sm-sharing": (
        {},
        {"annotations": {f"{FRACTION}gpu-memory.limit": "2Gi", f"{FRACTION}gpu-compute.mode": "sm-sharing"}},
        "1 GPU, 2048 MiB",
        "doesn't start MPS",
    ),
    "Koordinator, shared": (
        {"koordinator.sh/gpu.shared": 1, "koordinator.sh/gpu-core": 50, "koordinator.sh/gpu-memory-ratio": 50},
        {"labels": {"koordinator.sh/gpu-isolation-provider": "HAMi-core"}},
        "1 GPU, 50 % of the memory and 50 % of the compute time",
        "",
    ),
    "Koordinator, bytes": ({"koordinator.sh/gpu-memory": "8Gi"}, {}, "1 GPU, 8192 MiB", ""),
    "Koordinator, both": ({"koordinator.sh/gpu": 200}, {}, "2 whole GPUs", ""),
    "vgpu-manager": (
        {"nvidia.com/vgpu-number": 2, "nvidia.com/vgpu-cores": 10, "nvidia.com/vgpu-memory": 1024},
        {},
        "2 GPUs, of each 1024 MiB and 10 % of the compute time",
        "",
    ),
    "Huawei CCE": (
        {"volcano.sh/gpu-mem.128Mi": 16, "volcano.sh/gpu-core.percentage": 10},
        {},
        "1 GPU, 2048 MiB and 10 % of the compute time",
        "",
    ),
    "Volcano's first sharing": ({"volcano.sh/gpu-memory": 1024}, {}, "1 GPU, 1024 MiB", ""),
    "Volcano's whole GPUs": ({"volcano.sh/gpu-number": 2}, {}, "2 whole GPUs", ""),
    "tensor-fusion": (
        {},
        {"annotations": {f"{FUSION}vram-limit": "4Gi", f"{FUSION}tflops-request": "10"}} | ENABLED,
        "1 GPU, 4096 MiB",
        f"{FUSION}tflops-request = 10: has no effect",
    ),
    "tensor-fusion, percent": (
        {},
        {
            "annotations": {
                f"{FUSION}vram-request": "512Mi",
                f"{FUSION}compute-percent-request": "20",
                f"{FUSION}compute-percent-limit": "50",
            }
        }
        | ENABLED,
        "1 GPU, 512 MiB and 20 to 50 % of the compute time",
        "",
    ),
    "Volcano's GPUs to avoid": (
        {"volcano.sh/vgpu-number": 1, "volcano.sh/vgpu-memory": 500},
        {"annotations": {"volcano.sh/vgpu-nouse-gpuuuid": "GPU-x"}},
        "1 GPU, 500 MiB",
        "",
    ),
    "HAMi's mode": (
        {"nvidia.com/gpu": 1, "nvidia.com/gpumem": 500},
        {"annotations": {"nvidia.com/vgpu-mode": "mig"}},
        "1 GPU, 500 MiB",
        "annotation nvidia.com/vgpu-mode = mig: has no effect",
    ),
    "HAMi's NUMA": (
        {"nvidia.com/gpu": 1, "nvidia.com/gpumem": 500},
        {"annotations": {"nvidia.com/numa-bind": "true"}},
        "1 GPU, 500 MiB",
        "",
    ),
    "priority above 1": (
        {"nvidia.com/gpu": 1, "nvidia.com/gpumem": 500, "nvidia.com/priority": 5},
        {},
        "1 GPU, 500 MiB",
        "nvidia.com/priority = 5: counts as 1",
    ),
    "05: an amount as an annotation": (
        {"nvidia.com/gpu": 1},
        {"annotations": {"nvidia.com/gpumem": "4000"}},
        "1 whole GPU",
        "accepted: nvidia.com/gpumem under a container's limits",
    ),
    "10: gpu-count as a resource": ({"aliyun.com/gpu-count": 1, "aliyun.com/gpu-mem": 1}, {}, "1 GPU, 1024 MiB", ""),
    "42: less than a context": (
        {"volcano.sh/vgpu-number": 1, "volcano.sh/vgpu-memory": 24, "volcano.sh/vgpu-cores": 100},
        {},
        "1 GPU, 24 MiB and 100 % of the compute time",
        "its CUDA context alone takes about ",
    ),
    "74: cores without memory": (
        {names.RESOURCE_VGPU: 1, names.RESOURCE_CORES: 10},
        {},
        "1 GPU, 100 % of the memory and 10 % of the compute time",
        "reserves all memory of each GPU",
    ),
    "76: percentages": (
        {"nvidia.com/gpu": 1, "nvidia.com/gpumem-percentage": 2, "nvidia.com/gpucores": 5},
        {},
        "1 GPU, 2 % of the memory and 5 % of the compute time",
        "",
    ),
}
"""Form → limits, metadata, what `translate` says of the container, and part of a warning."""

REFUSED: dict[str, tuple[Says, dict[str, Any], str]] = {
    "NvFractions, unknown mode": (
        {},
        {"annotations": {f"{FRACTION}gpu-memory.limit": "2Gi", f"{FRACTION}gpu-compute.mode": "mps"}},
        "unknown mode; accepted: time-slicing or sm-sharing",
    ),
    "tensor-fusion, no memory": ({}, {"annotations": {f"{FUSION}tflops-request": "10"}} | ENABLED, "no GPU memory"),
    "Koordinator, 150": ({"koordinator.sh/gpu": 150}, {}, "neither a share of one GPU nor whole GPUs"),
    "46: two vendors": (
        {"nvidia.com/gpu": 1, "volcano.sh/gpu-memory": 8000},
        {},
        "the container mixes the dialects of HAMi and Volcano GPU sharing",
    ),
}
UNTOUCHED: dict[str, tuple[Says, dict[str, Any], str]] = {
    "NVIDIA's time-slicing": ({"nvidia.com/gpu.shared": 1}, {}, ""),
    "06: a note": ({}, {"annotations": {"gpu-memory": "16Gi"}}, "annotation gpu-memory = 16Gi: has no effect"),
    "tensor-fusion without its label": ({}, {"annotations": {f"{FUSION}vram-limit": "4Gi"}}, "without tensor-fusion's"),
    "misspelt": (
        {"nvidia.com/gpumemory": 4000},
        {},
        "unknown: the pod stays pending, unless a node offers it; accepted: nvidia.com/gpumem",
    ),
}


@pytest.fixture(scope="module")
def forms(kube: Kube) -> Iterator[None]:
    kube.namespace(NAMESPACE)
    for name, change in (
        (RULED, ("annotate", "namespace", RULED, f"{names.ANNOTATION_DEFAULT_MEMORY}=4Gi")),
        (IGNORED, ("label", "namespace", IGNORED, "hami.io/webhook=ignore")),
    ):
        kube.namespace(name)
        kube.run(*change)
    yield
    kube.run("delete", "namespace", NAMESPACE, RULED, IGNORED, "--wait=false")


@pytest.fixture(scope="module")
def choices(kube: Kube, gpu_mib: int) -> Choices:
    """Options by which the offline translation knows the cluster's GPUs."""
    (node,) = kube.json("get", "nodes")["items"]
    first, *_ = gpus.load(node["metadata"]["annotations"][names.ANNOTATION_INVENTORY])
    return f"--gpu-memory={gpu_mib}", f"--context-memory={contexts.of_model(first.model)}"


def document(says: Says, metadata: dict[str, Any], **spec: str) -> dict[str, Any]:
    made = pod("form", {name: str(value) for name, value in says.items()}, **metadata)
    return made | {"spec": made["spec"] | spec}


def online(kube: Kube, made: Mapping[str, Any], namespace: str = NAMESPACE) -> tuple[dict[str, Any] | None, list[str]]:
    """The pod as the API server would store it, and its warnings; None and the refusal where it doesn't."""
    command = [kube.kubectl, "--kubeconfig", str(kube.kubeconfig), "create", "-n", namespace, "--dry-run=server"]
    done = subprocess.run([*command, "-o", "json", "-f", "-"], input=json.dumps(made), capture_output=True, text=True)
    lines = done.stderr.splitlines()
    if done.returncode:
        return None, lines
    return json.loads(done.stdout), [line.removeprefix("Warning: ") for line in lines if line.startswith("Warning: ")]


def offline(made: Mapping[str, Any], path: Path, choices: Choices) -> tuple[int, dict[str, Any], list[str]]:
    path.write_text(json.dumps(made))
    command = [sys.executable, "-m", "cli", "translate", "-o", "json", *choices]
    done = subprocess.run([*command, "-f", str(path)], capture_output=True, text=True, cwd=ROOT)
    return done.returncode, json.loads(done.stdout), done.stderr.splitlines()


@pytest.mark.parametrize("form", SHARES)
def test_both_ways_are_the_same(
    kube: Kube, forms: None, choices: Choices, tmp_path: Path, tell: Tell, form: str
) -> None:
    says, metadata, shown, warning = SHARES[form]
    made = document(says, metadata)
    stored, warnings = online(kube, made)
    code, document_, said = offline(made, tmp_path / "pod.json", choices)
    assert stored is not None, warnings
    assert code == 0 and meaning(stored) == meaning(document_)
    (line,) = [one for one in said if ": container main (" in one]
    assert f": {shown}" in line, line
    told = [one.partition("warning: ")[2] for one in said if "warning: " in one]
    assert [one[:256] for one in told] == warnings
    assert any(warning in one for one in told) if warning else not told
    kept = stored["spec"]["containers"][0]["resources"]["limits"]
    assert kept.keys() >= says.keys()
    tell(f"{form:34} {shown}{f'; warned: {warning}' if warning else ''}")


@pytest.mark.parametrize("form", REFUSED)
def test_both_ways_refuse(kube: Kube, forms: None, choices: Choices, tmp_path: Path, tell: Tell, form: str) -> None:
    says, metadata, reason = REFUSED[form]
    stored, said = online(kube, document(says, metadata))
    code, _, told = offline(document(says, metadata), tmp_path / "pod.json", choices)
    assert stored is None and code == 1
    assert reason in "\n".join(said) and reason in "\n".join(told)
    tell(f"{form:34} refused: {reason}")


@pytest.mark.parametrize("form", UNTOUCHED)
def test_both_ways_leave_alone(
    kube: Kube, forms: None, choices: Choices, tmp_path: Path, tell: Tell, form: str
) -> None:
    says, metadata, warning = UNTOUCHED[form]
    stored, warnings = online(kube, document(says, metadata))
    code, _, told = offline(document(says, metadata), tmp_path / "pod.json", choices)
    assert stored is not None and code == 0
    assert names.ANNOTATION_REQUEST not in stored["metadata"].get("annotations", {})
    for lines in (warnings, told):
        assert not warning or any(warning in line for line in lines)
    tell(f"{form:34} left alone{f'; warned: {warning}' if warning else ''}")


def test_gangs_and_queues_of_a_replaced_scheduler_are_warned_of(
    kube: Kube, forms: None, choices: Choices, tmp_path: Path
) -> None:
    metadata = {"annotations": {"scheduling.k8s.io/group-name": "vj"}}
    made = document({"volcano.sh/vgpu-number": 1, "volcano.sh/vgpu-memory": 500}, metadata, schedulerName="volcano")
    stored, warnings = online(kube, made)
    _, _, told = offline(made, tmp_path / "pod.json", choices)
    for lines in (warnings, told):
        assert any("unigpu-scheduler replaces volcano and doesn't place gangs" in line for line in lines)
    assert stored is not None and stored["spec"]["schedulerName"] == names.SCHEDULER_NAME


def test_a_namespace_gives_bare_gpus_a_share_or_ignores_hami(kube: Kube, forms: None) -> None:
    """Case 65, and NVIDIA's time-slicing where `nvidia.com/gpu` had replicas."""

    def ruled() -> bool:
        stored, _ = online(kube, document({"nvidia.com/gpu": 1}, {}), RULED)
        assert stored is not None
        return stored["spec"]["containers"][0]["resources"]["limits"].get(names.RESOURCE_MEMORY) in ("4096", "4Ki")

    def ignored() -> bool:
        stored, _ = online(kube, document({"nvidia.com/gpu": 1, "nvidia.com/gpumem": 128}, {}), IGNORED)
        return stored is not None and names.ANNOTATION_REQUEST not in stored["metadata"].get("annotations", {})

    wait_for("the webhook has seen the namespaces", lambda: ruled() and ignored(), 60)
