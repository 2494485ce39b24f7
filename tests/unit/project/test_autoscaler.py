"""A cluster autoscaler with no node of a group: its arithmetic, from the template alone, foresees what unigpu does.

It knows neither the extender nor what the kube-scheduler ignores: it adds up the requests of pods, and compares each
sum with the template's resources.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cli import manifests, translate
from deviceplugin.node import node_status
from unigpu import names, vendor_resources
from unigpu.gpus import Gpu
from unigpu.units import GpuUuid, MiB
from webhook.translation.options import GpuKind, Options

ROOT = Path(__file__).parents[3]
MEMORY = MiB(45460)
"""Of an L40S, without what its driver keeps."""
GPUS = tuple(Gpu(GpuUuid(f"GPU-{number}"), number, number, "NVIDIA L40S", MEMORY) for number in range(4))
SHARES = 16
OPTIONS = Options(gpus=(GpuKind("NVIDIA L40S", MEMORY),), published=True)


def template() -> dict[str, int]:
    """The resources that an empty node group's template names."""
    vendors = vendor_resources.capacity(GPUS, vendor_resources.RESOURCES, SHARES, vendor_resources.Choices())
    unified = {name: int(amount) for name, amount in node_status.resources(GPUS).items()}
    return vendors | unified | {names.RESOURCE_VGPU: len(GPUS) * SHARES}


def requests(path: str) -> dict[str, int]:
    """The extended resources of the first pod in an example, as admission stores it."""
    manifest = next(iter(manifests.read([str(ROOT / "examples/manifests" / path)])))
    assert isinstance(manifest, manifests.Manifest)
    found: dict[str, int] = {}
    for container in containers(translate.translate(manifest, OPTIONS).after):
        for name, amount in container["resources"]["limits"].items():
            if "/" in name:
                found[name] = found.get(name, 0) + int(amount)
    return found


def containers(document: Any) -> list[Any]:
    """The containers in a manifest."""
    if not isinstance(document, dict):
        return []
    found = document.get("containers")
    return found if isinstance(found, list) else [one for value in document.values() for one in containers(value)]


def fits(pod: Mapping[str, int]) -> int:
    """How many such pods the autoscaler thinks that one new node takes."""
    capacity = template()
    return min(capacity.get(name, 0) // amount for name, amount in pod.items() if amount)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("01-aliyun-statefulset.yaml", 58),  # 56 by GPU, 14 on each: an amount knows no single GPU
        ("09-aliyun-whole-gpus.yaml", 2),
        ("10-tencent-half-gpu.yaml", 8),
        ("12-tencent-two-gpus.yaml", 2),
        ("13-tencent-quarters.yaml", 16),
        ("17-hami-two-gpus.yaml", 6),
        ("19-nvidia-whole-gpu.yaml", 4),
    ],
)
def test_the_template_of_an_empty_group_foresees_how_many_pods_a_node_takes(path: str, expected: int) -> None:
    assert fits(requests(path)) == expected


def test_without_vendors_resources_in_the_template_no_node_would_ever_be_added() -> None:
    """So the documentation says to name them, or to replace them in pods."""
    unified = {name: amount for name, amount in template().items() if name.startswith(f"{names.DOMAIN}/")}
    pod = requests("10-tencent-half-gpu.yaml")
    assert any(name not in unified for name in pod)


def test_the_page_names_a_template_of_this_form() -> None:
    page = (ROOT / "docs" / "install.md").read_text()
    wanted = template()
    for name in ("unigpu.dev/vgpu", "unigpu.dev/memory", "unigpu.dev/cores", "aliyun.com/gpu-mem", "nvidia.com/gpumem"):
        assert f'node-template/resources/{name}: "{wanted[name]}"' in page, name
        assert f"\n    {name}: {wanted[name]}\n" in page, "for Karpenter"
