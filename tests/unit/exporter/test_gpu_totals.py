"""What is granted of each GPU."""

from typing import Any

import pytest

from exporter import gpu_totals
from exporter.gpu_totals import GrantedGpu
from unigpu.allocations import GpuUsage
from unigpu.gpus import Gpu
from unigpu.requests import Role
from unigpu.units import GpuUuid, MiB


@pytest.mark.parametrize(
    ("roles", "memory", "shares"),
    [
        ([("a", Role.MAIN, 100)], 100, 1),
        ([("a", Role.MAIN, 100), ("b", Role.MAIN, 50)], 150, 2),
        ([("a", Role.INIT, 100), ("b", Role.MAIN, 50)], 100, 1),
        ([("a", Role.SIDECAR, 100), ("b", Role.INIT, 30), ("c", Role.MAIN, 10)], 130, 2),
    ],
)
def test_a_pods_containers(tree: Any, roles: list[tuple[str, Role, int]], memory: int, shares: int) -> None:
    granted = gpu_totals.granted(tree.grant("pod", name, memory=amount, role=role) for name, role, amount in roles)
    ((uuid, gpu),) = granted.items()
    assert (uuid, gpu.index, gpu.usage.memory, gpu.usage.shares) == ("GPU-0", 0, memory, shares)


def test_pods_add_up(tree: Any) -> None:
    granted = gpu_totals.granted(
        [tree.grant("one", gpus=(0, 1)), tree.grant("two", role=Role.INIT), tree.grant("three")]
    )
    assert {uuid: (gpu.index, gpu.usage.memory, gpu.usage.shares) for uuid, gpu in granted.items()} == {
        "GPU-0": (0, 3 * 2048, 3),
        "GPU-1": (1, 2048, 1),
    }


@pytest.mark.parametrize(
    ("usage", "foreign", "healthy", "memory", "cores"),
    [
        (GpuUsage(), 0, True, 1000, 100),
        (GpuUsage(MiB(600), 70, 2), 0, True, 400, 30),
        (GpuUsage(MiB(600), 70, 2), 300, True, 100, 30),
        (GpuUsage(MiB(1000), 130, 2), 300, True, 0, 0),
        (GpuUsage(MiB(600), 100, 1, True), 0, True, 0, 0),
        (GpuUsage(MiB(600), 70, 2), 0, False, 0, 0),
    ],
)
def test_what_is_left(usage: GpuUsage, foreign: int, healthy: bool, memory: int, cores: int) -> None:
    gpu = Gpu(GpuUuid("GPU-0"), 0, 0, "T4", MiB(1000), healthy, foreign=MiB(foreign))
    assert gpu_totals.left(gpu, GrantedGpu(0, "T4", usage)) == (memory, cores)
