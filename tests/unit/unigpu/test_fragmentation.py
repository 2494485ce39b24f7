"""Fragmentation: tables for the definition, generated nodes for its bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unigpu import fragmentation
from unigpu.allocations import GpuUsage
from unigpu.fit import GpuState, Node
from unigpu.fragmentation import Fragmentation, ShareSize, ShareSizes
from unigpu.gpus import Gpu
from unigpu.modes import NodeMode
from unigpu.units import GpuUuid, MiB, Percent

TYPICAL = ShareSize(MiB(40), Percent(20))
FREE = GpuUsage()


def used(memory: int, cores: int = 0, shares: int = 1, whole: bool = False) -> GpuUsage:
    return GpuUsage(MiB(memory), cores, shares, whole)


def state(use: GpuUsage, healthy: bool = True, cordoned: bool = False) -> GpuState:
    return GpuState(Gpu(GpuUuid("a"), 0, 0, "X", MiB(100), healthy), use, cordoned)


def node(*states: GpuState, mode: NodeMode = NodeMode.MIXED) -> Node:
    return Node("n", states, mode)


CASES = {
    "empty": (node(state(FREE)), (100, 100, 100, 100), (100, 100, 100, 100)),
    "a share fits, a whole GPU doesn't": (node(state(used(60, 80))), (40, 20, 40, 20), (40, 20, 0, 0)),
    "too little memory": (node(state(used(61))), (39, 100, 0, 0), (39, 100, 0, 0)),
    "too little compute time": (node(state(used(10, 81))), (90, 19, 0, 0), (90, 19, 0, 0)),
    "no share left": (node(state(used(10, 0, 16))), (90, 100, 0, 0), (90, 100, 0, 0)),
    "full": (node(state(used(100, 100))), (0, 0, 0, 0), (0, 0, 0, 0)),
    "overbooked": (node(state(used(120, 130))), (0, 0, 0, 0), (0, 0, 0, 0)),
    "allocated whole": (node(state(used(100, 100, 1, True))), (0, 0, 0, 0), (0, 0, 0, 0)),
    "unhealthy or cordoned": (node(state(FREE, healthy=False), state(FREE, cordoned=True)), (0,) * 4, (0,) * 4),
    "sum": (node(state(FREE), state(used(90))), (110, 200, 100, 100), (110, 200, 100, 100)),
    "node of shares": (node(state(FREE), mode=NodeMode.CGPU), (100, 100, 100, 100), (0, 0, 0, 0)),
    "node of whole GPUs": (node(state(FREE), mode=NodeMode.TOPOLOGY), (0, 0, 0, 0), (100, 100, 100, 100)),
}


@pytest.mark.parametrize("case", CASES)
def test_of_a_node(case: str) -> None:
    on, share, gpu = CASES[case]
    found = fragmentation.of_node(on, TYPICAL, 16)
    assert found == (Fragmentation(*share), Fragmentation(*gpu))


@pytest.mark.parametrize("case", CASES)
def test_gpus_add_up_to_their_node(case: str) -> None:
    on, share, _ = CASES[case]
    of_gpus = [fragmentation.of_gpu(gpu, TYPICAL, 16) for gpu in on.gpus]
    if on.mode is not NodeMode.TOPOLOGY:
        assert sum(one.free_memory for one in of_gpus) == share[0]
        assert sum(one.usable_cores for one in of_gpus) == share[3]
    assert all(one.memory in (0, 1) and one.cores in (0, 1) for one in of_gpus)


def test_ratios_and_sums() -> None:
    found = fragmentation.of_node(node(state(FREE), state(used(90, 50))), TYPICAL, 16).share
    assert found.memory == pytest.approx(10 / 110)
    assert found.cores == pytest.approx(50 / 150)
    assert (Fragmentation().memory, Fragmentation().cores) == (0, 0)
    both = fragmentation.of_node(node(state(used(90, 50))), TYPICAL, 16)
    assert fragmentation.total([both, both]).share.free_memory == 20
    assert both.share.plus(both.gpu).plus(both.gpu, -1) == both.share


@given(
    st.lists(st.builds(used, st.integers(0, 130), st.integers(0, 130), st.integers(0, 20), st.booleans()), max_size=4),
    st.sampled_from(NodeMode),
)
def test_never_more_is_usable_than_free(uses: list[GpuUsage], mode: NodeMode) -> None:
    for part in fragmentation.of_node(node(*map(state, uses), mode=mode), TYPICAL, 16):
        assert 0 <= part.usable_memory <= part.free_memory
        assert 0 <= part.usable_cores <= part.free_cores
        assert 0 <= part.memory <= 1
        assert 0 <= part.cores <= 1


NEVER = ShareSize(MiB(0), Percent(1))
GPUS = {MiB(1000): 3, MiB(4000): 5}


def sizes(*uses: GpuUsage) -> ShareSizes:
    found = ShareSizes()
    for use in uses:
        found.count(use, 1)
    return found


def test_the_typical_share_is_the_median() -> None:
    found = sizes(used(1000, 10), used(4000, 30), used(8000, 50), used(0, 100, 1, whole=True), FREE)
    assert found.typical(GPUS, NEVER) == ShareSize(MiB(4096), Percent(30))
    found.count(used(8000, 50), -1)
    assert found.typical(GPUS, NEVER) == ShareSize(MiB(1024), Percent(10))
    assert sizes(used(9000, 9, shares=3)).typical(GPUS, NEVER) == ShareSize(MiB(3072), Percent(5))
    assert sizes(used(1, 1)).typical(GPUS, NEVER) == ShareSize(MiB(256), Percent(5))
    assert sizes(used(100, 0)).typical(GPUS, NEVER) == ShareSize(MiB(256), Percent(0))


def test_without_shares_it_is_a_quarter_of_the_most_frequent_gpu() -> None:
    assert ShareSizes().typical(GPUS, NEVER) == ShareSize(MiB(1000), Percent(25))
    assert ShareSizes().typical({}, NEVER) == ShareSize(MiB(0), Percent(25))
    ended = sizes(used(512))
    ended.count(used(512), -1)
    assert ended.typical(GPUS, NEVER) == ShareSize(MiB(1000), Percent(25))


def test_the_typical_share_does_not_alternate() -> None:
    small, large = used(1024), used(4096)
    found = sizes(*[small] * 50, *[large] * 49)
    first = found.typical(GPUS, NEVER)
    assert first.memory == 1024
    found.count(used(4096, shares=1), 1)
    found.count(used(4096 * 3, shares=3), 1)
    assert found.typical(GPUS, NEVER).memory == 4096
    assert found.typical(GPUS, first).memory == 1024, "close to the median"
    found.count(used(4096 * 20, shares=20), 1)
    assert found.typical(GPUS, first).memory == 4096
