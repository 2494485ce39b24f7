"""Nodes and pods of a played fleet, as JSON."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unigpu import gpus, names
from unigpu.gpus import Gpu
from unigpu.units import GpuUuid, MiB

Json = dict[str, Any]

NAMESPACE = "fleet"
MODEL = "NVIDIA A100-SXM4-80GB"
MEMORY = MiB(81_920)
LINK = 1200
"""Quality of the way between two GPUs of a node with NVSwitch."""
SHARES_PER_GPU = 16
STOCK_RESOURCE = "example.com/share"
"""An extended resource that the stock scheduler counts by node."""
SIZES = (2, 4, 6, 8)
"""GiB that pods ask for, in turn."""


@dataclass(frozen=True, slots=True)
class Form:
    """What pods ask for, and of which scheduler."""

    title: str
    resource: str
    unigpu: bool
    """Whether webhook and extender have a part in it."""


UNIGPU = Form("unigpu", "aliyun.com/gpu-mem", unigpu=True)
STOCK = Form("stock", STOCK_RESOURCE, unigpu=False)


def node_name(number: int) -> str:
    """Return the name of a node."""
    return f"gpu-{number:05}"


def node(number: int, gpu_count: int, memory: MiB = MEMORY) -> Json:
    """Return a node as its kubelet and its node agent would have made it."""
    name = node_name(number)
    dice = random.Random(number)
    uuids = [
        GpuUuid(f"GPU-{dice.getrandbits(32):08x}-{number:04x}-4000-8000-{index:012x}") for index in range(gpu_count)
    ]
    found = [
        Gpu(uuid, index, index, MODEL, memory, links={other: LINK for other in uuids if other != uuid}, bus=_bus(index))
        for index, uuid in enumerate(uuids)
    ]
    amounts = {
        "cpu": "128",
        "memory": "2Ti",
        "pods": "250",
        names.RESOURCE_VGPU: str(gpu_count * SHARES_PER_GPU),
        names.RESOURCE_MEMORY: str(gpu_count * memory),
        names.RESOURCE_CORES: str(gpu_count * 100),
        STOCK_RESOURCE: str(gpu_count * memory // 1024),
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"},
            "annotations": {names.ANNOTATION_INVENTORY: gpus.dump(found)},
        },
        "status": {
            "capacity": amounts,
            "allocatable": amounts,
            "conditions": [{"type": "Ready", "status": "True", "reason": "Played"}],
            "phase": "Running",
        },
    }


def pod(name: str, limits: Mapping[str, str | int], **spec: Any) -> Json:
    """Return a pod of one container with these limits."""
    container = {
        "name": "main",
        "image": "localhost/busybox:local",
        "resources": {
            "limits": {key: str(value) for key, value in limits.items()},
            "requests": {"cpu": "100m", "memory": "128Mi"},
        },
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": name.rpartition("-")[0]}},
        "spec": {"containers": [container], **spec},
    }


def load_pod(form: Form, number: int) -> Json:
    """Return one of many pods of a form."""
    return pod(f"{form.title}-{number:06}", {form.resource: SIZES[number % len(SIZES)]})


def _bus(index: int) -> str:
    return f"00000000:{0x10 + index:02X}:00.0"
