"""Placement: tables for the rules, generated nodes and pods for the invariants."""

import itertools
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unigpu import allocations, fit, placement
from unigpu.allocations import Allocation, GpuUsage
from unigpu.fit import GpuState, Node
from unigpu.gpus import Gpu
from unigpu.modes import NodeMode
from unigpu.placement import Rules, Unschedulable
from unigpu.requests import PlacementPolicy, PodRequest, Preferences, Request, Role
from unigpu.units import GpuUuid, MiB, Percent

RULES = Rules()
FREE = GpuUsage()
GIB_24 = 24576


def gpu(index: int, memory: int = GIB_24, model: str = "NVIDIA A10", healthy: bool = True, **links: int) -> Gpu:
    return Gpu(
        GpuUuid(f"g{index}"), index, index, model, MiB(memory), healthy, {GpuUuid(k): v for k, v in links.items()}
    )


def used(memory: int = 0, cores: int = 0, shares: int = 1, whole: bool = False) -> GpuUsage:
    return GpuUsage(MiB(memory), cores, shares, whole)


def node(*taken: GpuUsage, **more: object) -> Node:
    """Return a node with one GPU of 24 GiB for each usage."""
    seen = tuple(GpuState(gpu(index), use) for index, use in enumerate(taken))
    return Node("n", seen, **more)  # type: ignore[arg-type]


def pod(*requests: Request, **preferences: object) -> PodRequest:
    """Return a pod with containers c0, c1, …, in the order in which they start."""
    wishes = Preferences(**preferences)  # type: ignore[arg-type]
    return PodRequest({f"c{number}": request for number, request in enumerate(requests)}, wishes)


def share(memory: int = 0, cores: int = 0, gpus: int = 1, **more: object) -> Request:
    return Request(gpus, MiB(memory), cores=Percent(cores), **more)  # type: ignore[arg-type]


def whole(gpus: int = 1, role: Role = Role.MAIN) -> Request:
    return Request(gpus, whole=True, role=role)


def chosen(allocation: Allocation) -> dict[str, str]:
    """Return the GPUs' indexes by container, as digits."""
    return {name: "".join(part.gpu[1:] for part in shares) for name, shares in allocation.containers.items()}


def place(on: Node, wish: PodRequest, rules: Rules = RULES) -> dict[str, str]:
    return chosen(placement.place(on, wish, rules))


FULL_GPU = used(GIB_24, 100, 1, whole=True)
HALF = used(12288, 50)

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


MIXED = (
    GpuState(gpu(0, 24576, "NVIDIA A10")),
    GpuState(gpu(1, 81920, "NVIDIA A100-SXM4-80GB")),
    GpuState(gpu(2, 24576, "Tesla T4")),
)

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


def test_other_gpus_are_tried_where_the_best_leave_no_room() -> None:
    # c0 comes first, having more memory, and its best GPU is 0, the only one with compute for c1.
    on = node(used(GIB_24 - 10000, 40), used(GIB_24 - 11000, 45))
    assert place(on, pod(share(10000))) == {"c0": "0"}
    assert place(on, pod(share(10000), share(5000, 60))) == {"c0": "1", "c1": "0"}


REASONS = {
    "no GPUs": (Node("n", ()), share(1), "node has no GPUs reported by the node agent"),
    "too small": (node(FREE, FREE), share(30000), "container c0 needs 1 GPU with 30000 MiB free: 2 of 2 too small"),
    "counted": (
        node(used(20000), used(22000), FULL_GPU, FULL_GPU),
        share(8000, 30),
        "container c0 needs 1 GPU with 8000 MiB and 30 percent of compute time free: "
        "2 of 4 allocated whole, 2 with too little free memory",
    ),
    "some fit": (
        node(FREE, used(0, 80), used(0, 0, 16)),
        share(0, 30, gpus=2),
        "container c0 needs 2 GPUs with 30 percent of compute time free on each: "
        "only 1 of 3 fits, 1 of 3 with too little free compute time, 1 with all shares taken",
    ),
    "too few": (node(FREE), whole(2), "container c0 needs 2 whole GPUs: node has 1"),
    "not empty": (node(HALF), whole(), "container c0 needs 1 whole GPU: 1 of 1 not empty"),
    "percent": (
        node(HALF),
        Request(1, memory_percent=Percent(60)),
        "container c0 needs 1 GPU with 60 percent of memory free: 1 of 1 with too little free memory",
    ),
    "shares on a node of whole GPUs": (
        node(FREE, mode=NodeMode.TOPOLOGY),
        share(1),
        "container c0: node offers whole GPUs only (mode topology), but a share is requested",
    ),
    "whole GPUs on a node of shares": (
        node(FREE, mode=NodeMode.CGPU),
        whole(),
        "container c0: node offers shares only (mode cgpu), but whole GPUs are requested",
    ),
}


@pytest.mark.parametrize("case", REASONS)
def test_reasons(case: str) -> None:
    on, request, expected = REASONS[case]
    with pytest.raises(Unschedulable) as caught:
        placement.place(on, pod(request), RULES)
    assert str(caught.value) == expected
    found = placement.reason(on, pod(request), RULES)
    assert found is not None
    assert found.text == expected


def test_reasons_of_selectors() -> None:
    found = placement.reason(Node("n", MIXED), pod(share(1000), use_types=("v100",)), RULES)
    assert found is not None
    assert found.text.endswith("3 of 3 excluded by model")
    found = placement.reason(Node("n", MIXED), pod(share(1000), use_uuids=("g9",)), RULES)
    assert found is not None
    assert found.text.endswith("3 of 3 excluded by UUID")


def test_brief_reasons_leave_numbers_of_gpus_out() -> None:
    first = placement.reason(node(used(20000), FULL_GPU), pod(share(8000)), RULES)
    second = placement.reason(node(FULL_GPU, used(20000), used(20000)), pod(share(8000)), RULES)
    assert first is not None
    assert second is not None
    assert first.text != second.text
    assert first.brief == second.brief
    assert (
        first.brief
        == "container c0 needs 1 GPU with 8000 MiB free: GPUs allocated whole or with too little free memory"
    )


def test_reason_of_containers_that_fit_only_one_by_one() -> None:
    found = placement.reason(node(FREE), pod(share(20000), share(20000)), RULES)
    assert found is not None
    assert found.text == "containers c0, c1 fit one by one, but not together"


# Invariants.

uses = st.one_of(
    st.just(FREE),
    st.builds(used, st.integers(0, 100), st.integers(0, 100), st.integers(1, 4)),
    st.just(used(100, 100, 1, whole=True)),
)
small_gpus = st.lists(st.tuples(uses, st.booleans() | st.just(True)), min_size=1, max_size=4).map(
    lambda seen: tuple(
        GpuState(Gpu(GpuUuid(f"g{index}"), index, index, "X", MiB(100), healthy, {}), use)
        for index, (use, healthy) in enumerate(seen)
    )
)
amounts = st.sampled_from([0, 10, 30, 50, 60, 100])
requests = st.one_of(
    st.builds(share, amounts, amounts, st.integers(1, 2), role=st.sampled_from(Role)),
    st.builds(whole, st.integers(1, 2), st.sampled_from(Role)),
)
pods = st.tuples(st.lists(requests, min_size=1, max_size=3), st.sampled_from([None, *PlacementPolicy])).map(
    lambda both: pod(*sorted(both[0], key=lambda request: request.role is Role.MAIN), gpu_policy=both[1])
)
SMALL = Rules(shares_per_gpu=4)


def fits(on: Node, wish: PodRequest, allocation: Allocation) -> bool:
    """Return whether an allocation is valid, computed independently: at no time is more taken than a GPU has."""
    by_uuid: Mapping[str, GpuState] = {state.gpu.uuid: state for state in on.gpus}
    initial = [name for name, request in wish.containers.items() if request.role is Role.INIT]
    phases = [
        [
            other
            for number, (other, request) in enumerate(wish.containers.items())
            if other == name or (request.role is Role.SIDECAR and number < list(wish.containers).index(name))
        ]
        for name in initial
    ] + [[name for name, request in wish.containers.items() if request.role is not Role.INIT]]
    for running in phases:
        for uuid, state in by_uuid.items():
            here = [part for name in running for part in allocation.containers[name] if part.gpu == uuid]
            if not here:
                continue
            taken = state.taken
            if not state.gpu.healthy or taken.whole:
                return False
            if any(part.whole for part in here) and (len(here) > 1 or taken.shares):
                return False
            if taken.memory + sum(part.memory for part in here) > state.gpu.memory:
                return False
            if taken.cores + sum(part.cores for part in here) > 100:
                return False
            if taken.shares + len(here) > SMALL.shares_per_gpu:
                return False
    return all(
        len({part.gpu for part in allocation.containers[name]}) == request.gpus
        and all(part == fit.share_of(by_uuid[part.gpu].gpu, request) for part in allocation.containers[name])
        for name, request in wish.containers.items()
    )


def placeable(on: Node, wish: PodRequest) -> bool:
    """Return whether any allocation is valid, by trying all of them."""
    ways = [
        [
            tuple(fit.share_of(state.gpu, request) for state in some)
            for some in itertools.combinations(on.gpus, request.gpus)
        ]
        for request in wish.containers.values()
    ]
    return any(
        fits(on, wish, Allocation("n", dict(zip(wish.containers, way, strict=True))))
        for way in itertools.product(*ways)
    )


@settings(max_examples=300, deadline=None)
@given(small_gpus, pods)
def test_every_placement_fits_and_every_pod_that_fits_is_placed(seen: tuple[GpuState, ...], wish: PodRequest) -> None:
    on = Node("n", seen)
    try:
        allocation = placement.place(on, wish, SMALL)
    except Unschedulable as error:
        assert not placeable(on, wish)
        assert placement.reason(on, wish, SMALL) == error.reason
    else:
        assert fits(on, wish, allocation)
        assert placement.reason(on, wish, SMALL) is None
        assert placement.place(on, wish, SMALL) == allocation, "the same again"


@settings(max_examples=100, deadline=None)
@given(st.lists(pods, min_size=1, max_size=12))
def test_pods_placed_in_sequence_never_overcommit(wishes: list[PodRequest]) -> None:
    taken = [FREE] * 3
    for wish in wishes:
        seen = tuple(
            GpuState(Gpu(GpuUuid(f"g{index}"), index, index, "X", MiB(100), True, {}), use)
            for index, use in enumerate(taken)
        )
        try:
            allocation = placement.place(Node("n", seen), wish, SMALL)
        except Unschedulable:
            continue
        roles = {name: request.role for name, request in wish.containers.items()}
        for uuid, use in allocations.pod_usage(allocation, roles).items():
            index = int(uuid[1:])
            assert not (use.whole and taken[index].shares)
            assert not taken[index].whole
            taken[index] = taken[index].plus(use)
    assert all(use.memory <= 100 and use.cores <= 100 for use in taken)
    assert all(use.shares <= SMALL.shares_per_gpu for use in taken)
