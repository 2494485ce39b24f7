"""What a node has of vendors' resources, and what in its status is another device plugin's."""

from hypothesis import given
from hypothesis import strategies as st

from unigpu import names, vendor_resources
from unigpu.gpus import Gpu
from unigpu.lowering import Freed
from unigpu.units import GpuUuid, MiB
from unigpu.vendor_resources import Choices

GPUS = [Gpu(GpuUuid(f"GPU-{index}"), index, index, "Tesla P40", MiB(24576)) for index in range(4)]


def test_capacity_in_each_vendors_unit() -> None:
    found = vendor_resources.capacity(GPUS, vendor_resources.RESOURCES, 16, Choices(MiB(1024), 10))
    assert (
        found.items()
        >= {
            "aliyun.com/gpu-mem": 96,
            "aliyun.com/gpu-count": 4,
            "aliyun.com/gpu-core.percentage": 400,
            "tencent.com/vcuda-core": 400,
            "tencent.com/vcuda-memory": 384,
            "nvidia.com/gpu": 64,
            "nvidia.com/gpumem": 98304,
            "volcano.sh/vgpu-memory": 9828,
            "koordinator.sh/gpu-memory": 96 << 30,
            "nvshare.com/gpu": 40,
        }.items()
    )
    assert "nvidia.com/priority" not in found


@given(st.lists(st.integers(1, 200_000), min_size=1, max_size=8), st.integers(1, 4000))
def test_no_share_that_fits_exceeds_the_capacity(sizes: list[int], units: int) -> None:
    """Shares are whole units, and each is on one GPU."""
    node = [Gpu(GpuUuid(f"GPU-{i}"), i, i, "X", MiB(size)) for i, size in enumerate(sizes)]
    found = vendor_resources.capacity(node, vendor_resources.RESOURCES, 16, Choices())
    for name, unit in (("aliyun.com/gpu-mem", 1024), ("tencent.com/vcuda-memory", 256), ("nvidia.com/gpumem", 1)):
        shares = sum(min(16, size // (units * unit)) for size in sizes)
        assert shares * units <= found[name]


@given(st.integers(0, 24576), st.integers(0, 100))
def test_what_lowered_limits_freed_can_be_granted_again(memory: int, cores: int) -> None:
    """A share of a vendor's whole units whose limits were lowered, and then another one in what became free."""
    plain = vendor_resources.capacity(GPUS, vendor_resources.RESOURCES, 16, Choices())
    found = vendor_resources.capacity(GPUS, vendor_resources.RESOURCES, 16, Choices(), Freed(MiB(memory), cores))
    for name, unit in (("aliyun.com/gpu-mem", 1024), ("tencent.com/vcuda-memory", 256), ("nvidia.com/gpumem", 1)):
        assert found[name] >= plain[name] + memory // unit
    for name in ("tencent.com/vcuda-core", "nvidia.com/gpucores"):
        assert found[name] >= plain[name] + cores
    assert found["nvidia.com/gpumem-percentage"] >= plain["nvidia.com/gpumem-percentage"] + memory * 100 // 24576
    assert found["nvidia.com/gpu"] == plain["nvidia.com/gpu"], "slots are taken as before"


def test_unhealthy_gpus_count_nowhere() -> None:
    sick = [Gpu(GpuUuid("GPU-0"), 0, 0, "X", MiB(1024), healthy=False)]
    assert set(vendor_resources.capacity(sick, vendor_resources.RESOURCES, 16, Choices()).values()) == {0}


def test_what_another_plugin_offers() -> None:
    status = {
        "capacity": {"cpu": "4", "nvidia.com/gpu": "0", "aliyun.com/gpu-mem": "96", names.RESOURCE_VGPU: "64"},
        "allocatable": {"rdma/hca": "1"},
    }
    annotations = {names.ANNOTATION_PUBLISHED: "aliyun.com/gpu-mem,tencent.com/vcuda-core"}
    assert vendor_resources.offered(status, annotations) == {"nvidia.com/gpu", "rdma/hca"}
    assert vendor_resources.offered(status, {}) == {"nvidia.com/gpu", "rdma/hca", "aliyun.com/gpu-mem"}
    assert vendor_resources.offered({"capacity": None}, {}) == frozenset()
