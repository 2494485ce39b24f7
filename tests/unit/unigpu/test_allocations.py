"""The allocation annotation, and what a pod takes of each GPU."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unigpu import allocations, errors
from unigpu.allocations import Allocation, GpuUsage, Share
from unigpu.requests import Role
from unigpu.units import GpuUuid, MiB, Percent


def share(gpu: str, memory: int, cores: int = 0, whole: bool = False) -> Share:
    return Share(GpuUuid(gpu), MiB(memory), Percent(cores), whole)


def use(memory: int, cores: int = 0, shares: int = 1, whole: bool = False) -> GpuUsage:
    return GpuUsage(MiB(memory), cores, shares, whole)


MAIN, INIT, SIDE = Role.MAIN, Role.INIT, Role.SIDECAR

USES = {
    "one": ([(MAIN, "a", 5, 10)], {"a": use(5, 10)}),
    "mains add": ([(MAIN, "a", 5, 10), (MAIN, "a", 7, 20)], {"a": use(12, 30, 2)}),
    "GPUs apart": ([(MAIN, "a", 5, 10), (MAIN, "b", 7, 20)], {"a": use(5, 10), "b": use(7, 20)}),
    "a smaller init": ([(INIT, "a", 3, 50), (MAIN, "a", 5, 10)], {"a": use(5, 50)}),
    "a larger init": ([(INIT, "a", 9, 5), (MAIN, "a", 5, 10)], {"a": use(9, 10)}),
    "inits one after the other": ([(INIT, "a", 9, 5), (INIT, "a", 4, 60), (MAIN, "a", 1, 1)], {"a": use(9, 60)}),
    "init elsewhere": ([(INIT, "b", 9, 5), (MAIN, "a", 1, 1)], {"b": use(9, 5), "a": use(1, 1)}),
    "sidecar with main": ([(SIDE, "a", 3, 3), (MAIN, "a", 5, 5)], {"a": use(8, 8, 2)}),
    "sidecar with a later init": ([(SIDE, "a", 3, 3), (INIT, "a", 9, 9), (MAIN, "a", 5, 5)], {"a": use(12, 12, 2)}),
    "sidecar after an init": ([(INIT, "a", 9, 9), (SIDE, "a", 3, 3), (MAIN, "a", 5, 5)], {"a": use(9, 9, 2)}),
}


@pytest.mark.parametrize("case", USES)
def test_pod_usage(case: str) -> None:
    entries, expected = USES[case]
    names = [f"c{number}" for number in range(len(entries))]
    allocation = Allocation(
        "n",
        {name: (share(gpu, memory, cores),) for name, (_, gpu, memory, cores) in zip(names, entries, strict=True)},
    )
    roles = {name: role for name, (role, *_) in zip(names, entries, strict=True)}
    assert allocations.pod_usage(allocation, roles) == expected


def test_containers_without_a_known_role_count_as_main() -> None:
    allocation = Allocation("n", {"x": (share("a", 5),), "y": (share("a", 6),)})
    assert allocations.pod_usage(allocation, {}) == {"a": use(11, 0, 2)}


def test_whole_stays_whole() -> None:
    assert use(1, whole=True).plus(use(2)).whole
    assert use(1, whole=True).larger(use(2)).whole
    assert not use(1).plus(use(2)).whole


shares = st.builds(share, st.sampled_from(["a", "b"]), st.integers(0, 1 << 20), st.integers(0, 100), st.booleans())


@given(st.dictionaries(st.text(min_size=1, max_size=5), shares.map(lambda one: (one,)), max_size=4))
def test_the_annotation_reads_back(containers: dict[str, tuple[Share, ...]]) -> None:
    allocation = Allocation("node", containers)
    again = allocations.load(allocations.dump(allocation))
    assert again == allocation
    assert list(again.containers) == list(containers), "the order counts"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"version":2,"node":"n","containers":{}}',
        '{"version":1,"containers":{}}',
        '{"version":1,"node":"n"}',
        '{"version":1,"node":"n","containers":{"c":[{"gpu":"a"}]}}',
        '{"version":1,"node":"n","containers":{"c":[{"gpu":"a","memory":"x","cores":1}]}}',
        '{"version":1,"node":"n","containers":{"c":[{"gpu":"a","memory":1,"cores":1},{"gpu":"a","memory":1,"cores":1}]}}',
    ],
)
def test_malformed_annotations(text: str) -> None:
    with pytest.raises(errors.Malformed):
        allocations.load(text)
