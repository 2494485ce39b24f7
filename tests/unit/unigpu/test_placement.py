"""Placement: tables for the rules."""

import dataclasses
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.unigpu.placements import (
    FREE,
    FULL_GPU,
    GIB_24,
    HALF,
    MIXED,
    RULES,
    gpu,
    node,
    place,
    pod,
    share,
    used,
    whole,
)
from unigpu import allocations, placement
from unigpu.fit import GpuState, Node
from unigpu.placement import Rules, Unschedulable
from unigpu.requests import PlacementPolicy, Request, Role
from unigpu.units import GpuUuid, MiB, Percent

ONE_CONTAINER = {
    "the only one": (node(FREE), share(1000), "0"),
    "binpack: the fullest that fits": (node(FREE, HALF, used(20000)), share(8000), "1"),
    "binpack: exactly full is full enough": (node(FREE, used(GIB_24 - 100)), share(100), "1"),
    "binpack: first of equals": (node(FREE, FREE), share(100), "0"),
    "binpack: compute counts too": (node(used(1000), used(500, 70)), share(1000, 10), "1"),
    "binpack: not where the rest would be useless": (node(used(12288, 50), used(2048, 80)), share(2048, 10), "0"),
    "binpack: no empty one": (node(FREE, used(2048, 10)), share(20480, 80), "1"),
    "binpack: small GPUs first": (
        Node("n", (GpuState(gpu(0, 81920)), GpuState(gpu(1, GIB_24)))),
        share(8000),
        "1",
    ),
    "several: different GPUs": (node(FREE, FREE, FREE), share(8000, gpus=2), "01"),
    "several: the fullest": (node(FREE, HALF, FREE, HALF), share(8000, gpus=2), "13"),
    "whole: an empty one": (node(used(100), FREE), whole(), "1"),
    "whole: not one with a share without memory": (node(used(0), FREE), whole(), "1"),
    "compute alone": (node(used(0, 90), used(0, 50)), share(0, 20), "1"),
    "neither memory nor compute": (node(FULL_GPU, HALF), share(), "1"),
    "percent of the GPU": (node(used(20000), FREE), Request(1, memory_percent=Percent(50)), "1"),
    "unhealthy ones don't count": (Node("n", (GpuState(gpu(0, healthy=False)), GpuState(gpu(1)))), share(1000), "1"),
    "shares are bounded": (node(used(100, 0, 16), FREE), share(100), "1"),
    "compute is bounded": (node(used(100, 80), FREE), share(100, 30), "1"),
}


@pytest.mark.parametrize("case", ONE_CONTAINER)
def test_one_container(case: str) -> None:
    on, request, expected = ONE_CONTAINER[case]
    assert place(on, pod(request)) == {"c0": expected}


def test_share_of_a_request_on_its_gpu() -> None:
    def first(request: Request) -> allocations.Share:
        return placement.place(node(FREE), pod(request), RULES).containers["c0"][0]

    assert first(share(3000, 30)) == allocations.Share(GpuUuid("g0"), MiB(3000), Percent(30))
    assert first(whole()) == allocations.Share(GpuUuid("g0"), MiB(GIB_24), Percent(100), True)
    assert first(Request(1, memory_percent=Percent(33))).memory == 8110
    assert first(share(0, 0)) == allocations.Share(GpuUuid("g0"), MiB(0), Percent(0))


LINKED = tuple(
    GpuState(gpu(index, GIB_24, "NVIDIA A10", True, **links))
    for index, links in enumerate(({"g1": 10, "g2": 100}, {"g3": 100}, {"g3": 10}, {"g0": 50}))
)
"""0-2 and 1-3 by NVLink, 0-3 near, the others far."""

POLICIES = {
    "pod's wish": (node(HALF, FREE), pod(share(10), gpu_policy=PlacementPolicy.SPREAD), RULES, "1"),
    "node's label": (node(HALF, FREE, gpu_policy=PlacementPolicy.SPREAD), pod(share(10)), RULES, "1"),
    "platform's choice": (node(HALF, FREE), pod(share(10)), Rules(gpu_policy=PlacementPolicy.SPREAD), "1"),
    "pod before node": (
        node(HALF, FREE, gpu_policy=PlacementPolicy.SPREAD),
        pod(share(10), gpu_policy=PlacementPolicy.BINPACK),
        RULES,
        "0",
    ),
    "node before platform": (
        node(HALF, FREE, gpu_policy=PlacementPolicy.BINPACK),
        pod(share(10)),
        Rules(gpu_policy=PlacementPolicy.SPREAD),
        "0",
    ),
    "whole GPUs by links": (Node("n", LINKED), pod(whole(2)), RULES, "02"),
    "whole GPUs by links, one pair broken": (
        Node("n", (GpuState(LINKED[0].gpu, HALF), *LINKED[1:])),
        pod(whole(2)),
        RULES,
        "13",
    ),
    "three: the pair and the nearest": (Node("n", LINKED), pod(whole(3)), RULES, "013"),
    "a single whole GPU breaks no pair it need not": (
        Node("n", (GpuState(gpu(0, g1=100)), GpuState(gpu(1)), GpuState(gpu(2)))),
        pod(whole()),
        RULES,
        "2",
    ),
    "shares by links where asked": (
        Node("n", LINKED),
        pod(share(10, gpus=2), gpu_policy=PlacementPolicy.TOPOLOGY),
        RULES,
        "02",
    ),
    "shares not by links where not asked": (Node("n", LINKED), pod(share(10, gpus=2)), RULES, "01"),
}


@pytest.mark.parametrize("case", POLICIES)
def test_policies(case: str) -> None:
    on, wish, rules, expected = POLICIES[case]
    assert place(on, wish, rules) == {"c0": expected}


def test_many_gpus_are_chosen_by_links_quickly_and_well() -> None:
    def linked(index: int) -> GpuState:
        links = {f"g{other}": 100 if index // 8 == other // 8 else 10 for other in range(16) if other != index}
        return GpuState(gpu(index, GIB_24, "NVIDIA A10", True, **links))

    seen = tuple(map(linked, range(16)))
    taken = (GpuState(seen[0].gpu, HALF), *seen[1:])
    allocation = placement.place(Node("n", taken), pod(whole(8)), RULES)
    assert [part.gpu for part in allocation.containers["c0"]] == [f"g{index}" for index in range(8, 16)]


SELECTORS: dict[str, tuple[dict[str, tuple[str, ...]], str]] = {
    "type": ({"use_types": ("a100",)}, "1"),
    "any of several types": ({"use_types": ("v100", "t4")}, "2"),
    "not a type": ({"avoid_types": ("A10",)}, "2"),
    "uuid": ({"use_uuids": ("g1",)}, "1"),
    "not a uuid": ({"avoid_uuids": ("g0",)}, "2"),
    "type and not uuid": ({"use_types": ("a10",), "avoid_uuids": ("g0",)}, "1"),
}


@pytest.mark.parametrize("case", SELECTORS)
def test_selectors(case: str) -> None:
    wishes, expected = SELECTORS[case]
    assert place(Node("n", MIXED), pod(share(1000), **wishes)) == {"c0": expected}


SEVERAL = {
    "the larger first, so that both fit": (
        node(used(GIB_24 - 4000), used(GIB_24 - 8000)),
        (share(4000), share(8000)),
        "01",
    ),
    "both on one GPU": (node(FREE, FREE), (share(4000), share(8000)), "00"),
    "whole next to a share": (node(FREE, FREE), (share(4000), whole()), "10"),
    "spread": (node(FREE, FREE), (share(4000), share(4000)), "01"),
    "init on the main's GPU, though another is fuller": (
        node(HALF, used(20000)),
        (share(4000, role=Role.INIT), share(9000)),
        "00",
    ),
    "main follows a larger init": (node(HALF, used(20000)), (share(9000, role=Role.INIT), share(4000)), "00"),
    "init as large as main needs no more": (node(used(20000)), (share(4000, role=Role.INIT), share(4000)), "00"),
    "two inits one after the other": (
        node(used(20000)),
        (share(4000, role=Role.INIT), share(4000, role=Role.INIT), share(100)),
        "000",
    ),
    "a sidecar adds to a later init": (
        node(used(20000), FREE),
        (share(3000, role=Role.SIDECAR), share(4000, role=Role.INIT)),
        "10",
    ),
    "a sidecar doesn't add to an earlier init": (
        node(used(20000)),
        (share(4000, role=Role.INIT), share(3000, role=Role.SIDECAR), share(500)),
        "000",
    ),
    "init takes whole what main shares": (node(FREE), (whole(role=Role.INIT), share(10), share(10)), "000"),
}


@pytest.mark.parametrize("case", SEVERAL)
def test_several_containers(case: str) -> None:
    on, requests, expected = SEVERAL[case]
    wishes = {"gpu_policy": PlacementPolicy.SPREAD} if case == "spread" else {}
    assert "".join(place(on, pod(*requests, **wishes)).values()) == expected


def on_numa(*nodes_and_taken: tuple[int | None, int]) -> Node:
    """A node whose GPUs hang on these NUMA nodes, with so many MiB taken."""
    return Node(
        "n",
        tuple(
            GpuState(dataclasses.replace(gpu(index), numa=numa), used(taken, shares=1) if taken else FREE)
            for index, (numa, taken) in enumerate(nodes_and_taken)
        ),
    )


def test_gpus_of_one_numa_node_where_that_is_wished_and_possible() -> None:
    fullest_apart = on_numa((0, 0), (0, 9000), (1, 9000), (1, 1000))
    assert place(fullest_apart, pod(share(5000, gpus=2))) == {"c0": "12"}
    assert place(fullest_apart, pod(share(5000, gpus=2), numa=True)) == {"c0": "23"}
    assert place(fullest_apart, pod(share(5000, gpus=3), numa=True)) == {"c0": "123"}, "a wish"
    assert place(on_numa((None, 0), (None, 9000)), pod(share(5000, gpus=2), numa=True)) == {"c0": "01"}
    assert place(on_numa((0, 0), (1, 0), (0, 0)), pod(whole(2), numa=True)) == {"c0": "02"}


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([None, 0, 1]), st.sampled_from([0, 8000, 16000, 24000])), min_size=1, max_size=6
    ),
    st.integers(1, 4),
    st.sampled_from(PlacementPolicy),
)
def test_numa_is_a_wish_that_is_granted_where_any_set_grants_it(
    gpus_of_node: list[tuple[int | None, int]], count: int, policy: PlacementPolicy
) -> None:
    on = on_numa(*gpus_of_node)
    wish = share(4000, gpus=count)
    try:
        without = place(on, pod(wish, gpu_policy=policy))
    except Unschedulable:
        with pytest.raises(Unschedulable):
            place(on, pod(wish, gpu_policy=policy, numa=True))
        return
    found = place(on, pod(wish, gpu_policy=policy, numa=True))["c0"]
    assert len(found) == len(without["c0"]) == count
    fitting = [index for index, (_, taken) in enumerate(gpus_of_node) if taken + 4000 <= GIB_24]
    possible = {
        chosen
        for chosen in itertools.combinations(fitting, count)
        if count > 1 and None not in (nodes := {gpus_of_node[index][0] for index in chosen}) and len(nodes) == 1
    }
    assert not possible or tuple(map(int, found)) in possible


def test_other_gpus_are_tried_where_the_best_leave_no_room() -> None:
    # c0 comes first, having more memory, and its best GPU is 0, the only one with compute for c1.
    on = node(used(GIB_24 - 10000, 40), used(GIB_24 - 11000, 45))
    assert place(on, pod(share(10000))) == {"c0": "0"}
    assert place(on, pod(share(10000), share(5000, 60))) == {"c0": "1", "c1": "0"}
