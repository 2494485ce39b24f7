"""Placement: what holds for all nodes and pods, tried with generated ones."""

import itertools
from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.unigpu.placements import FREE, pod, share, used, whole
from unigpu import allocations, fit, placement
from unigpu.allocations import Allocation
from unigpu.fit import GpuState, Node
from unigpu.gpus import Gpu
from unigpu.placement import Rules, Unschedulable
from unigpu.requests import PlacementPolicy, PodRequest, Role
from unigpu.units import GpuUuid, MiB

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
